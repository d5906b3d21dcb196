"""What a host is asked about the kernels that run there, and about what dead ones have left.

The host is played by an object that answers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from remote_kernels import whereabouts
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.hosts import Host as Address
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.interfaces.slurm import Slurm
from remote_kernels.refusals import LastRefusal
from remote_kernels.shared_login import KeptLogin
from remote_kernels.way import Way
from remote_kernels.whereabouts import Found, Host, Kernel, Leftovers, way_to, with_launchers

_FAR = Way(Address("far"))
NOTHING: dict[str, list[str]] = {"files": [], "sockets": [], "directories": [], "silent": []}


class Played(Host):
    """A host whose answers are known.

    Attributes:
        asked: what it was asked.
        said: to it with the last question.
        answers: to these questions.
    """

    def __init__(
        self, *schedulers: type[Scheduler], way: Way | None = _FAR, **answers: Any
    ) -> None:
        super().__init__(way, schedulers, lambda text: None)
        self.asked: list[str] = []
        self.said: list[Any] = []
        self.answers: dict[str, Any] = {"leftovers": NOTHING, "kernels": [], "run": "", **answers}
        self.answers.setdefault("clean", [])

    def ask(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        self.said = list(arguments)
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return self.answers[name]


def kernel(**facts: Any) -> dict[str, Any]:
    """One of ours, in a job."""
    known = {"ours": True, "stale": False, "id": "1", "name": "a", "file": "", "pid": 0}
    return {**known, "since": 1.0, "keeper": "/run/keeper", **facts}


@pytest.mark.parametrize(
    ("schedulers", "jobs", "asked"),
    [
        ([], "", ["leftovers"]),
        ([Slurm], "", ["leftovers", "run"]),
        ([Slurm], "1|a-rk012345|RUNNING||1:00\n", ["leftovers", "run", "kernels"]),
    ],
)
def test_each_thing_is_asked_once(
    schedulers: Sequence[type[Scheduler]], jobs: str, asked: list[str]
) -> None:
    host = Played(*schedulers, run=jobs)
    host.leftovers()
    assert host.asked == asked


def test_jobs_that_nobody_holds() -> None:
    names = ["a-rk012345", "a-rk6789ab", "run-240115", "a-rf0000ff"]
    jobs = "".join(f"{number}|{name}|RUNNING||1:00\n" for number, name in enumerate(names))
    host = Played(Slurm, run=jobs, kernels=[kernel(job_name="a-rk012345")])
    found = host.leftovers()
    assert [job.name for _, job in found.jobs] == ["a-rk6789ab"]
    # Who holds such a one, no keeper knows.
    assert [job.name for _, job in found.not_kept] == ["a-rf0000ff"]
    assert host.clean(found, jobs=True) == 1
    assert host.said == ["scancel 1"]


def test_a_keeper_that_does_not_answer_may_hold_any_job() -> None:
    left = {**NOTHING, "silent": ["/tmp/rk-1-0/keeper"]}
    found = Played(Slurm, run="1|a-rk012345|RUNNING||1:00\n", leftovers=left).leftovers()
    assert (found.jobs, found.silent) == ([], left["silent"])


def test_where_kernels_are_not_told_no_job_is_left() -> None:
    host = Played(Slurm, run="1|a-rk012345|RUNNING||1:00\n", kernels=RemoteKernelsError("no"))
    with pytest.raises(RemoteKernelsError, match="no"):
        host.leftovers()


@pytest.mark.parametrize("answer", [None, 5, [], {"files": []}, {**NOTHING, "files": 5}])
def test_leftovers_that_make_no_sense(answer: Any) -> None:
    with pytest.raises(RemoteKernelsError, match="in no way that we know"):
        Played(leftovers=answer).leftovers()


@pytest.mark.parametrize("answer", [None, 5, "x"])
def test_kernels_that_make_no_sense(answer: Any) -> None:
    error = Played(kernels=answer).look().error
    assert error is not None
    assert "lists its kernels in no way that we know" in error.sentence


def test_the_way_is_that_of_the_kernels_there() -> None:
    straight, through = Way(Address("far")), Way(Address("far"), (Address("gate"),))
    other = Way(Address("other"), (Address("gate"),))
    assert way_to("far", [None, other]) == straight
    assert way_to("far", [None, other, through]) == through
    assert way_to("far", [through, straight]) == straight
    assert way_to("far", [straight], tunnel_hosts=("gate",)) == through
    by_another = Way(Address("far"), (Address("other"),))
    with pytest.raises(RemoteKernelsError, match="kernels go to far by 2 ways"):
        way_to("far", [through, by_another])


# --- kernels of which only their launchers tell --------------------------------------------------

# It ends, or not, as it is told, and says so. It hears of a signal only while it waits for one: one
# that came between its look and its wait, or in the middle of a print, would be lost.
_LAUNCHER = """
import signal
signals = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    told = signal.sigwait(signals)
    print(told.name[3:], flush=True)
    if told == signal.SIGTERM:
        break
