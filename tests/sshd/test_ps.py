"""``ps``, ``stop``, ``interrupt``, ``restart`` and ``clean``: kernels that run on a host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attached import HOME, RUNTIME, Attached, by_hand, client_of, printed, reply_to
from bed import Bed, Machine, wait_until
from frontend import Kernel, Site, add_kernel, ours, ran, remote_kernels
from remote_kernels.ssh_connection import shared_connection_pid


def ps(*words: str, status: int = 0) -> list[dict[str, Any]]:
    """What ``ps`` tells programs: the kernels of ada's host, or of the hosts that are named."""
    done = ran("ps", "--json", *(words or ["ada@far"]))
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return [kernel for host in json.loads(done.stdout) for kernel in host["kernels"]]


def only() -> dict[str, Any]:
    (found,) = ps()
    return found


def children(bed: Bed, pid: int) -> list[int]:
    found = bed.far.run(["pgrep", "-P", str(pid)], user="ada", check=False).stdout.split()
    return list(map(int, found))


def kernels_of(machine: Machine) -> list[str]:
    return [x.args for x in machine.processes(user="ada") if "ipykernel_launcher" in x.args]


def test_a_kernel_of_ours(kernel: Kernel) -> None:
    wait_until(lambda: only()["state"] == "idle", 10, "its first rest")
    found = only()
    assert found["ours"]
    assert (found["name"], found["node"], found["host"]) == ("Test", "far", "ada@far")
    assert found["line"] == "connected"
    assert found["memory"] > 10_000
    assert found["cpu"] > 0
    assert found["since"] <= found["active"]
    assert found["file"].startswith(f"{HOME}/rik_kernel-{found['id']}")
    assert "keeper" not in found
    message = kernel.begin("import threading\nthreading.Event().wait(60)")
    wait_until(lambda: only()["state"] == "busy", 10, "its work")
    # The beginning of an id is enough.
    said = remote_kernels("interrupt", found["id"][:5], "--on", "ada@far")
    assert said == f"Interrupted {found['id']}: Test, far.\n"
    assert kernel.reply_to(message)["ename"] == "KeyboardInterrupt"


