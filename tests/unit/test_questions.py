"""Who is asked what ssh asks, and what the program that asks makes of ssh's words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest

from remote_kernels.askpass import _Answerer
from remote_kernels.questions import PATIENCE, Answerer, Questions, find_answerer

# As Jupyter starts a launcher: in a session of its own, with Jupyter's standard error.
JUPYTER = """
import subprocess, sys
code = "import os; from remote_kernels.questions import find_answerer as f; print(f(os.environ))"
command = [sys.executable, "-c", code]
said = subprocess.run(
    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, text=True
)
print("found", said.stdout, flush=True)
"""


def at_terminal(command: Sequence[str], **environment: str) -> str:
    """What a command finds that runs at a terminal."""
    names = ("SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY")
    env: Any = {k: v for k, v in os.environ.items() if k not in names} | environment
    child: Any = pexpect.spawn(command[0], list(command[1:]), env=env, encoding="utf-8", timeout=20)
    child.expect("found (.*)\r\n")
    found = str(child.match[1]).strip()
    child.expect(pexpect.EOF)
    child.close()
    return found


def test_jupyter_in_the_foreground_of_a_terminal() -> None:
    found = at_terminal([sys.executable, "-c", JUPYTER])
    assert found.startswith("Answerer(kind='terminal', at='/dev/")


def test_ssh_askpass_comes_before_the_terminal() -> None:
    found = at_terminal([sys.executable, "-c", JUPYTER], SSH_ASKPASS="/opt/ask")
    assert found == "Answerer(kind='own', at='/opt/ask')"


def test_jupyter_in_the_background_is_not_typed_into(tmp_path: Path) -> None:
    program = tmp_path / "jupyter.py"
    program.write_text(JUPYTER)
    # With job control, the shell keeps the terminal for itself.
    found = at_terminal(["bash", "-c", f"set -m; {sys.executable} {program} & wait"])
    assert found == "Answerer(kind='', at='')"


def test_a_terminal_on_which_each_key_is_read_is_left_alone() -> None:
    raw = "import tty; tty.setcbreak(0)\n"
    assert at_terminal([sys.executable, "-c", raw + JUPYTER]) == "Answerer(kind='', at='')"


def test_a_desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zenity", "kdialog"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("remote_kernels.questions._DESKTOP_PROMPTS", ("no-such", "zenity"))
    monkeypatch.setattr(sys, "platform", "linux")
    prompt = Answerer("desktop", str(tmp_path / "zenity"))
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    assert find_answerer({"DISPLAY": ":0"}) == prompt
    assert find_answerer({"WAYLAND_DISPLAY": "wayland-0"}) == prompt
    assert find_answerer({}) == Answerer()


def questions(directory: Path) -> Questions:
    return Questions(directory, Answerer("terminal", str(directory)))


def test_only_its_own_program_speaks_to_it(tmp_path: Path) -> None:
    asked = questions(tmp_path)
    assert not asked.take("@rk-ask-0000 WANTS 1")
    assert not asked.take("@rk-ask-0000 ASKS")
    assert not asked.take("ada@far's password: ")
    assert not asked.is_open


def test_what_ssh_has_said_is_handed_on_once_and_harmless(tmp_path: Path) -> None:
    asked = questions(tmp_path)
    mark = str(asked._mark)
    asked.take("\x1b[31mPermission denied, please try again.")
    assert asked.take(f"{mark}WANTS 7")
    assert asked.take(f"{mark}ASKS")
    assert asked.is_open
    said = tmp_path / "said-7"
    assert said.read_text() == "\\x1b[31mPermission denied, please try again.\n"
    assert asked.take(f"{mark}ANSWERED")
    assert not asked.is_open
    assert asked.take(f"{mark}WANTS 8")
    assert (tmp_path / "said-8").read_text() == ""
    assert asked.take(f"{mark}UNANSWERED")
    assert f"within {PATIENCE:.0f} s" in str(asked.failure("ada@far"))


def test_one_login_asks_at_a_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    turn = Answerer("terminal", str(tmp_path))
    first, second = (Questions(tmp_path / name, turn) for name in ("first", "second"))
    first.take(f"{first._mark}WANTS 7")
    for word in ("ASKS", "ANSWERED"):
        first.take(f"{first._mark}{word}")
        second.take(f"{second._mark}WANTS 8")
        assert not (tmp_path / "second" / "said-8").exists()
    first.end()
    second.take(f"{second._mark}WANTS 8")
    assert (tmp_path / "second" / "said-8").exists()


@pytest.mark.parametrize("kind", ["terminal", "desktop"])
def test_where_no_turns_can_be_taken_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("HOME", "~")  # as of a user that has none
    asked = Questions(tmp_path, Answerer(kind, str(tmp_path / "gone")))
    asked.take(f"{asked._mark}WANTS 7")
    assert (tmp_path / "said-7").exists()


def test_the_last_millisecond_of_the_patience_is_no_answer() -> None:
    silent, writer = os.pipe()
    for _ in range(20):
        answerer = _Answerer("", time.monotonic() + 0.0009)
        assert not answerer._answers(silent)
        assert answerer.is_late()
    os.close(silent)
    os.close(writer)


DESKTOP = {
    "zenity": ["--entry", "--title=remote-kernels", "--text=X &lt;b&gt; Y", "--hide-text"],
    "kdialog": ["--title", "remote-kernels", "--password", "X <b> Y"],
    "ssh-askpass": ["X <b> Y"],
}


@pytest.mark.parametrize("name", DESKTOP)
def test_the_words_for_a_desktops_prompt(tmp_path: Path, name: str) -> None:
    prompt = tmp_path / name
    prompt.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\necho secret\n')
    prompt.chmod(0o755)
    code = (
        "import sys, time; from remote_kernels.askpass import _Answerer; "
        "print(_Answerer(sys.argv[1], time.monotonic() + 20).ask_on_desktop(sys.argv[2], True))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, prompt, "X <b> Y"], capture_output=True, text=True, timeout=30
    )
    assert said.stdout == "secret\n", said.stderr
    assert (tmp_path / "words").read_text().splitlines() == DESKTOP[name]
