"""Why a login failed; and one that was refused is not tried again by itself."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from remote_kernels import errors
from remote_kernels.errors import LoginError
from remote_kernels.questions import Questions
from remote_kernels.shared_login import KeptLogin
from remote_kernels.way import CONFIG_NAME, Way

# Jupyter starts a kernel that has ended five times more, about three seconds apart.
_STANDS_FOR = 12.0
_ASKS = re.compile(r"denied \(\S*(?:password|keyboard-interactive)")


def why_refused(
    way: Way,
    said: Sequence[str],
    private: Path,
    questions: Questions | None = None,
    kept: KeptLogin | None = None,
) -> LoginError:
    """Why ssh has failed.

    Args:
        way: that it went.
        said: the lines that it printed.
        private: the directory in which its configuration lies.
        questions: that it could ask.
        kept: what ``remote-kernels login`` has kept for the way.
    """
    # Most starts do without.
    from remote_kernels.ssh_connection import ssh_setting

    def real_name(name: str) -> str:
        return ssh_setting(["ssh", "-F", str(private / CONFIG_NAME), "--", name], "hostname")

    unanswered = questions.failure(way) if questions is not None else None
    error = unanswered or way.login_error(list(said), real_name)
    if error.refused and questions is not None and not questions.answerer.kind:
        error = _nobody_answers(error, way, said, kept)
    error.said = tuple(said)
    return error


def _nobody_answers(
    error: LoginError, way: Way, said: Sequence[str], kept: KeptLogin | None
) -> LoginError:
    """What was refused, perhaps because it could not be asked for."""
    if isinstance(error, errors.HostKeyChangedError):
        return error
    advice = f"in a terminal: {way.login_line()}"
    if kept is not None:
        return errors.LoginExpiredError(
            f"{kept.ended()}, and a new one asks what nobody here can answer", advice=advice
        )
    if any(map(_ASKS.search, said)):
        return errors.QuestionError(
            f"{error.sentence}: it asks for a password or a code, and nobody here can answer",
            advice=advice,
        )
    error.advice += f"\nif a question is to be answered, in a terminal: {way.login_line()}"
    return error


class LastRefusal:
    """The refusal that a kernel's launcher met last, for the launchers that Jupyter starts next.

    Some servers shut out a whole institute for logins that fail again and again
    (PerSourcePenalties of sshd_config(5)).
    """

    def __init__(self, connection_file: Path) -> None:
        """Look for it beside the connection file, which keeps its name when Jupyter tries again.

        Args:
            connection_file: that Jupyter wrote.
        """
        self._path = connection_file.with_name(f"rik_refused-{connection_file.stem}")

    def standing(self) -> tuple[int, str] | None:
        """Exit code and text of the last refusal, where it was a moment ago; else None."""
        if not self._is_private():
            return None
        try:
            age = time.time() - self._path.stat().st_mtime
            code, text = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not 0 <= age < _STANDS_FOR:
            return None
        # The next one of the same row finds it as new.
        self._path.touch()
        return int(code), (
            f"{text}\n  try:   (that was {age:.0f} s ago, and was not tried again; "
            f"the first start after {_STANDS_FOR:.0f} s of quiet logs in again)"
        )

    def _is_private(self) -> bool:
        """Whether nobody else can write there: some programs let Jupyter's file lie in /tmp.

        These choose a new name for it each time, so there would be nothing to find.
        """
        status = self._path.parent.lstat()
        return status.st_uid == os.getuid() and not status.st_mode & 0o022

    def note(self, code: int, text: str) -> None:
        """Remember a refusal.

        Args:
            code: the launcher's exit code.
            text: what it said.
        """
        if not self._is_private():
            return
        with suppress(OSError):
            self._path.touch(mode=0o600)
            self._path.write_text(json.dumps([code, text]), "utf-8")

    def remove_stale(self) -> None:
        """Remove those that stand no more, of all kernels."""
        if not self._is_private():
            return
        for path in self._path.parent.glob("rik_refused-*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= _STANDS_FOR:
                    path.unlink()