def test_it_is_found_without_a_word(site: Site, tmp_path: Path) -> None:
    # Where its launcher goes. That is no kernel of this machine, though it listens like one.
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir()
    file = str(runtime / "kernel-1.json")
    with Kernel(add_kernel(site), tmp_path, connection_file=file):
        assert [x["name"] for x in ps("--all")] == ["Test"]
        done = subprocess.run(
            [sys.executable, "-m", "remote_kernels", "ps"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.count("\n") == 1
    assert "  Test  far  " in done.stdout


def test_a_flood_does_not_hide_the_end_of_work(kernel: Kernel) -> None:
    kernel.run("print('execution_state: busy ' * 100_000)")
    kernel.run(
        "from IPython.display import display\ndisplay({'text/plain': 'x' * 3_000_000}, raw=True)"
    )
    wait_until(lambda: only()["state"] == "idle", 10, "its rest")


def test_a_kernel_is_started_anew(kernel: Kernel) -> None:
    kernel.run("here = 1")
    before = kernel.value("__import__('os').getpid()")
    assert remote_kernels("restart", only()["id"]).startswith("Restarted ")
    kernel.wait_for_new_start()
    assert kernel.value("'here' in globals()") is False
    assert kernel.value("__import__('os').getpid()") != before
    assert kernel.launcher.poll() is None
    assert only()["line"] == "connected"


def test_a_kernel_is_stopped(bed: Bed, site: Site, tmp_path: Path) -> None:
    # In Jupyter's runtime directory it keeps its name when it is started again.
    file = str(tmp_path / "kernel-1.json")
    kernel = Kernel(add_kernel(site), tmp_path, connection_file=file)
    kernel.start()
    try:
        kernel.wait_for_ready()
        assert remote_kernels("stop", only()["id"]).startswith("Stopped ")
        assert kernel.launcher_status(10) == 32
        assert "stopped with 'remote-kernels stop'" in kernel.stderr()
        assert site.kernels() == []
        # Jupyter, which believes that it has died, does not start it again.
        again = [*kernel.launcher.args]  # type: ignore[misc]
        done = subprocess.run(again, capture_output=True, text=True, timeout=30)
        assert done.returncode == 32
        assert site.kernels() == []
    finally:
        kernel.__exit__(None, None, None)


def test_four_kernels_by_hand_of_which_two_are_dead(bed: Bed) -> None:
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(by_hand(bed, name=None)).pid for _ in range(4)]
        for pid in pids[:2]:
            bed.far.run(["kill", "-9", str(pid)])
        found = ps()
        assert [x["pid"] for x in found if not x["stale"]] == [pids[3], pids[2]]
        stale = [x["file"] for x in found if x["stale"]]
        assert sorted(stale) == sorted(f"{RUNTIME}/kernel-{pid}.json" for pid in pids[:2])
        assert not any(x["ours"] for x in found)
        assert all(x["memory"] > 10_000 for x in found if not x["stale"])

        person = ours("clean", "ada@far")
        person.sees(f"kernel-{pids[0]}.json")
        person.sees("Remove them")
        person.types("n")
        person.sees("Nothing was removed")
        person.end()
        assert len(ps()) == 4
        assert "Removed 2 of 2" in remote_kernels("clean", "ada@far", "--yes")
        assert len(ps()) == 2
        assert "nothing is left" in remote_kernels("clean", "ada@far")


def test_kernels_of_others_are_interrupted_and_stopped(bed: Bed) -> None:
    with by_hand(bed, name=None) as (_, pid):
        info = json.loads(bed.far.read(f"{RUNTIME}/kernel-{pid}.json"))
        assert info["transport"] == "tcp"
        said = remote_kernels("interrupt", str(pid), "--on", "ada@far")
        assert said.startswith("Interrupted ")
        assert only()["pid"] == pid
        done = subprocess.run(
            [sys.executable, "-m", "remote_kernels", "restart", str(pid), "--on", "ada@far"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "was not started by remote-kernels" in done.stderr
        assert done.returncode == 1
        assert remote_kernels("stop", str(pid), "--on", "ada@far").startswith("Stopped ")
        assert kernels_of(bed.far) == []


def test_what_a_kernel_has_forked_is_not_interrupted(bed: Bed) -> None:
    forks = "import os, threading\nif os.fork() == 0: threading.Event().wait(600)"
    with by_hand(bed) as (_, pid), Attached("hand") as attached:
        with client_of(attached.file) as client:
            assert printed(client, forks) == ""
            (child,) = wait_until(lambda: children(bed, pid), 10, "its child")
            assert only()["pid"] == pid
            cell = client.execute("print(1)\nthreading.Event().wait(60)", stop_on_error=False)
            wait_until(lambda: client.get_iopub_msg()["msg_type"] == "stream", 10, "its work")
            assert remote_kernels("interrupt", "hand", "--on", "ada@far").startswith("Inter")
            assert reply_to(client, cell)["ename"] == "KeyboardInterrupt"
            assert children(bed, pid) == [child]
        bed.far.run(["kill", "-9", str(child)])


def test_a_kernel_in_a_container_that_was_told_no_file(bed: Bed) -> None:
    inside = "unshare --user --map-root-user --net sh -c 'ip link set lo up && exec \"$@\"' sh"
    with by_hand(bed, name=None, inside=inside) as (file, pid):
        found = only()
        assert (found["file"], found["pid"], found["stale"]) == (file, pid, False)
        assert "nothing is left" in remote_kernels("clean", "ada@far", "--yes")


def test_a_kernel_without_a_keeper(bed: Bed, site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "kernel-0c0ffee0-1234-4567-89ab-0123456789ab.json")
    kernel = Kernel(add_kernel(site, "--channel=forward"), tmp_path, connection_file=file)
    kernel.start()
    try:
        kernel.wait_for_ready()
        found = only()
        assert (found["id"], found["launcher"]) == ("0c0ffee0", kernel.launcher.pid)
        assert (found["name"], found["node"], found["ours"]) == ("Test", "far", True)
        assert found["memory"] > 10_000
        message = kernel.begin("import threading\nthreading.Event().wait(60)")
        assert remote_kernels("interrupt", found["id"]).startswith("Interrupted ")
        assert kernel.reply_to(message)["ename"] == "KeyboardInterrupt"
        for command in ("restart", "output"):
            done = ran(command, found["id"])
            assert done.returncode == 1
            assert f"no keeper of {found['id']} answers" in done.stderr
        assert kernel.value("6 * 7") == 42
        said = remote_kernels("stop", found["id"])
        assert said == "Stopped 0c0ffee0: Test, far.\n"
        assert kernel.launcher_status(10) == 128 + signal.SIGTERM
        assert site.kernels() == []
        # Jupyter, which believes that it has died, does not start it again.
        again = [*kernel.launcher.args]  # type: ignore[misc]
        done = subprocess.run(again, capture_output=True, text=True, timeout=30)
        assert done.returncode == 32
    finally:
        kernel.__exit__(None, None, None)


@pytest.mark.parametrize("words", [["nothing"], ["/no/such.json"], ["1"]])
def test_what_is_not_there(kernel: Kernel, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "remote_kernels", "stop", *words],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"there is no kernel {words[0]}" in done.stderr
    assert kernel.value("1") == 1


def test_a_host_that_is_away(bed: Bed, kernel: Kernel) -> None:
    with bed.far.sshd("DenyUsers ada"):
        # Over a connection of its own, since that of the kernel stays open.
        (found,) = ps("ada@far", "--remote-launch-args=-S none", status=17)
    assert (found["name"], found["line"]) == ("Test", "away")


def test_a_directory_that_a_keeper_has_left(bed: Bed) -> None:
    directory = "/tmp/rk-1-abcdef0123"
    script = (
        "import os, socket; os.mkdir(D, 0o700); s = socket.socket(socket.AF_UNIX); "
        "s.bind(D + '/keeper'); open(F, 'w').close(); os.symlink(F, D + '/file')"
    )
    file = f"{HOME}/rik_kernel-left.json"
    program = f"D = {directory!r}; F = {file!r}; {script}"
    bed.far.run(["/usr/bin/python3", "-c", program], user="ada")
    shown = remote_kernels("clean", "ada@far", "--dry-run")
    assert directory in shown
    assert file in shown
    assert "Removed 2 of 2" in remote_kernels("clean", "ada@far", "--yes")
    assert directory not in bed.far.files()
    assert file not in bed.far.files()


def test_what_is_left_on_this_machine(bed: Bed, site: Site, tmp_path: Path) -> None:
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir(parents=True)
    file = str(runtime / "kernel-living.json")
    with Kernel(add_kernel(site), tmp_path, connection_file=file) as kernel:
        place = Path(os.environ["XDG_RUNTIME_DIR"])
        living = {*runtime.iterdir(), *place.iterdir()}
        left = [*lost_login(place), directory_of_killed(place), runtime / "kernel-dead.json"]
        left[-1].write_text(json.dumps({**json.loads(Path(file).read_text()), "hb_port": 1}))

        shown = remote_kernels("clean", "--dry-run")
        assert shown.startswith("this machine: left of dead kernels:\n")
        assert {line.split(" (")[0].strip() for line in shown.splitlines() if " (" in line} == {
            str(path) for path in left
        }
        assert "ada@far: nothing is left" in shown
        # What is of a host is asked there.
        assert "this machine" not in remote_kernels("clean", "ada@far", "--yes")
        assert {*runtime.iterdir(), *place.iterdir()} == {*living, *left}

        assert f"Removed {len(left)} of {len(left)}." in remote_kernels("clean", "--yes")
        assert {*runtime.iterdir(), *place.iterdir()} == living
        assert "this machine: nothing is left" in remote_kernels("clean", "--yes")
        assert kernel.value("6 * 7") == 42
        # Its connection still takes new sessions.
        logins = bed.far.logins()
        assert only()["line"] == "connected"
        assert bed.far.logins() == logins


def lost_login(place: Path) -> list[Path]:
    """What is left of a login whose ssh was killed: its socket, and its note."""
    assert ours("login", "ada@far:2222").end()[0] == 0
    (note,) = place.glob("rk-*.login")
    path = Path(json.loads(note.read_text())["socket"])
    os.kill(shared_connection_pid(("ssh",), path), signal.SIGKILL)
    wait_until(lambda: shared_connection_pid(("ssh",), path) == 0, 10, "its end")
    return [path, note]


def directory_of_killed(place: Path) -> Path:
    """What a launcher leaves that is killed before it could remove it."""
    code = "from remote_kernels.private_directory import *; print(PrivateDirectory().path)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    path = Path(done.stdout.strip())
    assert path.parent == place
    return path
