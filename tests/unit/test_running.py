"""The look over there for kernels that run: which is meant, which are dead, what they have left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bed.waiting import wait_until
from remote_kernels import running
from remote_kernels.answers import CannotAnswer
from remote_kernels.processes import lives, words_of
from unit.processes import parent_of

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one runtime directory, and no keepers but those of the test."""
    directory = tmp_path / "runtime"
    directory.mkdir()
    monkeypatch.setattr(running, "runtime_directories", lambda: [str(directory)])
    (tmp_path / "places").mkdir()
    monkeypatch.setattr(running, "_PLACES", (str(tmp_path / "places"),))
    return directory


def write(path: Path, **info: Any) -> Path:
    """A connection file of a kernel on unix sockets beside it."""
    numbers = {port: number for number, port in enumerate(PORTS, 1)}
    path.write_text(
        json.dumps({"transport": "ipc", "ip": str(path.with_suffix("")), **numbers, **info})
    )
    return path


def found(directory: Path) -> dict[str, dict[str, Any]]:
    """The kernels of others below a directory, by the names of their files."""
    kernels = next(running.kernels())
    return {
        Path(kernel["file"]).name: kernel
        for kernel in kernels
        if kernel["file"].startswith(str(directory))
    }


@pytest.fixture
def process(runtime: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was given a connection file, and whose program runs."""
    file = write(runtime / "kernel-given.json", kernel_name="mine")
    code = "import time; print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, "-f", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            # Before that it has no memory to speak of, and dies of what it could handle.
            assert child.stdout is not None
            assert child.stdout.readline()
            yield child
        finally:
            child.kill()


def test_a_process_with_a_file(runtime: Path, process: subprocess.Popen[bytes]) -> None:
    (kernel,) = found(runtime).values()
    assert (kernel["pid"], kernel["id"], kernel["name"]) == (process.pid, "given", "mine")
    assert not kernel["stale"]
    assert kernel["memory"] > 1000
    assert abs(kernel["since"] - time.time()) < 30


def test_one_that_listens_though_nobody_was_told_its_file(runtime: Path) -> None:
    file = write(runtime / "kernel-listens.json")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{file.with_suffix('')}-5")
        listener.listen()
        assert found(runtime)[file.name]["pid"] == os.getpid()


# As kernels do, on a unix socket; and one that has forked, as multiprocessing does.
_LISTENS = (
    "import os, socket, sys, time; s = socket.socket(socket.AF_UNIX); "
    "s.bind(sys.argv[-1][:-5] + '-5'); s.listen(); "
)
_LIVES = "print(flush=True); time.sleep(60)"
_FORKS = "import os, time; os.fork(); time.sleep(0.02) if os.fork() else None; "
# What a shell is given whose command line holds the file, too; it stays before its child.
_BELOW_A_SHELL = ["/bin/sh", "-c", '"$@"; :', "sh"]


@contextmanager
def running_program(*command: str, lines: int = 1) -> Iterator[int]:
    """A program of which so many processes have said that they run; its process number."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            assert all(child.stdout.readline() for _ in range(lines))
            yield child.pid
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def test_who_only_uses_a_kernel_is_none(runtime: Path) -> None:
    file = write(runtime / "kernel-used.json")
    with running_program(sys.executable, "-c", f"import time; {_LIVES}", "--existing", str(file)):
        assert found(runtime)[file.name]["stale"]


def test_the_file_of_a_launcher_that_does_not_listen_is_no_dead_kernels(
    runtime: Path, tmp_path: Path
) -> None:
    file = write(runtime / "kernel-waits.json")
    (tmp_path / "remote_kernels.py").write_text(f"import time; {_LIVES}")
    start = ["-m", "remote_kernels", "--interface=slurm", str(file)]
    with running_program("env", "-C", str(tmp_path), sys.executable, *start):
        # Nor is the launcher a kernel.
        assert found(runtime) == {}
        assert next(running.leftovers())["files"] == []
        assert next(running.clean([str(file)])) == []
    assert next(running.leftovers())["files"] == [str(file)]


@pytest.mark.parametrize("listens", ["", _LISTENS])
def test_what_a_kernel_forks_is_not_the_kernel(runtime: Path, listens: str) -> None:
    file = write(runtime / "kernel-forks.json")
    code = f"{listens}{_FORKS}{_LIVES}"
    with running_program(sys.executable, "-c", code, str(file), lines=4) as pid:
        assert found(runtime)[file.name]["pid"] == pid


@pytest.mark.parametrize("listens", ["", _LISTENS])
def test_a_kernel_is_behind_its_shells(runtime: Path, listens: str) -> None:
    file = write(runtime / "kernel-below.json")
    code = f"{listens}{_FORKS}{_LIVES}"
    words = [*_BELOW_A_SHELL, sys.executable, "-c", code, str(file)]
    with running_program(*words, lines=4) as pid:
        kernel = found(runtime)[file.name]["pid"]
        assert kernel != pid
        assert parent_of(kernel) == pid


def test_who_reads_its_file_is_not_the_kernel(runtime: Path) -> None:
    file = write(runtime / "kernel-read.json")
    with running_program(sys.executable, "-c", f"{_LISTENS}{_LIVES}", str(file)) as pid:
        later = [sys.executable, "-c", f"import time; {_LIVES}", str(file)]
        with running_program(*later):
            assert found(runtime)[file.name]["pid"] == pid


@pytest.mark.needs("bed")
def test_a_kernel_in_a_network_of_its_own_that_was_told_no_file(runtime: Path) -> None:
    file = runtime / "kernel-inside.json"
    code = (
        "import json, socket, sys, time; s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen(); "
        f"json.dump({{p: s.getsockname()[1] for p in {PORTS}}}, open(sys.stdin.read(), 'w')); "
        f"{_LIVES}"
    )
    inside = f"unshare --user --map-root-user --net {sys.executable} -c {shlex.quote(code)}"
    program = f"printf %s {file} | {inside}"
    with running_program("/bin/sh", "-c", program):
        kernel = found(runtime)[file.name]
        assert not kernel["stale"]
        assert words_of(kernel["pid"])[:2] == [sys.executable, "-c"]
        assert next(running.leftovers())["files"] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '{"shell_port": 1}', '{"shell_port": "x"}', "\0"]
)
def test_other_files_are_left_alone(runtime: Path, text: str) -> None:
    (runtime / "jpserver-1.json").write_text(text)
    assert found(runtime) == {}


