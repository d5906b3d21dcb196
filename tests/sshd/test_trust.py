"""What SECURITY.md says of processes, ports, files and other users: seen from outside."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, Machine
from bed.client import Process
from frontend import Kernel, Site, add_kernel, log_text, ours, remote_kernels

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
KEY = r"[0-9a-f]{8}-[0-9a-f]{32}"


def new(machine: Machine, before: list[Process]) -> list[Process]:
    """The processes that were not there, without those of sshd itself."""
    return [process for process in machine.processes() if process not in before]


def mode(machine: Machine, path: str) -> str:
    return machine.run(["stat", "-c", "%a %U", path]).stdout.strip()


def test_who_runs_what(bed: Bed, site: Site, tmp_path: Path) -> None:
    before = {machine.name: machine.processes() for machine in (bed.laptop, bed.far)}
    with Kernel(add_kernel(site), tmp_path):
        here = new(bed.laptop, before["laptop"])
        there = new(bed.far, before["far"])
    assert {process.user for process in here} == {"mia"}
    assert {process.user for process in there} == {"ada"}
    assert sorted(x.args.split()[0].rpartition("/")[2] for x in here) == ["python", "ssh"]
    # The keeper, what cleans up after it, the login shell and the kernel in it.
    keeper = [x.args for x in there if "-EsSc" in x.args]
    assert len(keeper) == 1
    assert all("remote_kernels" not in x.args for x in there)


def test_what_is_opened(bed: Bed, site: Site, tmp_path: Path) -> None:
    def listening(machine: Machine) -> set[str]:
        rows = machine.run(["ss", "-Hntul"]).stdout.splitlines()
        return {row.split()[4] for row in rows}

    here, there = listening(bed.laptop), listening(bed.far)
    with Kernel(add_kernel(site), tmp_path) as kernel:
        ports = kernel.manager.ports
        assert listening(bed.laptop) - here == {f"127.0.0.1:{port}" for port in ports}
        opened = listening(bed.far) - there
        # ipykernel's own, for what its children print.
        assert len(opened) == 1
        assert next(iter(opened)).startswith("127.0.0.1:")
        rows = bed.laptop.run(["ss", "-Hnt", "state", "established"]).stdout.splitlines()
        outside = [row.split()[3] for row in rows if "127.0.0.1" not in row]
        assert [address.rpartition(":")[2] for address in outside] == ["22"]


def files(machine: Machine, *places: str) -> set[str]:
    """Every path below some places, as root sees them."""
    return set(machine.run(["find", *places, "-not", "-type", "d"]).stdout.splitlines())


def test_what_is_written_while_a_kernel_runs(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    own = ("/home/mia", "/run/user", "/tmp", str(tmp_path))
    here, there = files(bed.laptop, *own), files(bed.far, "/home/ada", "/tmp", "/dev/shm")
    with Kernel(spec, tmp_path):
        written = files(bed.laptop, *own) - here
        over_there = files(bed.far, "/home/ada", "/tmp", "/dev/shm") - there
        (log,) = [path for path in written if path.endswith(".log")]
        assert mode(bed.laptop, log) == "600 mia"
        assert mode(bed.laptop, str(Path(log).parent)) == "700 mia"
        (shared,) = [path for path in written if path.startswith("/run/user/")]
        assert mode(bed.laptop, shared) == "600 mia"
        assert mode(bed.laptop, str(Path(shared).parent)) == "700 mia"
        # Jupyter's connection file and the test's own file are left, and what ssh notes.
        others = written - {log, shared}
        allowed = r"\.json$|/stderr-|/known_hosts|/tmp/pytest|/\.ipython/|/\.cache/"
        assert [path for path in others if not re.search(allowed, path)] == []
        (copy,) = [path for path in over_there if "/rik_kernel-" in path]
        assert mode(bed.far, copy) == "600 ada"
        private = {path for path in over_there if path.startswith("/tmp/rk-")}
        (directory,) = {str(Path(path).parent) for path in private}
        assert mode(bed.far, directory) == "700 ada"
        assert all(mode(bed.far, path).split()[1] == "ada" for path in private)
        left = over_there - private - {copy}
        assert [path for path in left if "/.ipython/" not in path] == []


def test_the_key_is_nowhere_on_this_side(bed: Bed, site: Site, tmp_path: Path) -> None:
    with Kernel(add_kernel(site), tmp_path) as kernel:
        key = json.loads(Path(kernel.manager.connection_file).read_text())["key"]
        launchers = [x.pid for x in bed.laptop.processes("mia") if x.pid != os.getpid()]
        seen = [Path(f"/proc/{pid}/{name}") for pid in launchers for name in ("cmdline", "environ")]
        text = bed.laptop.run(["cat", *map(str, seen)], check=False).stdout
        assert "ssh" in text
        assert key not in text
    assert key not in log_text()


def test_no_history(bed: Bed, tmp_path: Path) -> None:
    for user in ("ada", "zoe", "fred", "cora"):
        here = Site(bed.far, user, bed.far_python, ["-i", "ssh", "-x", f"{user}@far"])
        with Kernel(add_kernel(here, "--remote-precmd=echo ''", name=user), tmp_path):
            pass
        found = bed.far.run(["sh", "-c", f"grep -rl ipykernel_launcher /home/{user}"], check=False)
        assert found.stdout == ""


PASSWORD = "correct-horse-battery"


@pytest.fixture
def asking(bed: Bed) -> Iterator[None]:
    """``far`` wants ada's password."""
    with bed.far.wanting_password("ada", PASSWORD):
        yield


