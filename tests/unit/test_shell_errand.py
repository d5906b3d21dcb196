"""A session with a program of sh, to this machine: what is told and said, and how it goes wrong.

Nothing is left of it in any case.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remote_kernels import shell_errand
from remote_kernels.errors import ConnectionLostError
from remote_kernels.shell_errand import ShellErrand


def errand(program: str) -> ShellErrand:
    """A session to this machine."""
    return ShellErrand(None, program, lambda word: None)


def wait_on(session: ShellErrand) -> None:
    """Wait until that fails."""
    while True:
        session.wait(10.0)


def test_words_go_to_and_fro() -> None:
    program = """
    while read -r rk_line; do
      echo "no word for you"
      printf half; rk_tell you said "$rk_line"
    done
    rk_tell the end
    """
    with errand(program.replace("printf half", "printf '%s\\n' half")) as session:
        assert session.node == os.uname().nodename
        for text in ("it's $HOME", "é * \\n"):
            session.tell(text)
            assert session.hear() == ["you", "said", *text.split(" ")]


def test_what_ends_the_program_is_told() -> None:
    with errand("read -r rk_line; echo because of this; exit 3") as session:
        session.tell("end")
        with pytest.raises(ConnectionLostError) as failed:
            session.hear()
    assert "because of this" in failed.value.said


def test_it_waits_for_others_meanwhile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        with errand("read -r rk_line") as session:
            assert session.wait(0.0, descriptor) == set()
            os.write(descriptor, b"x")
            assert session.wait(10.0, descriptor) == {descriptor}
            os.read(descriptor, 1)
            session.tell("end")
            with pytest.raises(ConnectionLostError, match="the connection broke"):
                wait_on(session)
    finally:
        os.close(descriptor)


def test_one_that_never_ends_to_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    with errand("while echo nonsense; do :; done") as session:
        with pytest.raises(ConnectionLostError, match="nothing came within"):
            session.hear(patience=0.5)
        assert len(session._said) <= 40
        with pytest.raises(ConnectionLostError, match="makes no sense: more than it was asked for"):
            wait_on(session)
        assert len(session._data) < 2 * shell_errand._MOST_UNASKED
