"""The program on the login host, run for real at a terminal, with imitations of the commands."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bed.waiting import wait_until
from remote_kernels import queue_script
from remote_kernels.queue_script import QueueScript
from remote_kernels.shell_text import READY, RECEIVER, receiver_command, to_receiver
from unit.processes import parent_of
from unit.terminal import LATE_STARTER, PATIENCE, Terminal

MARK = "@rk-test"
NASTY = [
    *("a b", "", "it's", '"q"', "$HOME", "`id`", "$(id)", "é☂", "new\nline", "tab\t", "-n", "*"),
    *("a\\b", "\\", "!x", "~", "#", "&", ";", "\r", "\x1b[A", "%s", "{a,b}", "\udcff"),
    *(RECEIVER, receiver_command(), "x" * 20_000),
]

# As what /bin/sh may be: Debian, macOS and others, Alpine, and macOS again where it was changed.
SHELLS = ["dash", "bash", "busybox", "zsh"]
LOGIN_SHELLS = ["bash", "zsh", "fish", "tcsh", "csh", "dash"]

# Where each login shell is told of the commands, as sites do it.
START_UP_FILES = {
    "bash": (".bash_profile", "PATH={path}; export PATH\n"),
    "zsh": (".zprofile", "PATH={path}; export PATH\n"),
    "fish": (".config/fish/config.fish", "set -gx PATH {words}\n"),
    "tcsh": (".login", "setenv PATH {path}\n"),
    "csh": (".login", "setenv PATH {path}\n"),
    "dash": (".profile", "PATH={path}; export PATH\n"),
}

# The scheduler's commands. Their texts are imitations; the test tells them when to go on.
RUN = "echo here; until [ -e go ]; do /bin/sleep 0.02; done"
COMMANDS = {
    "fake-run": "exit 0",
    "fake-look": "echo look >> looks; cat look 2>/dev/null",
    "fake-look-back": "echo back >> looks; cat back 2>/dev/null",
    "fake-cancel": 'echo "$*" >> cancelled; echo "cancel is not to be seen"',
}


class Cluster:
    """A home on a login host: its commands, its start-up files, and the sessions there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.terminals: list[Terminal] = []
        (home / "bin").mkdir(parents=True)
        for name, text in COMMANDS.items():
            self.command(name, text)
        # Without one, zsh asks what to put into it.
        (home / ".zshrc").touch()

    def command(self, name: str, text: str) -> None:
        """Make a command."""
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(self.home))}\n{text}\n")
        path.chmod(0o755)

    def start_up(self, login_shell: str, more: str = "") -> None:
        """Let a login shell find the commands, and do more."""
        name, text = START_UP_FILES[login_shell]
        words = [f"{self.home}/bin", "/usr/bin", "/bin"]
        (self.home / name).parent.mkdir(parents=True, exist_ok=True)
        filled = text.format(path=":".join(words), words=" ".join(words))
        (self.home / name).write_text(filled + more)

    def lines(self, name: str) -> list[str]:
        """What a command has written into a file."""
        path = self.home / name
        return path.read_text().splitlines() if path.exists() else []

    def asked(self, script: QueueScript, login_shell: str = "bash", **environment: str) -> Terminal:
        """A session in which the program has been sent to the receiver."""
        if not (self.home / START_UP_FILES[login_shell][0]).exists():
            self.start_up(login_shell)
        env = {
            **{"HOME": str(self.home), "PATH": os.defpath, "TERM": "dumb"},
            **{"SHELL": shutil.which(login_shell) or login_shell, **environment},
        }
        terminal = Terminal(["/bin/sh", "-c", receiver_command()], env, self.home)
        self.terminals.append(terminal)
        terminal.wait_for(f"{READY}\n".encode())
        terminal.type(to_receiver(script.text(), last=True))
        return terminal


def script(*command: str, **changes: Any) -> QueueScript:
    return QueueScript(
        mark=MARK,
        command=command or ("fake-run",),
        environment={},
        unset=(),
        kept=(),
        end_signal="INT",
        look="",
        own_session=True,
        settled="*",
        look_back="",
        cancel="fake-cancel 7",
    )._replace(**changes)