def logged_in(password: str = "") -> None:
    """Log in at a terminal."""
    person = ours("login", "ada@far")
    if password:
        person.sees("Password: ")
        person.types(password)
    person.sees("Logged in")
    person.end()


def test_an_answer_is_stored_nowhere(bed: Bed, asking: None, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    logged_in(PASSWORD)
    with Kernel(spec, tmp_path):
        places = ["/home", "/run/user", "/tmp", "/dev/shm", str(tmp_path)]
        for machine in (bed.laptop, bed.far):
            hits = machine.run(["grep", "-rlsI", PASSWORD, *places], check=False).stdout
            # The tests' own text is none.
            assert [x for x in hits.splitlines() if not x.endswith((".py", ".pyc"))] == []
            look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
            assert PASSWORD not in machine.run(["sh", "-c", look], check=False).stdout
    remote_kernels("logout", "ada@far")


def test_what_a_login_leaves_behind(bed: Bed, site: Site) -> None:
    before = bed.laptop.processes()
    logged_in()
    here = new(bed.laptop, before)
    assert {process.user for process in here} == {"mia"}
    programs = sorted(x.args.split()[0].rpartition("/")[2] for x in here)
    assert programs.count("ssh") == 1
    assert set(programs) == {"sh", "sleep", "ssh"}
    (socket,) = [path for path in Path(os.environ["XDG_RUNTIME_DIR"]).iterdir() if path.is_socket()]
    ask = ["ssh", "-S", str(socket), "-O", "check", "far"]
    assert "Master running" in bed.laptop.run(ask, user="mia").stderr
    refused = bed.laptop.run([*NOBODY, *ask], check=False)
    assert refused.status != 0
    assert "Permission denied" in refused.stderr
    remote_kernels("logout", "ada@far")
    assert not socket.exists()


def test_a_port_gives_no_answer_without_the_key(bed: Bed, site: Site, tmp_path: Path) -> None:
    with Kernel(add_kernel(site, "--transport=tcp"), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        (copy,) = site.connection_files()
        info = json.loads(bed.far.read(copy))
        for key, answers in ((info["key"], True), ("another", False)):
            script = ASKS.format(port=info["shell_port"], key=key)
            said = bed.far.run([site.python, "-c", script], user="bela").stdout
            assert said == f"{answers}\n"


ASKS = """
import zmq
from jupyter_client.session import Session

session = Session(key={key!r}.encode())
with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
    socket.linger = 0
    socket.connect("tcp://127.0.0.1:{port}")
    session.send(socket, "kernel_info_request")
    print(bool(socket.poll(2000)))
"""


def test_a_link_in_the_place_of_the_connection_file(bed: Bed, tmp_path: Path) -> None:
    """In a directory that others may write to, somebody has made a link with the file's name."""
    here = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    bed.far.run(["mkdir", "-m", "1777", "/home/shared"])
    bed.far.run(["sh", "-c", "echo mine > precious; chmod 666 precious"], user="ada")
    name = "rik_kernel-11111111-1111-4111-8111-111111111111.json"
    bed.far.run(["ln", "-s", "/home/ada/precious", f"/home/shared/{name}"], user="bela")
    connection_file = tmp_path / "kernel-11111111-1111-4111-8111-111111111111.json"
    spec = add_kernel(here, "--workdir=/home/shared")
    kernel = Kernel(spec, tmp_path, connection_file=str(connection_file))
    kernel.start()
    try:
        # The link is bela's, and cannot be removed in such a directory: refused in words.
        assert kernel.launcher_status(timeout=20) == 22
        assert f"cannot write {name} over there" in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)
        assert bed.far.run(["cat", "precious"], user="ada").stdout == "mine\n"
        bed.far.run(["rm", "-r", "/home/shared", "/home/ada/precious"])
