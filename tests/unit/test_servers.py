"""The look over there for Jupyter servers: which are there, and which only seem to be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from remote_kernels import running, servers

# What a server is to who only looks: it listens, and says where.
LISTENS = """
import os, socket, sys
where = sys.argv[1]
if where.startswith("/"):
    one = socket.socket(socket.AF_UNIX)
    one.bind(where)
    one.listen()
else:
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    one = socket.create_server((where, 0), family=family)
print(0 if where.startswith("/") else one.getsockname()[1], flush=True)
sys.stdin.read()
"""


class Listener(NamedTuple):
    """A process that listens.

    Attributes:
        pid: its number.
        port: on which it listens; 0 for a unix socket.
    """

    pid: int
    port: int


@contextmanager
def listening(where: str = "127.0.0.1", **env: str) -> Iterator[Listener]:
    """A process that listens at an address, or a path."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTENS, where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Listener(process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers have their files; no other servers are there, and no keepers."""
    directory = tmp_path / "runtime"
    directory.mkdir()
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(running, "runtime_directories", lambda: [str(directory)])
    monkeypatch.setattr(running, "kept_servers", list)
    return directory


def write(directory: Path, listener: Listener, kind: str = "jp", **info: Any) -> Path:
    """The file of a server as jupyter_server writes it."""
    directory.mkdir(parents=True, exist_ok=True)
    usual = {
        **{"pid": listener.pid, "port": listener.port, "hostname": "localhost", "sock": ""},
        **{"base_url": "/", "token": "its", "password": False, "secure": False},
        **{"root_dir": "/srv", "version": "2.0"},
    }
    path = directory / f"{kind}server-{listener.pid}.json"
    known = {name: value for name, value in {**usual, **info}.items() if value is not None}
    path.write_text(json.dumps(known))
    return path


def found(directory: str = "") -> list[dict[str, Any]]:
    return next(servers.servers(directory))


