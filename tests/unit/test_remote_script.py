"""The sh program, run by every sh that is there, without any ssh."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_kernels.connection_file import PORT_NAMES
from remote_kernels.errors import OptionsError
from remote_kernels.remote_script import Script
from remote_kernels.shell_text import bootstrap

MARK = "@rk-test"
INFO: dict[str, Any] = {
    **{name: number for number, name in enumerate(PORT_NAMES, start=41001)},
    "ip": "10.0.0.1",
    "transport": "tcp",
    # All that a shell could stumble over.
    "key": "k'e\"y $HOME `id` \\ \\\\ ü $rk_mark",
    "kernel_name": "",
}
NASTY = ["a b", "it's", '"q"', "$HOME", "`id`", "$(id)", "ü☂", "new\nline", "-n", "{cwd}", "a\\b"]

# As what /bin/sh may be: Debian, macOS and others, Alpine, and macOS again where it was changed.
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"], ["zsh", "--emulate", "sh"]]


@pytest.fixture(params=SHELLS, ids=lambda command: str(command[0]))
def sh(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.param
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    return command


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(sh: list[str], home: Path, script: Script, words: str = "") -> list[str]:
    """What the program says, when the session ends as soon as it has read the words."""
    text = script.text()
    done = subprocess.run(
        [*sh, "-c", bootstrap(text)[0].removeprefix("exec ").replace("/bin/sh -c ", "eval ", 1)],
        input=bootstrap(text)[1] + words.encode(),
        env={"HOME": str(home), "PATH": os.environ["PATH"], "SHELL": "/bin/sh"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()


def script(kernel_cmd: str, **changes: Any) -> Script:
    return Script(
        mark=MARK, info=INFO, copy_name="rik_kernel-1.json", kernel_cmd=kernel_cmd, **changes
    )


def function(name: str) -> str:
    """The text of one of the program's functions."""
    text = script("true").text()
    return text[text.index(f"{name}() {{") :].partition("\n}\n")[0] + "\n}"


def events(lines: list[str]) -> list[str]:
    return [line.partition(MARK + " ")[2] for line in lines if MARK + " " in line]


def run_to_exit(sh: list[str], home: Path, program: Script) -> list[str]:
    """What the program says when the session stays open until the kernel has ended."""
    text, payload = bootstrap(program.text())
    child = subprocess.Popen(
        [*sh, "-c", text.removeprefix("exec ").replace("/bin/sh -c ", "eval ", 1)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "SHELL": "/bin/sh"},
        cwd=home,
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(payload)
    child.stdin.flush()
    lines = []
    for line in child.stdout:
        lines.append(os.fsdecode(line).rstrip("\n"))
        if f"{MARK} EXIT" in lines[-1] or f"{MARK} FAIL" in lines[-1]:
            break
    child.stdin.close()
    lines += os.fsdecode(child.stdout.read()).splitlines()
    child.stdout.close()
    child.wait(timeout=60)
    return lines


def test_the_copy_holds_everything_but_address_and_ports(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("cat {connection_file} ; stat -c %a {connection_file}"))
    start = next(line for line in events(lines) if line.startswith("START"))
    far_ports = [int(port) for port in start.split()[2:]]
    text = "\n".join(lines)
    copy = json.loads(text[text.index("{") : text.index("}") + 1])
    assert copy == {**INFO, "ip": "127.0.0.1", **dict(zip(PORT_NAMES, far_ports, strict=True))}
    assert len(set(far_ports)) == 5
    assert "600" in lines
    assert not list(home.iterdir())


def test_kernels_that_start_at_once_get_different_ports(sh: list[str], home: Path) -> None:
    # None of these listens, so each finds all ports free; random ones would not all differ.
    command = [*sh, "-c", f"{function('rk_choose_ports')}\nread -r go; rk_choose_ports"]
    programs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(100)
    ]
    ports = [int(port) for program in programs for port in program.communicate(b"\n")[0].split()]
    assert len(ports) == 500
    assert len(set(ports)) == 500
    assert all(15000 <= port < 32000 for port in ports)