def kernel(number: int, **facts: Any) -> dict[str, Any]:
    known = {"id": f"{number}a2b3c4d", "pid": 100 + number, "name": f"k{number}", "stale": False}
    return {**known, "since": float(number), "file": f"/run/kernel-{number}.json", **facts}


@pytest.mark.parametrize(
    ("word", "number"),
    [
        *(("", 3), ("latest", 3), ("1a2b3c4d", 1), ("2a", 2), ("101", 1), ("k2", 2)),
        *(("/run/kernel-1.json", 1), ("kernel-2.json", 2), ("kernel-2", 2)),
    ],
)
def test_which_is_meant(word: str, number: int) -> None:
    kernels = [kernel(1), kernel(3), kernel(2), kernel(9, stale=True)]
    assert running.chosen(kernels, word)["pid"] == 100 + number


@pytest.mark.parametrize("word", ["k", "9a2b3c4d", "", "x"])
def test_none_or_several_are_meant(word: str) -> None:
    kernels = [kernel(1, name="k"), kernel(2, name="k"), kernel(9, stale=True)]
    if not word:
        kernels = kernels[2:]
    with pytest.raises(CannotAnswer, match=r"kernels: 1a2b3c4d, 2a2b3c4d|no kernel"):
        running.chosen(kernels, word)


