"""The receiver, run by every sh that is there, and typed into the shells that people have."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bed.waiting import wait_until
from remote_kernels.connection_file import PORT_NAMES
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.pbs import Pbs
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.remote_script import Script
from remote_kernels.shell_text import (
    QUIT,
    READY,
    RECEIVER,
    bootstrap,
    receiver_command,
    to_receiver,
)
from unit.terminal import LATE_STARTER, PATIENCE, Terminal

At = Callable[..., Terminal]

# As what /bin/sh may be: Debian, macOS and others, Alpine, and macOS again where it was changed.
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"], ["zsh", "--emulate", "sh"]]
LOGIN_SHELLS = ["bash", "zsh", "fish", "tcsh", "csh", "dash"]
READY_LINE = f"{READY}\n".encode()

# A prompt that no echo holds; so it is known when a shell reads what is typed.
PROMPTS = {
    ".bashrc": "PS1='here''> '",
    ".zshrc": "PROMPT='here''> '",
    ".config/fish/config.fish": "function fish_prompt; echo 'here''> '; end",
    ".cshrc": "set prompt = 'here''> '",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name, text in PROMPTS.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"{text}\n")
    return home


@pytest.fixture
def at_terminal(home: Path) -> Iterator[At]:
    """Runs a command at a terminal; whatever it leaves fails the test."""
    terminals = []

    def run(*argv: str, **environment: str) -> Terminal:
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "here> "}
        terminals.append(Terminal(argv, {**env, **environment}, home))
        return terminals[-1]

    yield run
    try:
        for terminal in terminals:
            terminal.hang_up()
            terminal.assert_nothing_is_left()
    finally:
        for terminal in terminals:
            terminal.clear_away()


def needed(command: str) -> str:
    if shutil.which(command) is None:
        pytest.skip(f"there is no {command}")
    return command


@pytest.fixture(params=SHELLS, ids=lambda command: str(command[0]))
def receiver(request: pytest.FixtureRequest, at_terminal: At) -> Terminal:
    """One that waits for its first program."""
    needed(request.param[0])
    terminal = at_terminal(*request.param, "-c", RECEIVER)
    terminal.wait_for(READY_LINE)
    return terminal


@pytest.mark.parametrize("sh", SHELLS, ids=lambda command: str(command[0]))
def test_it_waits_for_the_terminal_to_be_its_own(sh: list[str], at_terminal: At) -> None:
    needed(sh[0])
    terminal = at_terminal(sys.executable, "-c", LATE_STARTER, *sh, "-c", RECEIVER)
    terminal.wait_for(READY_LINE)
    terminal.type(to_receiver('echo "<$*>"', last=True))
    assert terminal.wait_for(b">\n") == b"<>\n"
    terminal.wait_for_end()


@pytest.fixture(params=LOGIN_SHELLS)
def login_shell(request: pytest.FixtureRequest) -> str:
    return needed(request.param)


def test_it_says_nothing_but_that_it_is_ready(receiver: Terminal) -> None:
    receiver.type(to_receiver("printf 'a\\nb'"))
    receiver.wait_for(READY_LINE)
    # No echo, and no line end but the program's own.
    assert receiver.output == READY_LINE + b"a\nb" + READY_LINE


def test_it_takes_one_program_after_the_other(receiver: Terminal) -> None:
    for n in range(3):
        receiver.type(to_receiver(f"echo this is {n}\nexit {n}"))
        assert receiver.wait_for(READY_LINE) == f"this is {n}\n".encode() + READY_LINE


def test_a_program_leaves_nothing_to_the_next(receiver: Terminal) -> None:
    receiver.type(to_receiver("cd /; rk_word=QUIT x=1; set -e; trap '' INT"))
    receiver.wait_for(READY_LINE)
    receiver.type(to_receiver('echo "<$PWD$x>"; false; echo on'))
    assert b"/home>\non\n" in receiver.wait_for(READY_LINE)


EVERYTHING = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x110000, 0x101)]))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(EVERYTHING.encode(), id="all of UTF-8"),
        pytest.param(bytes(range(1, 256)) * 100, id="no UTF-8"),
        pytest.param(b"x" * 100_000, id="one line"),
        pytest.param(b"'\"$`\\!*~{}\t \x03\x04\x11\x13\x1a\x1c\x7f\r" * 300, id="keys"),
    ],
)
def test_a_program_arrives_as_it_is(receiver: Terminal, home: Path, text: bytes) -> None:
    program = b"cat > got <<'RK_END'\n" + text + b"\nRK_END\n"
    receiver.type(to_receiver(program.decode("utf-8", "surrogateescape")))
    receiver.wait_for(READY_LINE)
    assert (home / "got").read_bytes() == text + b"\n"


@pytest.mark.parametrize("size", [0, 1, 4094, 4095, 4096, 65536])
def test_programs_of_any_size(receiver: Terminal, size: int) -> None:
    program = "echo here;" if size else ""
    receiver.type(to_receiver(program + " " * (size - len(program))))
    said = receiver.wait_for(READY_LINE)
    assert said == (b"here\n" if size else b"") + READY_LINE


def test_what_comes_after_a_program_is_for_it(receiver: Terminal) -> None:
    reads = 'while read -r word; do echo "<$word>"; [ "$word" != END ] || break; done'
    receiver.type(to_receiver(f"echo here; {reads}"))
    receiver.wait_for(b"here\n")
    receiver.type(b"INT\nQUIT\n" + to_receiver("echo not now") + b"END\n")
    said = receiver.wait_for(READY_LINE)
    assert said == b"<INT>\n<QUIT>\n<>\n<RUN echo not now>\n<END>\n" + READY_LINE
    receiver.type(to_receiver("echo here"))
    assert receiver.wait_for(READY_LINE) == b"here\n" + READY_LINE


@pytest.mark.parametrize(
    "line",
    [
        Scheduler.typed(),
        Pbs.typed(),
        *("RUNNING x\n", "run x\n", "*\n", "; exit; `exit` $(exit) 'x\n"),
    ],
)
def test_a_line_that_is_not_for_it_does_no_harm(receiver: Terminal, line: str) -> None:
    receiver.type(line.encode())
    assert receiver.wait_for(READY_LINE) == READY_LINE
    receiver.type(to_receiver("echo here"))
    assert receiver.wait_for(READY_LINE) == b"here\n" + READY_LINE


def test_half_a_line_that_is_not_for_it_does_no_harm(receiver: Terminal) -> None:
    # So ends what is typed while zsh reads, if another reads it then.
    receiver.type(Scheduler.typed().replace("\n", "\r").encode())
    receiver.type(to_receiver("echo here"))
    assert receiver.wait_for(READY_LINE) == READY_LINE
    assert receiver.wait_for(READY_LINE) == b"here\n" + READY_LINE


def test_quit_ends_it(receiver: Terminal) -> None:
    receiver.type(QUIT)
    assert receiver.wait_for_end() == 0
    assert receiver.output == READY_LINE


def test_it_ends_after_the_last_program(receiver: Terminal) -> None:
    receiver.type(to_receiver("echo here", last=True))
    receiver.wait_for_end()
    assert receiver.output == READY_LINE + b"here\n"


def test_the_last_program_may_take_its_place(receiver: Terminal) -> None:
    # Then that is what the kernel tells when the terminal goes away.
    receiver.type(to_receiver("exec /bin/sh -c 'echo pid $$; read x'", last=True))
    assert int(receiver.wait_for_match(rb"pid (\d+)\n")[1]) == receiver.pid
    receiver.type(b"\n")
    receiver.wait_for_end()


def test_it_goes_with_its_terminal(receiver: Terminal) -> None:
    receiver.hang_up()
    receiver.assert_nothing_is_left()


def test_a_program_outlives_the_terminal_until_it_reads(receiver: Terminal, home: Path) -> None:
    receiver.type(to_receiver("trap : HUP; echo here; while read -r x; do :; done; echo > got"))
    receiver.wait_for(b"here\n")
    receiver.hang_up()
    receiver.assert_nothing_is_left()
    assert (home / "got").exists()


def test_a_program_survives_the_signals_of_a_terminal(receiver: Terminal) -> None:
    # As the launcher's program over there does, and with it the receiver.
    receiver.type(to_receiver("trap : INT HUP; echo here; until read -r x; do :; done; echo $x"))
    receiver.wait_for(b"here\n")
    for signum in (signal.SIGINT, signal.SIGHUP):
        os.kill(receiver.pid, signum)
    receiver.type(b"there\n")
    assert receiver.wait_for(READY_LINE) == b"there\n" + READY_LINE


def test_a_scheduler_that_ends_the_job(receiver: Terminal) -> None:
    # It says so to the receiver alone, and kills everything a moment later.
    program = "trap : HUP; trap 'echo TERM' TERM; echo here; until read -r x; do :; done; echo $x"
    receiver.type(to_receiver(program))
    receiver.wait_for(b"here\n")
    os.kill(receiver.pid, signal.SIGTERM)
    receiver.wait_for(b"TERM\n")
    receiver.type(b"cleaned up\n")
    receiver.wait_for_end()
    assert receiver.output.endswith(b"TERM\ncleaned up\n")


INFO = {**{name: 41000 + n for n, name in enumerate(PORT_NAMES)}, "key": "k'\"$\\é"}


def run_two_kernels(receiver: Terminal, home: Path) -> None:
    """A kernel in the terminal of a job, an interrupt, its end, and another one after it."""
    for n in range(2):
        kernel_cmd = f"trap 'echo >> seen' INT; cp {{connection_file}} copy; echo >> up{n}; "
        script = Script(
            mark="@rk-test",
            info=INFO,
            copy_name="rik_kernel-1.json",
            # A bash whose sleep has just ended by itself takes no notice of an interrupt.
            kernel_cmd=f"{kernel_cmd} until [ -e seen ]; do sleep 1; done; rm seen; exec cat",
            ports=[42000 + n for n in range(5)],
        )
        receiver.type(to_receiver(script.text()))
        receiver.wait_for(b"@rk-test SHELL\n")
        wait_until((home / f"up{n}").exists, PATIENCE, "the kernel to be up")
        assert json.loads((home / "copy").read_bytes())["key"] == INFO["key"]
        receiver.type(b"PING\nINT\n")
        receiver.wait_for(b"@rk-test PONG\n")
        receiver.wait_for(b"@rk-test EXIT 0\n")
        receiver.type(b"END\n")
        assert receiver.wait_for(READY_LINE) == READY_LINE
        assert not (home / "rik_kernel-1.json").exists()


def test_the_programs_that_it_is_for(receiver: Terminal, home: Path) -> None:
    run_two_kernels(receiver, home)


# What is in the background of a sh ignores SIGINT, and few programs can undo that.
@pytest.mark.skipif(shutil.which("perl") is None, reason="there is no perl")
def test_a_kernel_is_interrupted_where_env_is_old(at_terminal: At, home: Path) -> None:
    (home / "bin").mkdir()
    (home / "bin/env").write_text('#!/bin/sh\ncase $1 in -*) exit 125 ;; esac\nexec env "$@"\n')
    (home / "bin/env").chmod(0o755)
    receiver = at_terminal("/bin/sh", "-c", RECEIVER, PATH=f"{home}/bin:{os.environ['PATH']}")
    receiver.wait_for(READY_LINE)
    run_two_kernels(receiver, home)


# --- how it gets there ---------------------------------------------------------------------------


def test_it_can_be_typed_and_be_an_argument() -> None:
    # csh has history in quotation marks, and all have their own way with backslashes.
    assert not set("'!\\\n") & set(RECEIVER)
    for name in ("sge", "pbs"):
        found = interface_named(name)
        assert issubclass(found, Scheduler)
        # What is typed before the shell reads is cut there.
        assert len(found.typed()) < 4095
        assert READY not in found.typed()
        assert found.typed().isascii()


def test_a_login_shell_runs_its_command(login_shell: str, at_terminal: At) -> None:
    terminal = at_terminal(login_shell, "-c", receiver_command())
    terminal.wait_for(READY_LINE)
    terminal.type(to_receiver("echo pid $$", last=True))
    # The login shell has made way for it.
    assert int(terminal.wait_for_match(rb"pid (\d+)\n")[1]) == terminal.pid
    assert terminal.wait_for_end() == 0


@pytest.mark.parametrize("text", ["é日\udcff' \"$x`", "x" * 100_000])
def test_a_login_shell_runs_the_bootstrap(login_shell: str, home: Path, text: str) -> None:
    command, payload = bootstrap(f"cat <<'RK_END'\n{text}\nRK_END\ncat")
    done = subprocess.run(
        [login_shell, "-c", command],
        input=payload + b"and on",
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    assert done.stdout == f"{text}\nand on".encode("utf-8", "surrogateescape")


@pytest.fixture(params=["sge", "pbs"])
def typed(request: pytest.FixtureRequest) -> bytes:
    found = interface_named(request.param)
    assert issubclass(found, Scheduler)
    return found.typed().encode()


def histories(home: Path) -> str:
    """All that is written in a home."""
    return "\n".join(path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("times", [1, 2])
def test_it_is_typed_into_a_shell(
    login_shell: str, at_terminal: At, home: Path, typed: bytes, times: int
) -> None:
    terminal = at_terminal(login_shell, "-i")
    terminal.wait_for(b"here> ")
    terminal.type(typed * times)
    echo = terminal.wait_for(READY_LINE)
    assert READY.encode() not in echo.removesuffix(READY_LINE)
    text = "byte for byte: é日'\"$x`\\ " + "x" * 5000
    program = f"cat > got <<'RK_END'\n{text}\nRK_END\necho pid $$"
    terminal.type(to_receiver(program))
    # It took the place of the shell.
    assert int(terminal.wait_for_match(rb"pid (\d+)\n")[1]) == terminal.pid
    terminal.wait_for(READY_LINE)
    assert (home / "got").read_text() == f"{text}\n"
    (home / "got").unlink()
    terminal.type(QUIT)
    assert terminal.wait_for_end() == 0
    assert "rk_word" not in histories(home)


def test_it_is_typed_before_the_shell_reads(
    login_shell: str, at_terminal: At, home: Path, typed: bytes
) -> None:
    go = home / "go"
    waits = f"until test -e {go}\ndo /bin/sleep 0.02\ndone\n"
    for name in (".bashrc", ".zshrc"):
        (home / name).write_text(waits + PROMPTS[name] + "\n")
    fish = ".config/fish/config.fish"
    (home / fish).write_text(f"while not test -e {go}; sleep 0.02; end\n{PROMPTS[fish]}\n")
    (home / ".cshrc").write_text(f"while (! -e {go})\n/bin/sleep 0.02\nend\n{PROMPTS['.cshrc']}\n")
    (home / ".profile").write_text(waits)
    terminal = at_terminal(login_shell, "-i", ENV=str(home / ".profile"))
    terminal.type(typed)
    go.touch()
    if not re.search(rb"here> $", terminal.output):
        terminal.wait_for(b"here> ")
    # A shell may have thrown it away; then it is typed once more.
    terminal.type(typed)
    terminal.wait_for(READY_LINE)
    terminal.type(to_receiver("echo pid $$", last=True))
    assert int(terminal.wait_for_match(rb"pid (\d+)\n")[1]) == terminal.pid
    terminal.wait_for_end()


SRUN = """#!/bin/sh
printf '<%s>' "$SLURM_OVERLAP" "$1" "$2" "$3"
shift
exec "$@"
"""


@pytest.mark.parametrize(
    ("environment", "hops"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "7"}, True),
        # The shell is on the node already.
        ({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}, False),
        ({"SLURMD_NODENAME": "n1"}, False),
    ],
)
def test_from_the_login_host_a_step_goes_on_to_the_node(
    login_shell: str, at_terminal: At, home: Path, environment: dict[str, str], hops: bool
) -> None:
    (home / "bin").mkdir()
    (home / "bin/srun").write_text(SRUN)
    (home / "bin/srun").chmod(0o755)
    path = f"{home}/bin:{os.environ['PATH']}"
    terminal = at_terminal(login_shell, "-i", **environment, PATH=path)
    terminal.wait_for(b"here> ")
    terminal.type(Pbs.typed().encode())
    before = terminal.wait_for(READY_LINE)
    assert (b"<1><--pty></bin/sh><-c>" in before) == hops
    terminal.type(to_receiver("echo pid $$", last=True))
    terminal.wait_for_match(rb"pid \d+\n")
    terminal.wait_for_end()