def test_one_that_says_where_it_is(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with listening() as listener:
        write(runtime, listener, root_dir=str(tmp_path / "link"), base_url="/x/", secure=True)
        (server,) = found(str(tmp_path / "there"))
        assert server["address"] == ("127.0.0.1", listener.port)
        assert (server["pid"], server["token"], server["base_url"]) == (listener.pid, "its", "/x/")
        assert (server["told"], server["ours"], server["secure"]) == (True, False, True)
        assert server["here"]
        assert not found(str(tmp_path))[0]["here"]
        assert found("~/there/.")[0]["here"]
    assert found() == []


def test_one_of_notebook_6(runtime: Path) -> None:
    with listening() as listener:
        write(runtime, listener, "nb", root_dir=None, version=None, sock=None, notebook_dir="~")
        (server,) = found()
        assert (server["told"], server["here"], server["version"]) == (True, True, "")


@pytest.mark.parametrize(
    ("listens", "hostname", "reached"),
    [
        ("0.0.0.0", "*", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("::1", "localhost", "::1"),
        ("::1", "::1", "::1"),
        ("::", "::", "::1"),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
    ],
)
def test_where_it_is_reached(runtime: Path, listens: str, hostname: str, reached: str) -> None:
    with listening(listens) as listener:
        write(runtime, listener, hostname=hostname)
        assert [server["address"] for server in found()] == [(reached, listener.port)]


def test_one_on_a_unix_socket(runtime: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "so cket")
    with listening(path) as listener:
        write(runtime, listener, sock=path)
        assert [server["address"] for server in found()] == [path]


@pytest.mark.parametrize(
    ("variable", "value", "directory"),
    [
        ("JUPYTER_RUNTIME_DIR", "own", "own"),
        ("JUPYTER_DATA_DIR", "own", "own/runtime"),
        ("XDG_DATA_HOME", "own", "own/jupyter/runtime"),
        ("HOME", "own", "own/.local/share/jupyter/runtime"),
    ],
)
def test_one_whose_start_up_file_has_set_a_directory(
    tmp_path: Path, variable: str, value: str, directory: str
) -> None:
    with listening(**{variable: str(tmp_path / value)}) as listener:
        write(tmp_path / directory, listener)
        assert [server["pid"] for server in found()] == [listener.pid]


def test_a_file_of_another_machine_with_the_same_home(runtime: Path) -> None:
    # Its number is that of a process of ours here, and its port that of somebody's server.
    with listening() as listener, listening() as another:
        write(runtime, Listener(another.pid, listener.port))
        write(runtime, Listener(os.getpid(), listener.port))
        assert found() == []


def test_what_only_looks_like_a_file_of_a_server(runtime: Path) -> None:
    with listening() as listener:
        path = write(runtime, listener)
        good = path.read_text()
        for text in ("", "[]", "{}", "\0", good.replace(f'"port": {listener.port}', '"port": "x"')):
            path.write_text(text)
            assert found() == []
        path.write_text(good.replace(f'"pid": {listener.pid}', '"pid": 1'))
        assert found() == []
        path.write_text(good)
        path.rename(runtime / "jpserver-1.json")
        assert found() == []
        # None that is said is of another kind than it should be.
        write(runtime, listener, token=7, base_url=None, root_dir=["x"], password="yes", sock=None)
        (server,) = found()
        assert (server["token"], server["base_url"], server["password"]) == ("7", "/", True)


# --- ours -----------------------------------------------------------------------------------------


def kept(listener: Listener, file: Path, **facts: Any) -> dict[str, Any]:
    """What a keeper tells of a server that it has started in /srv."""
    texts = dict.fromkeys(("interface", "job", "job_name", "says", "node"), "")
    return {
        **texts,
        **{"id": "0123abcd", "name": "jupyter lab", "keeper": "/tmp/rk-1-x/keeper", "since": 1.0},
        **{"state": "running", "pid": listener.pid, "file": str(file), "workdir": "/srv"},
        **{"addresses": [["127.0.0.1", listener.port]], "kind": "server"},
        **facts,
    }


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The file of a server's token."""
    path = tmp_path / "token"
    path.write_text("ours")
    return path


def test_one_that_a_keeper_holds(
    runtime: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as listener:
        monkeypatch.setattr(running, "kept_servers", lambda: [kept(listener, token)])
        # Not all that serve a page say where they are.
        (server,) = found("/srv")
        assert (server["told"], server["token"], server["here"]) == (False, "ours", True)
        # Its own configuration may have named another directory, and another token.
        write(runtime, listener, root_dir="/usr", base_url="/x/")
        for directory in ("/srv", "/usr"):
            (server,) = found(directory)
            assert (server["told"], server["token"], server["here"]) == (True, "its", True)
            assert (server["directory"], server["base_url"]) == ("/usr", "/x/")
        assert not found("/")[0]["here"]


def test_a_token_is_not_for_who_has_taken_the_port(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, listening() as listener:
        facts = kept(Listener(listener.pid, other.getsockname()[1]), token)
        monkeypatch.setattr(running, "kept_servers", lambda: [facts])
        assert found()[0]["token"] == ""


def test_one_that_waits_for_its_job(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = kept(Listener(0, 0), Path(""), addresses=None, job_name="x", says="job 3 PENDING")
    monkeypatch.setattr(running, "kept_servers", lambda: [facts])
    (server,) = found("/srv")
    assert (server["says"], server["pid"], server["address"]) == ("job 3 PENDING", 0, None)
    assert server["here"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/python3.11", "/x/bin/jupyter-lab", "--no-browser"], "jupyter-lab"),
        (["/opt/python3/bin/jupyter-lab"], "jupyter-lab"),
        (["python3", "-m", "jupyterlab"], "jupyterlab"),
        (["/usr/bin/env", "python"], "jupyter server"),
    ],
)
def test_what_it_is_called(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    with listening() as listener:
        write(runtime, listener)
        monkeypatch.setattr(servers, "words_of", lambda pid: words if pid == listener.pid else [])
        assert [server["name"] for server in found()] == [name]


def test_one_that_is_not_ours_is_stopped(runtime: Path) -> None:
    with listening() as listener:
        write(runtime, listener)
        assert next(servers.stop("", listener.pid))
        # Its parent has not looked yet.
        assert found() == []
