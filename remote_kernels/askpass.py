"""The program through which ssh asks: at a terminal, or with a desktop's prompt.

ssh(1) runs it (SSH_ASKPASS) with its question as the last argument, and reads the answer from its
standard output. Nobody but ssh can have anything asked in this way, and only before it has logged
in: what a banner, a shell or a kernel prints is never a question.

Standard error is ssh's own, which the launcher reads. Words to it stand there behind a mark.
"""

from __future__ import annotations

import getopt
import glob
import html
import math
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from remote_kernels.kernel_log import printable

# Of ssh(1); those with a colon take a word.
_SSH_FLAGS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy"
# Questions whose answer is no secret: of a host key, of sharing a connection, of Duo's menu.
_NO_SECRET = re.compile(r"\(yes/no[^)]*\)|option \(\d+-\d+\)|username: *$", re.IGNORECASE)
# Seconds between two requests for our turn.
_ASK_AGAIN = 0.1

# What shows a question on a desktop: its words with the question, and how a secret is asked for.
_DESKTOP: dict[str, Callable[[str, bool], list[str]]] = {
    "zenity": lambda text, secret: [
        *("--entry", "--title=remote-kernels", f"--text={html.escape(text)}"),
        *(["--hide-text"] if secret else []),
    ],
    "kdialog": lambda text, secret: [
        *("--title", "remote-kernels", "--password" if secret else "--inputbox", text),
    ],
    "osascript": lambda text, secret: [
        *("-e", "on run argv", "-e"),
        'display dialog (item 1 of argv) default answer "" with title "remote-kernels"'
        + (" with hidden answer" if secret else ""),
        *("-e", "text returned of result", "-e", "end run", text),
    ],
}


def main() -> int:
    """Ask one question.

    Returns:
        0, and the answer stands on standard output; or 1.
    """
    kind, at, mark, directory, sockets, patience, question = sys.argv[1:]
    answerer = _Answerer(at, time.monotonic() + float(patience))
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, _leave)
    if os.environ.get("SSH_ASKPASS_PROMPT") == "none":
        # Nothing to answer; ssh says it on standard error as well.
        return 0
    messages = _turn(mark, Path(directory, f"said-{os.getpid()}"))
    if sockets and glob.glob(sockets):
        _tell(mark, "ELSEWHERE")
        _end_ssh()
        return 1
    _tell(mark, "ASKS")
    lines = [*messages, f"{_asker()} asks:"]
    secret = not _NO_SECRET.search(question)
    ask = answerer.ask_at_terminal if kind == "terminal" else answerer.ask_on_desktop
    answer = ask("\n".join([*lines, *_shown(question)]), secret)
    if answer is None:
        _tell(mark, "UNANSWERED" if answerer.is_late() else "GIVEN-UP")
        _end_ssh()
        return 1
    _tell(mark, "ANSWERED")
    print(answer)
    return 0


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(1)


def _tell(mark: str, word: str) -> None:
    # What was said last may have been no whole line.
    print(f"\n{mark}{word}", file=sys.stderr, flush=True)


def _end_ssh() -> None:
    """As a terminal would at a ^C: ssh itself takes our failure for an empty answer."""
    os.kill(os.getppid(), signal.SIGINT)


def _turn(mark: str, said: Path) -> list[str]:
    """Wait until the launcher lets us ask.

    Args:
        mark: see :func:`_tell`.
        said: file that the launcher writes then.

    Returns:
        What ssh has said since the last question.
    """
    again = 0.0
    while not said.exists():
        if time.monotonic() >= again:
            _tell(mark, f"WANTS {os.getpid()}")
            again = time.monotonic() + _ASK_AGAIN
        if _wait(5):
            sys.exit(1)
    return said.read_text("utf-8", "replace").splitlines()


def _wait(milliseconds: int, *readable: int) -> set[int]:
    """Wait until nobody reads our answer any more, or there is something to read.

    Args:
        milliseconds: to wait at most.
        readable: descriptors to read from.

    Returns:
        Those of them that can be read from, and 1 when ssh has ended; none when the time is over.
    """
    poll = select.poll()
    poll.register(1, 0)
    for descriptor in readable:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(milliseconds)}


def _asker() -> str:
    """Which machine the ssh that asks logs in to."""
    with suppress(getopt.GetoptError, OSError, IndexError, subprocess.SubprocessError):
        options, rest = getopt.getopt(_words_of_ssh()[1:], _SSH_FLAGS)
        named = dict(options)
        host = rest[0].removeprefix("ssh://")
        user = f"{named['-l']}@" if "-l" in named and "@" not in host else ""
        # It forwards its standard input and output to the next machine.
        role = "the gateway " if "-W" in named else ""
        return printable(f"remote-kernels: {role}{user}{host}")
    return "remote-kernels: ssh"


def _words_of_ssh() -> list[str]:
    ssh = os.getppid()
    with suppress(FileNotFoundError):
        return Path(f"/proc/{ssh}/cmdline").read_text("utf-8", "replace").split("\0")
    command = ["ps", "-ww", "-o", "args=", "-p", str(ssh)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _shown(question: str) -> list[str]:
    # A server may have written it.
    return [printable(line) for line in question.splitlines()] or [""]


class _Answerer:
    """Whoever is asked, and for how long.

    sshd gives a login two minutes (LoginGraceTime of sshd_config(5)), but ssh does not notice that
    they are over while it waits for an answer.
    """

    def __init__(self, at: str, deadline: float) -> None:
        self._at, self._deadline = at, deadline

    def is_late(self) -> bool:
        return time.monotonic() >= self._deadline

    def _answers(self, descriptor: int) -> bool:
        """Wait until there is an answer to read, or none will be of use."""
        left = max(0.0, self._deadline - time.monotonic())
        # Rounded up: who has waited so long in vain is late.
        return _wait(math.ceil(left * 1000), descriptor) == {descriptor}

    def ask_at_terminal(self, text: str, secret: bool) -> str | None:
        terminal = os.open(self._at, os.O_RDWR | os.O_NOCTTY)
        before = termios.tcgetattr(terminal)
        asking = termios.tcgetattr(terminal)
        # The terminal's ^C is for whoever owns it; here it is the end of a line, and gives up.
        asking[3] &= ~(termios.ISIG | (termios.ECHO if secret else 0))
        asking[3] |= termios.ICANON | termios.ECHONL
        asking[6][termios.VEOL] = b"\x03"
        try:
            # What was typed before there was a question is no answer to it.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, asking)
            os.write(terminal, text.encode("utf-8", "replace"))
            answer = os.read(terminal, 4096) if self._answers(terminal) else b""
            if not answer.endswith(b"\n"):
                os.write(terminal, b"\n(no answer)\n")
                return None
            return answer[:-1].decode("utf-8", "surrogateescape")
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.close(terminal)

    def ask_on_desktop(self, text: str, secret: bool) -> str | None:
        in_words = _DESKTOP.get(Path(self._at).name)
        words = in_words(text, secret) if in_words else [text]
        with subprocess.Popen([self._at, *words], stdout=subprocess.PIPE) as prompt:
            assert prompt.stdout is not None
            try:
                answer = prompt.stdout.read() if self._answers(prompt.stdout.fileno()) else b""
            finally:
                prompt.terminate()
        return answer.removesuffix(b"\n").decode("utf-8", "surrogateescape") if answer else None