def test_what_dead_kernels_have_left(runtime: Path, tmp_path: Path) -> None:
    file = write(runtime / "kernel-dead.json")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{file.with_suffix('')}-1")
    directory = tmp_path / "places/rk-1-ab"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as keeper:
        keeper.bind(str(directory / "keeper"))
    copy = tmp_path / "rik_kernel-1.json"
    copy.touch()
    (directory / "file").symlink_to(copy)
    left = next(running.leftovers())
    assert left["files"] == [str(copy), str(file)]
    assert left["sockets"] == [f"{file.with_suffix('')}-1"]
    assert left["directories"] == [str(directory)]
    # Nothing but what was shown, and nothing that lives by now.
    assert next(running.clean(["/etc/passwd", str(tmp_path)])) == []
    paths = [path for kind in left.values() for path in kind]
    assert sorted(next(running.clean(paths))) == sorted(paths)
    assert not any(Path(path).exists() for path in paths)


def test_a_keeper_that_does_not_answer_is_not_dead(runtime: Path, tmp_path: Path) -> None:
    directory = tmp_path / "places/rk-1-ab"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as keeper:
        keeper.bind(str(directory / "keeper"))
        keeper.listen()
        left = next(running.leftovers())
    assert (left["silent"], left["directories"]) == ([str(directory / "keeper")], [])


def test_files_of_other_machines_are_left(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(runtime / "kernel-elsewhere.json")
    monkeypatch.setattr(running, "is_elsewhere", lambda path: True)
    assert next(running.leftovers())["files"] == []


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "ext4"])
def test_a_file_server_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place = tmp_path / "on a\\server"
    place.mkdir()
    (tmp_path / "home").symlink_to(place)
    mounts = tmp_path / "mounts"
    written = str(place).replace("\\", r"\134").replace(" ", r"\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/home {written} {kind} rw 0 0\n")
    monkeypatch.setattr(running, "_MOUNTS", str(mounts))
    for path in (place, tmp_path / "home"):
        assert running.is_elsewhere(f"{path}/kernel-1.json") == (kind != "ext4")
    assert not running.is_elsewhere(f"{tmp_path}/kernel-1.json")


def ours(number: int, **facts: Any) -> dict[str, Any]:
    """A kernel that a keeper tells of."""
    known = {"ours": True, "job_name": "", "says": "", "keeper": f"/tmp/rk-{number}/keeper"}
    return kernel(1, **{**known, **facts})


def test_one_kernel_of_which_two_keepers_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where login host and node are one machine."""
    other = ours(3, id="2b")
    own, job = ours(1), ours(2, job_name="k-rk0a1b2c")

    def told(*kernels: dict[str, Any]) -> list[dict[str, Any]]:
        monkeypatch.setattr(running, "kernels", lambda: iter([[dict(x) for x in kernels]]))
        return next(running.each_kernel())

    both = {**job, "kernel_keeper": own["keeper"]}
    assert told(own, other, job) == [other, both]
    assert told(job, own) == [both]
    # Its file is known a moment later.
    assert told(own, {**job, "file": ""}) == [{**both, "file": ""}]
    # The new one waits for its job; that of before is not over yet.
    waits = {**job, "file": "", "says": "job 1 PENDING"}
    assert told(own, waits) == [own, waits]
    elsewhere = {**own, "file": "/other.json"}
    assert told(elsewhere, job) == [elsewhere, job]
    theirs = kernel(1, ours=False)
    assert told(job, theirs) == [job, theirs]


def test_a_process_is_stopped(process: subprocess.Popen[bytes], runtime: Path) -> None:
    (kernel,) = found(runtime).values()
    with pytest.raises(CannotAnswer, match="not there"):
        next(running.send_signal(process.pid, kernel["began"] - 60, "STOP"))
    assert process.poll() is None
    assert lives(process.pid)
    list(running.send_signal(process.pid, kernel["began"], "INT"))
    wait_until(lambda: process.poll() is not None, 10, "its end")
    assert not lives(process.pid)