"""


class ToldByLauncher(NamedTuple):
    """A kernel of which only its launcher tells.

    Attributes:
        kernel: as it is listed.
        process: of the launcher.
        file: that Jupyter wrote.
    """

    kernel: Kernel
    process: subprocess.Popen[str]
    file: Path

    def heard(self) -> str:
        """The next word of the launcher."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def by_launcher(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ToldByLauncher]:
    """A kernel on a host that has answered, or has not."""
    state, name = getattr(request, "param", ("", "0c0ffee0-1234-4567-89ab-0123456789ab"))
    file = tmp_path / f"kernel-{name}.json"
    ports = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    file.write_text(json.dumps(dict.fromkeys(ports, 1)))
    (tmp_path / "remote_kernels.py").write_text(_LAUNCHER)
    options = ["--interface=ssh", "--host=far", "--channel=forward", "--kernel_cmd=x"]
    command = [sys.executable, "-m", "remote_kernels", *options, str(file)]
    error = RemoteKernelsError("no") if state == "away" else None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            (found,) = with_launchers([Found("far", error=error)])
            kernel = next(x for x in found.kernels if x.facts["launcher"] == process.pid)
            yield ToldByLauncher(kernel, process, file)
        finally:
            process.kill()


def test_its_launcher_is_told_to_interrupt(by_launcher: ToldByLauncher) -> None:
    host = Played()
    host.wish(by_launcher.kernel, "INT")
    assert by_launcher.heard() == "INT"
    assert by_launcher.process.poll() is None
    assert host.asked == []


def test_its_launcher_is_told_to_end_and_not_started_again(by_launcher: ToldByLauncher) -> None:
    Played().wish(by_launcher.kernel, "STOP")
    assert by_launcher.heard() == "TERM"
    assert by_launcher.process.wait(10) == 0
    standing = LastRefusal(by_launcher.file).standing()
    assert standing is not None
    assert standing[0] == 32
    assert "stopped with 'remote-kernels stop'" in standing[1]
    with pytest.raises(RemoteKernelsError, match="the launcher of 0c0ffee0 has just ended"):
        Played().wish(by_launcher.kernel, "STOP")


def test_one_without_a_keeper_is_found_as_somebody_elses(by_launcher: ToldByLauncher) -> None:
    there = kernel(
        **{"ours": False, "id": "0c0ffee0", "pid": 7, "memory": 5, "cpu": 1.0, "began": 1.0},
        file=f"/home/me/rik_{by_launcher.file.name}",
    )
    other, dead = {**there, "file": "/k.json"}, {**there, "stale": True}
    host = Found("far", tuple(Kernel("far", "n", facts) for facts in (other, dead, there)))
    (found,) = with_launchers([host])
    mine = [x for x in found.kernels if x.facts.get("launcher") == by_launcher.process.pid]
    assert [x.facts for x in found.kernels if x not in mine] == [other, dead]
    (one,) = mine
    assert (one.id, one.node, one.is_ours) == ("0c0ffee0", "n", True)
    assert (one.facts["pid"], one.facts["file"]) == (7, there["file"])
    Played().wish(one, "INT")
    assert by_launcher.heard() == "INT"


@pytest.mark.parametrize("by_launcher", [("", "v2-17AbC")], indirect=True)
def test_one_whose_file_has_no_id_is_known_by_its_launcher(by_launcher: ToldByLauncher) -> None:
    assert by_launcher.kernel.id == str(by_launcher.process.pid)


@pytest.mark.parametrize("by_launcher", [("away", "1")], indirect=True)
def test_at_a_host_that_is_away_something_may_go_on(by_launcher: ToldByLauncher) -> None:
    with pytest.raises(RemoteKernelsError, match="far does not answer") as raised:
        Played().wish(by_launcher.kernel, "STOP")
    assert "ends with its lease" in raised.value.advice
    assert by_launcher.process.wait(10) == 0


def test_a_launcher_that_does_not_end(
    by_launcher: ToldByLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "_LAUNCHER_PATIENCE", 0.1)
    os.kill(by_launcher.process.pid, signal.SIGSTOP)
    with pytest.raises(RemoteKernelsError, match="does not end"):
        Played().wish(by_launcher.kernel, "STOP")


def test_what_needs_a_keeper_is_refused_in_words(by_launcher: ToldByLauncher) -> None:
    host = Played()
    with pytest.raises(RemoteKernelsError, match="no keeper of 0c0ffee0 answers") as raised:
        host.wish(by_launcher.kernel, "RESTART")
    assert "in its front end" in raised.value.advice
    with pytest.raises(RemoteKernelsError, match="no keeper of 0c0ffee0 answers") as raised:
        list(host.missed(by_launcher.kernel))
    assert "--channel forward" in raised.value.advice
    assert host.asked == []


# --- a kernel in a job on the host itself ---------------------------------------------------------


