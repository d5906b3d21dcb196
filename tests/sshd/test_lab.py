"""``lab``: a whole Jupyter server over there, and what comes through to it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from bed import Bed, Machine, Watch, wait_until
from carried import Carried, leave_no_traces, light, listed, servers_by_hand, stop, typed
from frontend import ran, remote_kernels
from remote_kernels.errors import ForwardError, ServerError

# A program that serves pages, and has never heard of Jupyter.
PAGES = "python3 -m http.server --bind 127.0.0.1 {port}"
SERVER = ("--app", "jupyter server")
MB = 1 << 20


@pytest.fixture(scope="module")
def activate(_bed: Bed | None) -> list[str]:
    """The option that makes Jupyter known over there."""
    assert _bed is not None
    return ["--activate", str(Path(_bed.far_python).parents[1])]


@pytest.fixture(scope="module", autouse=True)
def shared(
    _bed: Bed | None, activate: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A server that the command has started in ~/shared, and left; most tests come back to it."""
    assert _bed is not None
    directory = tmp_path_factory.mktemp("shared")
    watch = Watch(_bed)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
            patch.setenv(variable, str(directory / variable.lower()))
        light(_bed.far, "ada")
        _bed.far.run(["mkdir", "shared"], user="ada")
        with Carried(directory, "ada@far", "--workdir=~/shared", *SERVER, *activate):
            pass
        yield
        stop("ada@far", "--workdir=~/shared")
        leave_no_traces(_bed.far, "ada", "shared")
        watch.assert_nothing_remains()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Carried]:
    """The way to the server that runs already."""
    with Carried(tmp_path, "ada@far", "--workdir=~/shared") as carried:
        assert "runs in ~/shared since" in carried.said()
        yield carried


def servers(bed: Bed, user: str = "ada") -> list[int]:
    """The process numbers of somebody's Jupyter servers."""
    return [x.pid for x in bed.far.processes(user) if re.search(r"/jupyter-(lab|server)", x.args)]


def kill_sshd(bed: Bed) -> None:
    """End all of ada's sessions, and no more."""
    bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"], check=False)


def digest_over_there(bed: Bed, path: str) -> str:
    return bed.far.run(["sha256sum", path], user="ada").stdout.split()[0]


@contextmanager
def place(bed: Bed, name: str, user: str = "ada") -> Iterator[str]:
    """A directory of somebody's over there; with it goes the server that is in it."""
    bed.far.run(["mkdir", name], user=user)
    try:
        yield name
    finally:
        ran("lab", "--stop", f"{user}@far", f"--workdir={name}")
        bed.far.run(["rm", "-r", name], user=user)


# --- one that is started --------------------------------------------------------------------------