def events(terminal: Terminal) -> list[str]:
    lines = terminal.output.decode(errors="replace").split("\n")
    return [line.partition(f"{MARK} ")[2] for line in lines if f"{MARK} " in line]


def words(terminal: Terminal) -> list[str]:
    return [event.split()[0] for event in events(terminal)]


def event(terminal: Terminal, text: str) -> None:
    """Wait for it."""
    terminal.wait_for(f"{MARK} {text}".encode())


def done(terminal: Terminal) -> int:
    """How the command has ended, once the session is over."""
    terminal.wait_for_end()
    (status,) = [text.split()[1] for text in events(terminal) if text.startswith("DONE ")]
    return int(status)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Whatever a session there leaves fails the test."""
    cluster = Cluster(tmp_path / "home")
    yield cluster
    try:
        for terminal in cluster.terminals:
            terminal.hang_up()
            terminal.assert_nothing_is_left()
    finally:
        for terminal in cluster.terminals:
            terminal.clear_away()


@pytest.fixture(params=LOGIN_SHELLS)
def login_shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    return name


@pytest.fixture(params=SHELLS)
def as_sh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[QueueScript], QueueScript]:
    """Lets another shell be the sh that the program names."""
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"there is no {request.param}")
    (tmp_path / "sh").symlink_to(found)

    class Changed(QueueScript):
        def text(self) -> str:
            return super().text().replace("/bin/sh", str(tmp_path / "sh"))

    return lambda script: Changed(**script._asdict())


# --- what it says --------------------------------------------------------------------------------


def test_it_says_what_happens_in_order(cluster: Cluster, login_shell: str) -> None:
    cluster.command("fake-run", "echo to output; echo to errors >&2; exit 3")
    (cluster.home / "back").write_text("why it\nended\n")
    terminal = cluster.asked(script(look_back="fake-look-back"), login_shell)
    assert done(terminal) == 3
    assert events(terminal) == [
        *(f"LOGIN {os.uname().nodename}", "ASKED", "DONE 3", "LOOK why it ended ", "GONE")
    ]
    between = terminal.output.partition(b"ASKED\n")[2].partition(MARK.encode())[0]
    assert between == b"to output\nto errors\n"
    assert b"cancel is not to be seen" not in terminal.output


def test_why_a_job_ended_may_depend_on_how_its_command_did(cluster: Cluster) -> None:
    cluster.command("fake-run", "exit 9")
    terminal = cluster.asked(script(look_back='[ "$rk_status" -lt 9 ] || echo "$rk_status"'))
    assert done(terminal) == 9
    assert "LOOK 9 " in events(terminal)


@pytest.mark.parametrize(
    ("ends", "status"),
    [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143)],
)
def test_how_the_command_ended(cluster: Cluster, ends: str, status: int) -> None:
    cluster.command("fake-run", ends)
    assert done(cluster.asked(script())) == status
    # The scheduler knows best whether there is still a job.
    assert cluster.lines("cancelled") == ["7"]


def test_a_command_that_is_not_there(cluster: Cluster, login_shell: str) -> None:
    terminal = cluster.asked(script("no-such-run"), login_shell)
    assert done(terminal) == 127
    assert b"no-such-run: not found" in terminal.output
    assert words(terminal) == ["LOGIN", "ASKED", "DONE", "GONE"]


def test_a_command_that_is_no_program(cluster: Cluster) -> None:
    (cluster.home / "bin/fake-run").chmod(0o644)
    terminal = cluster.asked(script(f"{cluster.home}/bin/fake-run"))
    assert done(terminal) == 126
    assert b"ermission denied" in terminal.output


@pytest.mark.parametrize(
    "more",
    [
        "echo Welcome!; stty sane",
        "set -eu; cd /",
        "trap 'echo bye' EXIT; trap '' INT; alias fake-run=x",
    ],
)
def test_start_up_files_do_as_they_like(cluster: Cluster, more: str) -> None:
    cluster.start_up("bash", more)
    cluster.command("fake-run", "stty -a; exit 3")
    terminal = cluster.asked(script())
    assert done(terminal) == 3
    assert b" -icanon " in terminal.output
    assert b" -echo " in terminal.output


@pytest.mark.parametrize("more", ["exit 5", "exec /bin/true", "kill -KILL $$"])
def test_start_up_files_that_let_nothing_through(cluster: Cluster, more: str) -> None:
    cluster.start_up("bash", more)
    terminal = cluster.asked(script())
    terminal.wait_for_end()
    assert words(terminal) == ["LOGIN"]


@pytest.mark.parametrize("shell", ["", "/bin/false", "/no/such/shell", "/usr/bin/env"])
def test_an_unusual_login_shell(cluster: Cluster, shell: str) -> None:
    cluster.start_up("dash")
    assert done(cluster.asked(script(), SHELL=shell)) == 0


# --- what reaches the command --------------------------------------------------------------------


def test_the_words_arrive_as_they_are(cluster: Cluster, login_shell: str) -> None:
    cluster.command("fake-run", "printf '%s\\0' \"$@\" > words")
    assert done(cluster.asked(script("fake-run", *NASTY), login_shell)) == 0
    found = os.fsdecode((cluster.home / "words").read_bytes()).split("\0")
    assert found == [*NASTY, ""]


@pytest.mark.parametrize("text", [text for text in NASTY if len(text) < 10_000])
def test_the_command_itself_may_have_any_name(cluster: Cluster, text: str) -> None:
    name = f"{cluster.home}/bin/{text.replace('/', '_')[:200]}x"
    shutil.copy(cluster.home / "bin/fake-run", name)
    assert done(cluster.asked(script(name))) == 0


def environment_of(cluster: Cluster) -> dict[str, str]:
    """The environment that the command was given."""
    text = os.fsdecode((cluster.home / "environment").read_bytes())
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def test_variables_of_another_job_do_not_reach_it(cluster: Cluster, login_shell: str) -> None:
    cluster.command("fake-run", "env -0 > environment")
    asked = script(
        unset=("SLURM_*", "JOB_ID", "PE"),
        kept=("SLURM_CONF", "SLURM_CLUSTERS"),
        environment={"SLURM_OVERLAP": "1", "NASTY": "it's $HOME `id` é\\"},
    )
    theirs = {"SLURM_JOB_ID": "1", "SLURM_": "x", "SLURM_A1_b": "a\nb=c", "JOB_ID": "2", "PE": ""}
    stays = {
        **{"SLURM_CONF": "/etc/s conf", "SLURM_CLUSTERS": "a", "JOB_ID2": "x", "MY_SLURM_X": "x"},
        **{"PEX": "x", "OTHER": "a\nSLURM_JOB_ID=3\nb", "LANG": "C.UTF-8"},
    }
    jupyters = {"JPY_PARENT_PID": "1", "JPY_SESSION_NAME": "x", "JPY_INTERRUPT_EVENT": "1"}
    terminal = cluster.asked(asked, login_shell, **theirs, **stays, **jupyters)
    assert done(terminal) == 0
    found = environment_of(cluster)
    assert {name: found.get(name) for name in stays} == stays
    assert {name: found.get(name) for name in asked.environment} == asked.environment
    gone = {*theirs, *jupyters, "RK_PROGRAM"}
    assert not gone & set(found)
    assert not [name for name in found if name.startswith("rk_")]


def test_what_the_start_up_files_set_reaches_it(cluster: Cluster) -> None:
    cluster.start_up("bash", "export SLURM_JOB_ID=1 SLURM_CONF=/site SITE='a b'\numask 027")
    cluster.command("fake-run", "env -0 > environment")
    assert done(cluster.asked(script(unset=("SLURM_*",), kept=("SLURM_CONF",)))) == 0
    found = environment_of(cluster)
    assert (found["SLURM_CONF"], found["SITE"]) == ("/site", "a b")
    assert "SLURM_JOB_ID" not in found


def test_the_terminal_is_the_commands(cluster: Cluster, login_shell: str) -> None:
    cluster.command("fake-run", "stty size; head -c 6000 | od -An -v -tx1 > got")
    terminal = cluster.asked(script(), login_shell)
    event(terminal, "ASKED\n")
    data = (b"\x03\x04\r\n\x11\x13\x1a\x1c\x7f\xff" + b"x" * 5000).ljust(6000, b"\n")
    terminal.type(data)
    assert done(terminal) == 0
    assert bytes.fromhex((cluster.home / "got").read_text()) == data
    assert b"xxx" not in terminal.output


def test_it_ends_with_any_sh(cluster: Cluster, as_sh: Callable[[QueueScript], QueueScript]) -> None:
    cluster.command("fake-run", "printf '%s\\0' \"$@\" > words; env -0 > environment; exit 4")
    (cluster.home / "back").write_text("why\n")
    nasty = [text for text in NASTY if "/bin/sh" not in text]
    variables: dict[str, Any] = {"unset": ("SLURM_*",), "kept": ("SLURM_CONF",)}
    asked = script("fake-run", *nasty, look_back="fake-look-back", **variables)
    terminal = cluster.asked(as_sh(asked), SLURM_JOB_ID="1", SLURM_CONF="x")
    assert done(terminal) == 4
    assert words(terminal) == ["LOGIN", "ASKED", "DONE", "LOOK", "GONE"]
    found = os.fsdecode((cluster.home / "words").read_bytes()).split("\0")
    assert found == [*nasty, ""]
    assert {name for name in environment_of(cluster) if "SLURM" in name} == {"SLURM_CONF"}


# --- the end -------------------------------------------------------------------------------------

# What takes no notice of a terminal that goes away, as Grid Engine's commands do. In no sh, which
# may lose a signal while it starts something.
STUBBORN = """
import os, signal, sys, time