def test_its_own_keeper_has_what_it_has_printed() -> None:
    told = json.dumps([{"content": {"text": "x"}}])
    facts = kernel(job="1", job_name="a-rk012345", kernel_keeper="/run/own")
    host = Played(kernels=[facts], missed=told, wish=True)
    (found,) = host.look().kernels
    assert list(host.missed(found)) == ["x"]
    assert host.said == ["/run/own"]
    # It is the other one that can give the job back.
    host.wish(found, "STOP")
    assert host.said == ["/run/keeper", "STOP"]
    assert "kernel_keeper" not in found.data()


# --- what is left on this machine ----------------------------------------------------------------


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for sockets, and of launchers' directories the only one that is looked at."""
    everywhere = whereabouts.stale_directories
    # A path of a socket may not be long.
    with TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setattr(
            whereabouts,
            "stale_directories",
            lambda: (path for path in everywhere() if path.parent == Path(name)),
        )
        yield Path(name)


@pytest.fixture
def living(place: Path) -> Iterator[socket.socket]:
    """A shared connection that lives."""
    with socket.socket(socket.AF_UNIX) as master:
        master.bind(str(socket_of(place, "a")))
        master.listen()
        yield master


def socket_of(place: Path, letter: str, more: str = "") -> Path:
    """Where a shared connection has its socket."""
    return place / f"{letter * 40}-{letter * 8}{more}"


def dead(path: Path) -> Path:
    """A socket on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as master:
        master.bind(str(path))
    return path


def note(place: Path, letter: str, *, left: float) -> Path:
    """The note of a login to a host of that name, of which so many seconds are left."""
    now = time.time()
    path = place / f"rk-{letter * 8}.login"
    KeptLogin(letter, (), now - 60, now + left, str(socket_of(place, letter)), path).write()
    return path


def directory_of(place: Path, pid: int) -> Path:
    """The private directory of a launcher."""
    path = place / f"rk-{pid}-0011223344"
    path.mkdir(mode=0o700)
    (path / "ssh_config").touch()
    return path


@pytest.fixture
def gone() -> int:
    """The number of a process that is there no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_connections_and_launchers_leave_nothing(
    place: Path, living: socket.socket, gone: int
) -> None:
    left = {
        str(dead(socket_of(place, "b"))): "shared connection that has died",
        str(dead(socket_of(place, "c", "-17"))): "shared connection that has died",
        str(note(place, "d", left=-1)): "the login to d has run out",
        str(note(place, "b", left=60)): "the login to b .* was lost",
        str(directory_of(place, gone)): "directory of a launcher that was killed",
    }
    stays = [
        socket_of(place, "a"),
        # It is to be ended in order, which its time alone does not do.
        note(place, "a", left=-1),
        # Not ours, or only begun.
        dead(place / "somebody"),
        dead(socket_of(place, "e", ".0123456789abcdef")),
        directory_of(place, os.getpid()),
        place / "rk-note",
    ]
    stays[-1].touch()
    host = Played(way=None)
    found = host.leftovers()
    assert set(found.paths) == set(left)
    assert all(re.match(left[path], what) for path, what in found.paths.items())
    assert all(map(os.path.exists, left))
    assert host.clean(found, jobs=False) == len(left)
    assert sorted(place.iterdir()) == sorted(stays)
    assert host.leftovers().paths == {}


def test_what_lives_again_is_not_removed(place: Path, gone: int) -> None:
    path, kept = dead(socket_of(place, "a")), note(place, "a", left=60)
    directory = directory_of(place, gone)
    host = Played(way=None)
    found = host.leftovers()
    assert len(found.paths) == 3
    path.unlink()
    with socket.socket(socket.AF_UNIX) as master, socket.socket(socket.AF_UNIX) as own:
        master.bind(str(path))
        master.listen()
        own.bind(str(directory / "socket"))
        own.listen()
        assert host.clean(found, jobs=False) == 0
        assert host.leftovers().paths == {}
    assert path.exists()
    assert kept.exists()
    assert directory.exists()


def test_nothing_but_what_was_shown_is_removed(place: Path) -> None:
    host = Played(way=None)
    found = host.leftovers()
    later = dead(socket_of(place, "a"))
    assert host.clean(found, jobs=False) == 0
    assert later.exists()


def test_a_place_that_a_file_server_holds(
    place: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever listens on a socket there, or has that number, may do so on another machine.
    dead(socket_of(place, "a"))
    directory_of(place, gone)
    monkeypatch.setattr(whereabouts, "is_elsewhere", lambda path: True)
    assert Played(way=None).leftovers().paths == {}


def test_at_another_host_nothing_of_this_machine_is_left(place: Path) -> None:
    path = dead(socket_of(place, "a"))
    host = Played()
    assert host.leftovers().paths == {}
    host.clean(Leftovers({str(path): ""}, [], []), jobs=False)
    assert path.exists()