def test_from_the_start_to_the_end(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    light(bed.far, "ada", without_lab=False)
    before = set(servers(bed))
    with place(bed, "a b"):
        bed.far.run(["sh", "-c", "head -c 64M /dev/urandom >'a b/big'"], user="ada")
        with Carried(tmp_path, "ada@far", "--workdir=~/a b", *activate) as lab:
            (pid,) = set(servers(bed)) - before
            steps = re.findall("^✓ (.*?)  ", lab.said(), re.MULTILINE)
            assert steps[:1] == ["ssh configuration"]
            assert steps[-3:] == ["Python over there", "disk and quota", "kernel command"]
            assert "Starting jupyter lab in ~/a b on ada@far.\njupyter lab on far is" in lab.said()
            with urlopen(lab.url) as page:
                assert urlsplit(page.url).path == "/lab"
                assert "<title>JupyterLab</title>" in page.read().decode()
            with lab.kernel() as run:
                assert run("import os; print(os.getcwd())") == "/home/ada/a b\n"
            # The line breaks, and the browser does not notice.
            with lab.open("files/big") as answer:
                found = hashlib.sha256(answer.read(8 * MB))
                kill_sshd(bed)
                lab.sees("remote-kernels: the line to ada@far was lost; trying to get back")
                while data := answer.read(MB):
                    found.update(data)
            lab.sees("remote-kernels: back at ada@far after")
            assert found.hexdigest() == digest_over_there(bed, "a b/big")
            lab.leave()
            assert lab.said().endswith("Left; the server goes on.\n")
        back, ends = re.findall("^  remote-kernels lab (.*)$", lab.said(), re.MULTILINE)
        assert set(servers(bed)) - before == {pid}
        host, *words = shlex.split(back)
        with Carried(tmp_path, host, *words) as again:
            assert again.url == lab.url
            assert again.get("api/contents")["content"]
            assert set(servers(bed)) - before == {pid}
            # Who carries it sees that it is stopped.
            assert "Stopped jupyter lab in /home/ada/a b on ada@far." in stop(
                *shlex.split(ends)[1:]
            )
            assert again.status() == 0
            assert again.said().endswith("The server has ended.\n")
        assert set(servers(bed)) == before


def test_those_who_come_at_once(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    # Their shells are bash, tcsh and fish.
    people = ("ada", "ada", "cora", "fred")
    before = servers(bed)
    with ExitStack() as stack:
        for user in sorted(set(people)):
            light(bed.far, user)
            stack.enter_context(place(bed, "once", user))
        words = (*SERVER, *activate, "--workdir=once")
        labs = [Carried(tmp_path, f"{user}@far", *words, wait=False) for user in people]
        for lab in labs:
            stack.enter_context(lab)
        for lab, user in zip(labs, people, strict=True):
            lab.wait_until_up()
            lab.send("api/contents", {"type": "directory"})
            assert f"/home/{user}/once/Untitled Folder" in bed.far.files(f"/home/{user}")
        assert len(servers(bed)) == len(before) + 1
        assert labs[0].token == labs[1].token
        assert (len(servers(bed, "cora")), len(servers(bed, "fred"))) == (1, 1)
    for user in ("cora", "fred"):
        leave_no_traces(bed.far, user)


def test_a_notebook_on_a_unix_socket(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    # Her own configuration wants what lab does not.
    settings = {"port": 9999, "ip": "0.0.0.0", "open_browser": True, "base_url": "/hers/"}
    light(bed.far, "ada", without_lab=False, **settings)
    ports = bed.far.listening_ports()
    with place(bed, "there"):
        bed.far.run(["ln", "-s", "..", "there/link"], user="ada")
        words = ("--workdir=~/there/link/there", "--notebook", "--transport=ipc", *activate)
        with Carried(tmp_path, "ada@far", *words) as lab:
            assert bed.far.listening_ports() == ports
            with urlopen(lab.url) as page:
                assert urlsplit(page.url).path == "/hers/tree"
            (found,) = [x for x in listed("ada@far") if x["directory"] == "/home/ada/there"]
            assert (found["name"], found["base_url"]) == ("jupyter notebook", "/hers/")
            with lab.terminal() as terminal:
                assert "21x" in typed(terminal, "unset HISTFILE; echo $((21))x", "21x")


def test_voila(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": "print(6 * 7)", "metadata": {}, "outputs": []}
    notebook = {"cells": [{**cell, "execution_count": None}], "metadata": {}, "nbformat": 4}
    with place(bed, "report"):
        text = json.dumps({**notebook, "nbformat_minor": 4})
        bed.far.write("/home/ada/report/x.ipynb", text, user="ada")
        words = ("--workdir=report", "--app", "voila x.ipynb --token", *activate)
        with Carried(tmp_path, "ada@far", *words) as lab:
            with urlopen(lab.base) as page:
                assert urlsplit(page.url).path == "/login"
            with urlopen(lab.url) as page:
                assert "42" in page.read().decode()


def test_a_program_behind_gateways_that_dies(bed: Bed, tmp_path: Path) -> None:
    words = ("--tunnel-hosts", "gina@gw1", "gina@gw2", "--app", PAGES)
    with Carried(tmp_path, "ada@inner", *words) as lab:
        with urlopen(lab.url) as page:
            assert "Directory listing" in page.read().decode()
        (pages,) = [x for x in bed.inner.processes("ada") if x.args.startswith("python3 -m http")]
        bed.inner.run(["kill", "-9", str(pages.pid)])
        assert lab.status() == ServerError.exit_code
        assert "the server ended with status 137 (SIGKILL)" in lab.said()


def test_what_cannot_be_started(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    done = ran("lab", "ada@far", "--no-browser")
    assert done.returncode == ServerError.exit_code
    assert "remote-kernels: the server could not be started: jupyter lab.\n" in done.stderr
    assert "jupyter: command not found" in done.stderr
    assert "try:   where an environment has it, name it: --activate DIR" in done.stderr
    bed.far.write("/home/ada/.bash_aliases", "x() { echo I am one; return 7; }\n", user="ada")
    done = ran("lab", "ada@far", "--no-browser", "--app", "x")
    bed.far.run(["rm", ".bash_aliases"], user="ada")
    assert "said:  I am one\n" in done.stderr
    assert "try:   run the command by hand over there" in done.stderr
    done = ran("lab", "ada@far", "--app", "jupyter nonsense", *activate)
    assert done.returncode == ServerError.exit_code
    assert "said:  Jupyter command `jupyter-nonsense` not found." in done.stderr
    assert "try:   else install it over there: python3 -m pip install jupyterlab" in done.stderr
    (log,) = re.findall("^  log:   (.*)$", done.stderr, re.MULTILINE)
    assert "jupyter-nonsense" in Path(log).read_text()


def test_a_start_that_is_given_up(bed: Bed, activate: list[str], tmp_path: Path) -> None:
    before = servers(bed)
    with Carried(tmp_path, "ada@far", *SERVER, *activate, wait=False) as lab:
        lab.sees("Starting jupyter server in your home on ada@far.")
        wait_until(lambda: len(servers(bed)) > len(before), 20, "its process")
        lab.leave()
        assert lab.said().endswith("Given up; nothing was left over there.\n")
    assert servers(bed) == before


# --- those that somebody has started by hand ------------------------------------------------------


def test_those_that_were_started_by_hand(bed: Bed, tmp_path: Path) -> None:
    light(bed.far, "ada")
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=far -keyout key -out cert"
    code = "from jupyter_server.auth import passwd; print(passwd('secret', 'sha256'))"
    password = bed.far.run([bed.far_python, "-c", code], user="ada").stdout.strip()
    plain = ("--ip=*", "--IdentityProvider.token=a&b#c", "--ServerApp.base_url=/hers/")
    private = (
        *("--ip=::1", "--certfile=cert", "--keyfile=key", "--ServerApp.token="),
        f"--PasswordIdentityProvider.hashed_password={password}",
    )
    with place(bed, "plain"), place(bed, "private"):
        bed.far.run(["sh", "-c", f"cd private && {certificate} 2>&1"], user="ada")
        hers = {"/home/ada/plain": ("jupyter-lab", *plain)}
        hers["/home/ada/private"] = ("jupyter-server", *private)
        with servers_by_hand(bed, hers):
            known = [x for x in listed("ada@far") if not x["ours"]]
            assert {x["directory"]: x["name"] for x in known} == {
                directory: words[0] for directory, words in hers.items()
            }
            with Carried(tmp_path, "ada@far", "--workdir=plain") as lab:
                assert "jupyter-lab runs in plain since" in lab.said()
                assert (lab.token, urlsplit(lab.url).path) == ("a&b#c", "/hers/")
                assert lab.get("api/contents")["type"] == "directory"
            with Carried(tmp_path, "ada@far", "--workdir=private") as lab:
                # Its file does not say that it has one.
                assert "It has no token: unless it asks for a password, whoever" in lab.said()
                assert re.fullmatch(r"https://127\.0\.0\.1:\d+/", lab.url)
                # Its certificate is for another name.
                anybody = ssl._create_unverified_context()
                with pytest.raises(HTTPError, match="Forbidden"):
                    urlopen(f"{lab.base}api/contents", context=anybody)
            assert [x for x in listed("ada@far") if not x["ours"]] == known
            said = stop("ada@far", "--workdir=plain")
            assert "Stopped jupyter-lab in /home/ada/plain on ada@far." in said
            (left,) = [x for x in listed("ada@far") if not x["ours"]]
            assert left["directory"] == "/home/ada/private"


# --- what comes through to one that runs ----------------------------------------------------------


def test_several_at_once(bed: Bed, lab: Carried, tmp_path: Path) -> None:
    bed.far.run(["sh", "-c", "head -c 64M /dev/urandom >shared/big"], user="ada")
    with Carried(tmp_path, "ada@far", "--workdir=~/shared") as other, lab.kernel() as run:
        assert other.port != lab.port
        with lab.open("files/big") as download, lab.terminal() as terminal:
            found = hashlib.sha256(download.read(MB))
            # What nobody takes waits in the server, and holds nothing else up.
            spools = "readlink /proc/[0-9]*/fd/* | grep -c spool-"
            assert bed.far.run(["sh", "-c", spools], check=False).stdout == "0\n"
            assert run("print(6 * 7)") == "42\n"
            assert "here:x" in typed(terminal, "unset HISTFILE; echo $((4))here:x", "4here:x")
            with ThreadPoolExecutor(16) as pool:
                asked = [pool.submit(each.get, "api/contents") for each in (lab, other) * 16]
                assert {"big"} == {x.result()["content"][0]["name"] for x in asked}
            while data := download.read(MB):
                found.update(data)
        assert found.hexdigest() == digest_over_there(bed, "shared/big")
    bed.far.run(["rm", "shared/big"], user="ada")


def test_an_upload_of_500_mb(bed: Bed, lab: Carried) -> None:
    part = os.urandom(25 * MB // 2).hex().encode()
    whole = hashlib.sha256()
    # As JupyterLab does it, in larger parts.
    for number in (*range(1, 20), -1):
        head = f'{{"type": "file", "format": "text", "chunk": {number}, "content": "'
        lab.open("api/contents/large", b'%b%b"}' % (head.encode(), part), "PUT").close()
        whole.update(part)
    assert digest_over_there(bed, "shared/large") == whole.hexdigest()
    bed.far.run(["rm", "shared/large"], user="ada")


def test_ways_to_leave_it(bed: Bed, lab: Carried, tmp_path: Path) -> None:
    pids = servers(bed)
    done = ran("lab", "ada@far", "--workdir=~/shared", "--no-browser", "--port", str(lab.port))
    assert done.returncode == ForwardError.exit_code
    assert f"port {lab.port} of this machine cannot be used: Address already in use" in done.stderr
    lab.process.send_signal(signal.SIGKILL)
    assert lab.process.wait(10) == -signal.SIGKILL
    with Carried(tmp_path, "ada@far", "--workdir=~/shared") as again:
        assert again.get("api/status")
        # As when the terminal is closed.
        again.leave(signal.SIGHUP)
        assert again.said().endswith("Left; the server goes on.\n")
    assert servers(bed) == pids


def test_the_token_is_nobodys(bed: Bed, lab: Carried, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" >{tmp_path}/argv\nstat -c %a "${{1#file://}}" >{tmp_path}/mode\n'
        f'cp "${{1#file://}}" {tmp_path}/page.html\nexec sleep 100\n'
    )
    browser.chmod(0o700)
    old = Path(os.environ["JUPYTER_RUNTIME_DIR"], "rk-lab-1-open.html")
    old.touch()
    os.utime(old, (0, 0))
    with Carried(tmp_path, "ada@far", "--workdir=~/shared", browser=str(browser)) as shown:
        page = tmp_path / "page.html"
        wait_until(lambda: page.exists() and page.read_text().endswith("</a>\n"), 10, "the browser")
        assert f'content="1;url={shown.url}"' in page.read_text()
        assert (tmp_path / "mode").read_text() == "600\n"
        (address,) = (tmp_path / "argv").read_text().splitlines()
        leads = Path(address.removeprefix("file://"))
        assert leads.exists()
        assert not old.exists()
        page.unlink()
        with lab.kernel(), lab.terminal():
            for machine in (bed.laptop, bed.far):
                assert not seen(machine, lab.token, "/proc/[0-9]*/cmdline /proc/[0-9]*/environ")
                known = "/home /run/user $(find /tmp -maxdepth 1 ! -name pytest-of-mia ! -name tmp)"
                for path in seen(machine, lab.token, known):
                    # jupyter_server's own page is in a private directory.
                    modes = machine.run(["stat", "-c", "%a", path, str(Path(path).parent)]).stdout
                    assert modes.split()[0] == "600" or modes.endswith("700\n"), path
    assert not leads.exists()
    # The browser stays open.
    os.killpg(shown.process.pid, signal.SIGTERM)
    state = Path(os.environ["XDG_STATE_HOME"])
    assert not [path for path in state.rglob("*.log") if lab.token in path.read_text()]
    assert lab.token not in remote_kernels("lab", "--list", "ada@far")
    assert lab.token not in remote_kernels("lab", "--list", "--json", "ada@far")


def seen(machine: Machine, text: str, paths: str) -> list[str]:
    """The files in which a text stands; it stands in no command line here."""
    command = f"grep -rlaFs -f - {paths}"
    return machine.run(["sh", "-c", command], input=text, check=False).stdout.splitlines()