def heard(signum, frame):
    with open("signals", "a") as file:
        file.write(signal.Signals(signum).name.removeprefix("SIG") + "\\n")
    if signum == signal.SIGINT:
        sys.exit(1)

for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, heard)
print(f"pid {os.getpid()}", "here", sep="\\n", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.fixture
def stubborn(cluster: Cluster) -> Cluster:
    (cluster.home / "stubborn.py").write_text(STUBBORN)
    cluster.command("fake-run", f"exec {shlex.quote(sys.executable)} -IS stubborn.py")
    return cluster


def close_session(terminal: Terminal) -> None:
    """What the launcher does to a session on its own machine."""
    os.kill(terminal.pid, signal.SIGHUP)
    terminal.hang_up()


@pytest.mark.parametrize("how", [Terminal.hang_up, close_session])
def test_a_lost_session_ends_the_command_and_cancels_the_job(
    stubborn: Cluster, login_shell: str, how: Callable[[Terminal], None]
) -> None:
    terminal = stubborn.asked(script(), login_shell)
    terminal.wait_for(b"here\n")
    how(terminal)
    terminal.assert_nothing_is_left()
    assert stubborn.lines("signals")[-1] == "INT"
    assert stubborn.lines("cancelled")


def test_so_it_is_with_any_sh(
    stubborn: Cluster, as_sh: Callable[[QueueScript], QueueScript]
) -> None:
    terminal = stubborn.asked(as_sh(script(look="fake-look")))
    terminal.wait_for(b"here\n")
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert stubborn.lines("signals")[-1] == "INT"
    assert stubborn.lines("cancelled")


def test_a_launcher_that_is_killed(stubborn: Cluster) -> None:
    # The kernel closes its descriptors; the first process of a session on this machine lives on.
    terminal = stubborn.asked(script())
    terminal.wait_for(b"here\n")
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert stubborn.lines("cancelled")


def test_a_command_that_ends_with_its_job(stubborn: Cluster) -> None:
    stubborn.command("fake-cancel", "echo 7 >> cancelled; touch go")
    terminal = stubborn.asked(script(end_signal=""))
    terminal.wait_for(b"here\n")
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert "INT" not in stubborn.lines("signals")
    assert stubborn.lines("cancelled")


@pytest.mark.parametrize("end_signal", ["INT", ""])
def test_a_command_that_nothing_ends_is_killed(cluster: Cluster, end_signal: str) -> None:
    cluster.command("fake-run", f"trap '' HUP INT TERM; {RUN}")
    terminal = cluster.asked(script(end_signal=end_signal))
    terminal.wait_for(b"here\n")
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert cluster.lines("cancelled")


def test_a_command_has_its_time_however_often_the_loss_is_told(stubborn: Cluster) -> None:
    terminal = stubborn.asked(script(end_signal=""))
    pid = int(terminal.wait_for_match(rb"pid (\d+)\nhere\n")[1])

    def running(command: str) -> set[int]:
        return {one for one, words in terminal.processes().items() if words.strip() == command}

    (waits_for_end,) = wait_until(lambda: running("cat"), PATIENCE, "the guard")
    guard = str(parent_of(waits_for_end))
    terminal.hang_up()
    wait_until(lambda: stubborn.lines("cancelled"), PATIENCE, "the cancel")
    with subprocess.Popen(["/bin/sh", "-c", 'while kill -HUP "$0"; do :; done', guard]):
        looks: set[int] = set()

        def is_given_time() -> bool:
            looks.update(running("sleep 0.2"))
            assert pid in terminal.processes()
            return len(looks) >= 3

        wait_until(is_given_time, PATIENCE, "the guard to wait")
        os.kill(pid, signal.SIGINT)
    terminal.assert_nothing_is_left()
    assert stubborn.lines("signals") == ["INT"]


def test_nobody_is_told_why_once_the_terminal_is_gone(stubborn: Cluster) -> None:
    # Grid Engine may take its time to say why.
    terminal = stubborn.asked(script(look_back="fake-look-back; /bin/sleep 1234"))
    terminal.wait_for(b"here\n")
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert stubborn.lines("looks") == []


def test_a_cancel_that_fails_ends_nothing_else(cluster: Cluster) -> None:
    cluster.command("fake-cancel", "echo 7 >> cancelled; echo no such job >&2; exit 1")
    terminal = cluster.asked(script(look_back="fake-look-back"))
    assert done(terminal) == 0
    assert b"no such job" not in terminal.output
    assert events(terminal)[-1] == "GONE"


def test_a_command_that_is_killed_leaves_no_job(stubborn: Cluster) -> None:
    terminal = stubborn.asked(script())
    pid = int(terminal.wait_for_match(rb"pid (\d+)\n")[1])
    os.kill(pid, signal.SIGKILL)
    assert done(terminal) == 137
    assert stubborn.lines("cancelled") == ["7"]


def test_the_terminal_goes_while_the_start_up_files_run(cluster: Cluster) -> None:
    cluster.start_up("bash", "echo starting\nuntil [ -e go ]; do /bin/sleep 0.02; done\n")
    cluster.command("fake-run", "touch ran")
    terminal = cluster.asked(script())
    terminal.wait_for(b"starting\n")
    terminal.hang_up()
    terminal.assert_nothing_is_left()
    assert not (cluster.home / "ran").exists()


def test_the_terminal_goes_before_it_is_known_who_has_to_be_ended(stubborn: Cluster) -> None:
    asked = script()
    begin = "echo $$ >&4"
    late = f"{begin.replace('echo', 'cd; echo starting >&5; until [ -e late ]; do :; done; echo')}"

    class Late(QueueScript):
        def text(self) -> str:
            text = super().text()
            assert begin in text
            return text.replace(begin, late.replace(">&5", ">&1"))

    terminal = stubborn.asked(Late(**asked._asdict()))
    terminal.wait_for(b"starting\n")
    terminal.hang_up()
    # The first process goes at once; the others have been told by then.
    wait_until(
        lambda: terminal.pid not in terminal.processes(), PATIENCE, "the first process to be gone"
    )
    (stubborn.home / "late").touch()
    terminal.assert_nothing_is_left()
    assert stubborn.lines("cancelled")


# --- looking at the job --------------------------------------------------------------------------


@pytest.fixture
def clock(cluster: Cluster) -> Cluster:
    """Pauses last no time, but are written down with the looks; one of 60 s does not end."""
    cluster.command("fake-run", RUN)
    cluster.command(
        "sleep",
        'echo "$1" >> looks; [ "$1" != 60 ] || exec /bin/sleep 1234; exec /bin/sleep 0.01',
    )
    return cluster


def test_a_job_that_waits_is_looked_at_ever_more_seldom(clock: Cluster) -> None:
    (clock.home / "look").write_text("7|PENDING|\r\n")
    terminal = clock.asked(script(look="fake-look", settled="*'|RUNNING|'*"))
    wait_until(lambda: "60" in clock.lines("looks"), PATIENCE, "the fourth look")
    assert clock.lines("looks") == ["2", "look", "10", "look", "20", "look", "30", "look", "60"]
    (clock.home / "go").touch()
    assert done(terminal) == 0
    looks = [text for text in events(terminal) if text.startswith("LOOK")]
    assert looks == ["LOOK 7|PENDING| "] * 4
    # What slept has not been left to sleep on.
    terminal.assert_nothing_is_left()


def test_the_scheduler_is_asked_sparingly() -> None:
    assert queue_script.FIRST_LOOK <= 5
    assert min(queue_script.NEXT_LOOKS) >= 10
    assert list(queue_script.NEXT_LOOKS) == sorted(queue_script.NEXT_LOOKS)


def test_it_is_not_asked_any_more_once_the_job_runs(clock: Cluster) -> None:
    (clock.home / "look").write_text("7|PENDING|\n")
    clock.command(
        "fake-look",
        "echo look >> looks; cat look; [ $(grep -c look looks) -lt 2 ] || echo '|RUNNING|' > look",
    )
    terminal = clock.asked(script(look="fake-look", settled="*'|RUNNING|'*"))
    event(terminal, "LOOK |RUNNING| \n")
    (clock.home / "go").touch()
    assert done(terminal) == 0
    # There may be one more pause, after which a stopped shell would be continued.
    assert clock.lines("looks")[:6] == ["2", "look", "10", "look", "20", "look"]
    assert clock.lines("looks").count("look") == 3
    assert words(terminal) == ["LOGIN", "ASKED", "LOOK", "LOOK", "LOOK", "DONE", "GONE"]


def test_a_shell_that_got_the_terminal_too_late_is_continued(cluster: Cluster) -> None:
    starter = f"{sys.executable} -c {shlex.quote(LATE_STARTER)}"
    cluster.command("fake-run", f"exec {starter} bash --norc -i")
    cluster.command("sleep", "until [ -e go ]; do /bin/sleep 0.02; done; exec /bin/sleep 0.02")
    terminal = cluster.asked(script(own_session=False))
    terminal.wait_for(b"the terminal is given\n")
    (cluster.home / "go").touch()
    terminal.type(b'echo "it ${PWD:+goes on}"; exit 3\n')
    terminal.wait_for(b"it goes on")
    assert done(terminal) == 3


@pytest.mark.parametrize("look", ["", "fake-look", "fake-look | cat", "no-such-look"])
def test_looks_that_tell_nothing_are_not_passed_on(clock: Cluster, look: str) -> None:
    clock.command("fake-look", "echo look >> looks; echo only an error >&2; exit 1")
    terminal = clock.asked(script(look=look))
    wait_until(lambda: "60" in clock.lines("looks"), PATIENCE, "the fourth pause")
    (clock.home / "go").touch()
    assert done(terminal) == 0
    assert words(terminal) == ["LOGIN", "ASKED", "DONE", "GONE"]
    assert b"only an error" not in terminal.output


def test_a_look_of_several_lines_is_one(clock: Cluster) -> None:
    text = "a: 'q' $HOME `id` \\ *\r\n  b: é%s\n"
    (clock.home / "look").write_text(text, newline="")
    terminal = clock.asked(script(look="{ fake-look; fake-look; }", settled="*"))
    event(terminal, "LOOK ")
    terminal.wait_for(b"\n")
    (clock.home / "go").touch()
    done(terminal)
    line = text.replace("\r", "").replace("\n", " ")
    assert [text for text in events(terminal) if text.startswith("LOOK")] == [f"LOOK {line * 2}"]


def test_a_look_does_not_take_what_is_typed(clock: Cluster) -> None:
    clock.command("fake-look", "cat; echo look >> looks; echo seen")
    clock.command("fake-run", f"{RUN}; head -c 5")
    terminal = clock.asked(script(look="fake-look"))
    terminal.type(b"typed")
    event(terminal, "LOOK seen")
    (clock.home / "go").touch()
    assert done(terminal) == 0
    assert b"typed" in terminal.output