def test_ports_in_use_are_not_chosen(sh: list[str], home: Path) -> None:
    # The same number of a process, so the same ports, were they free.
    program = f"{function('rk_choose_ports')}\necho $(rk_choose_ports); read -r go; rk_choose_ports"
    with (
        subprocess.Popen(
            [*sh, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
        socket.socket() as listener,
    ):
        assert child.stdin
        assert child.stdout
        first = child.stdout.readline().split()
        listener.bind(("127.0.0.1", int(first[3])))
        listener.listen()
        second = child.communicate(b"\n")[0].split()
    assert len(second) == 5
    assert not set(first) & set(second)


def test_local_kernels_keep_their_ports(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("cat {connection_file}", keep_ports=True))
    text = "\n".join(lines)
    assert json.loads(text[text.index("{") : text.index("}") + 1]) == INFO


def test_says_what_happens_in_order(sh: list[str], home: Path) -> None:
    said = events(run_to_exit(sh, home, script("exit 7", precmd="true")))
    words = [line.split()[0] for line in said if not line.startswith("UP")]
    # Nothing waits for it.
    words.remove("START")
    assert words == ["HELLO", "COPY", "SHELL", "PRECMD", "EXIT"]
    assert said[-1] == "EXIT 7"


@pytest.mark.parametrize("text", NASTY)
def test_commands_arrive_as_typed(sh: list[str], home: Path, text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    lines = run_to_exit(sh, home, script(f"printf '<%s>\\n' {quoted}", precmd=f"x={quoted}"))
    assert f"<{text}>" in "\n".join(lines)


@pytest.mark.parametrize("name", [name for name in NASTY if name != "-n"] + ["./-n", "-", "~x"])
def test_directories_arrive_as_typed(sh: list[str], home: Path, name: str) -> None:
    directory = home / name
    directory.mkdir()
    for workdir in (str(directory), name, f"~/{name}"):
        if workdir == "-n":
            continue
        lines = run_to_exit(sh, home, script("pwd; cat {connection_file}", workdir=workdir))
        assert str(directory) in "\n".join(lines), workdir
        assert '"shell_port"' in "\n".join(lines)
        assert not list(directory.iterdir())


def test_a_missing_directory_is_an_error(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("true", workdir="/nowhere"))
    assert events(lines)[-1] == "FAIL WORKDIR"
    assert "/nowhere" in "\n".join(lines)


def test_without_one_the_near_directory_is_taken_or_home(sh: list[str], home: Path) -> None:
    (home / "near").mkdir()
    near = run_to_exit(sh, home, script("pwd", near_directory=str(home / "near")))
    assert str(home / "near") in near
    assert str(home) in run_to_exit(sh, home, script("pwd", near_directory="/nowhere"))


def test_a_precmd_may_go_elsewhere(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("cat {connection_file}", precmd="cd /"))
    assert any('"hb_port"' in line for line in lines)


@pytest.mark.parametrize("precmd", ["false", "exit 1", "unbalanced '", "no-such-command-here"])
def test_a_precmd_that_fails_is_told_from_a_kernel_that_does(
    sh: list[str], home: Path, precmd: str
) -> None:
    said = events(run_to_exit(sh, home, script("echo the kernel runs", precmd=precmd)))
    assert "the kernel runs" not in said
    assert "SHELL" in said
    assert "PRECMD 0" not in said
    assert said[-1].startswith("EXIT")
    assert said[-1] != "EXIT 0"


def test_the_end_of_the_session_ends_the_kernel(sh: list[str], home: Path) -> None:
    lines = run(sh, home, script("sleep 1234 & echo pid $!; wait"))
    assert not list(home.iterdir())
    for pid in re.findall(r"^pid (\d+)$", "\n".join(lines), re.MULTILINE):
        assert not Path(f"/proc/{pid}/cmdline").exists()


def test_a_kernel_that_ignores_sigterm_is_killed(sh: list[str], home: Path) -> None:
    program = script("trap '' TERM; echo pid $$; sleep 1234; sleep 1234")
    said = run(sh, home, program, "TERM\n")
    assert not any(Path(f"/proc/{pid}").exists() for pid in re.findall(r"pid (\d+)", str(said)))


@pytest.mark.parametrize("link", [True, False])
def test_what_is_there_of_that_name_is_not_written_through(
    sh: list[str], home: Path, link: bool
) -> None:
    precious = home / "precious"
    precious.write_text("precious")
    (home / "work").mkdir()
    if link:
        (home / "work/rik_kernel-1.json").symlink_to(precious)
    else:
        (home / "work/rik_kernel-1.json").hardlink_to(precious)
    run_to_exit(sh, home, script("true", workdir="work"))
    assert precious.read_text() == "precious"


def test_a_newer_kernels_file_is_not_removed(sh: list[str], home: Path) -> None:
    run_to_exit(sh, home, script("echo newer > {connection_file}"))
    assert (home / "rik_kernel-1.json").read_text() == "newer\n"


def test_ports_in_the_kernel_command_are_those_over_there(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("echo =={ci[shell_port]} {ci[ip]} {ci[transport]}"))
    start = next(line for line in events(lines) if line.startswith("START"))
    assert f"=={start.split()[2]} 127.0.0.1 tcp" in lines


@pytest.mark.parametrize(
    ("kernel_cmd", "printed"),
    [
        ("echo '{{x}}' # {connection_file}", "{x}"),  # a format string, as remote_ikernel had it
        ("echo '{{x}} {y}'", "{{x}} {y}"),  # none, so it is taken as typed
        ("echo '${HOME:+{}}'", "${HOME:+{}}"),
        ("echo '{0}'", "{0}"),
    ],
)
def test_other_braces_stay(sh: list[str], home: Path, kernel_cmd: str, printed: str) -> None:
    assert printed in run_to_exit(sh, home, script(kernel_cmd))


@pytest.mark.parametrize("field", ["key", "curve_secretkey"])
def test_no_key_gets_into_a_command_line(field: str) -> None:
    with pytest.raises(OptionsError, match="would show the key"):
        script(f"kernel {{ci[{field}]}}").text()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(OptionsError, match="not in the connection file"):
        script("kernel {ci[nothing]}").text()


def test_no_command_line_shows_the_key(sh: list[str], home: Path) -> None:
    lines = run_to_exit(sh, home, script("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"))
    assert "rk_mark" not in "\n".join(lines)
    assert "k'e" not in "\n".join(lines)


def test_jupyters_variables_do_not_reach_the_kernel(
    sh: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script("env")
    text = "JPY_PARENT_PID=1; export JPY_PARENT_PID\n" + program.text()
    monkeypatch.setattr(Script, "text", lambda self: text)
    assert "JPY_" not in "\n".join(run_to_exit(sh, home, program))


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    left = subprocess.run(["pgrep", "-f", "sleep 1234"], capture_output=True, check=False)
    assert not left.stdout
