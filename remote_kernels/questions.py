"""ssh's questions on the way in: who answers them, and what has come of it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import termios
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from remote_kernels.errors import QuestionError
from remote_kernels.turn import Turn

#: Logged while somebody is asked, and when there is an answer, or none.
ASKING, ASKED = "ssh asks for something", "ssh has asked"
#: Seconds that a question waits for its answer; sshd waits no longer (LoginGraceTime).
PATIENCE = 120.0
# Where ssh-askpass and its like lie, which are not in the PATH everywhere, and other prompts.
_DESKTOP_PROMPTS = (
    *("ssh-askpass", "/usr/lib/ssh/ssh-askpass", "/usr/libexec/openssh/ssh-askpass"),
    *("/usr/libexec/ssh-askpass", "/usr/lib/openssh/gnome-ssh-askpass"),
    *("ksshaskpass", "lxqt-openssh-askpass", "zenity", "kdialog"),
)

# Python's -m would put the notebook's directory before ours.
_ASK = (
    "import sys; sys.path[0] = sys.argv.pop(1); from remote_kernels.askpass import main; "
    "sys.exit(main())"
)


class Answerer(NamedTuple):
    """Who answers what ssh asks.

    Attributes:
        kind: "own" (the person's SSH_ASKPASS), "terminal", "desktop", or "" for nobody.
        at: path of the terminal, or of the program that prompts.
    """

    kind: str = ""
    at: str = ""


def find_answerer(environ: Mapping[str, str], *, terminal_first: bool = False) -> Answerer:
    """Who can answer: the person's own program, their terminal, their desktop, or nobody.

    Args:
        environ: the environment.
        terminal_first: as ssh does when a person runs it.
    """
    terminal = _terminal()
    if environ.get("SSH_ASKPASS") and not (terminal_first and terminal):
        return Answerer("own", environ["SSH_ASKPASS"])
    if terminal:
        return Answerer("terminal", terminal)
    if prompt := _desktop_prompt(environ):
        return Answerer("desktop", prompt)
    return Answerer()


class Questions:
    """The questions of one login.

    Attributes:
        answerer: of them.
        asked: there was one; not known of the person's own program.
        is_open: there is one that has no answer yet.
        given_up: the person did not want to answer.
        late: nobody answered in time.
        elsewhere: somebody has logged in while this login waited for its turn to ask.
    """

    def __init__(
        self,
        directory: Path,
        answerer: Answerer,
        sockets: str = "",
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare.

        Args:
            directory: a private one, for the program that ssh runs.
            answerer: of them.
            sockets: pattern for the path of a connection that makes this login needless.
            log: takes ASKING, and ASKED when that has come to an end.
        """
        self._log = log
        self.answerer = answerer
        self.asked = self.is_open = self.given_up = self.late = self.elsewhere = False
        self._directory, self._sockets = directory, sockets
        # Lines of this program among those of ssh begin so. No server can know it.
        self._mark = f"@rk-ask-{os.urandom(8).hex()} "
        # One login at a time asks at a terminal, or on a desktop.
        self._turn = Turn(answerer.at if answerer.kind == "terminal" else os.path.expanduser("~"))
        self._asker = ""
        # As much as can be read beside a question.
        self._unseen: deque[str] = deque(maxlen=50)

    def environment(self) -> dict[str, str]:
        """The environment of the ssh."""
        env = dict(os.environ)
        if not self.answerer.kind:
            return env
        if self.answerer.kind != "own":
            env["SSH_ASKPASS"] = str(self._program())
        env["SSH_ASKPASS_REQUIRE"] = "force"
        # OpenSSH before 8.4 knows nothing of that, but obeys where there is a DISPLAY.
        env.setdefault("DISPLAY", ":0")
        return env

    def take(self, line: str) -> bool:
        """Note what ssh has said.

        Args:
            line: of its messages.

        Returns:
            Whether it was a word of our own program.
        """
        _, mark, word = line.partition(self._mark)
        if not mark:
            self._unseen.append(line)
            return False
        if word.startswith("WANTS "):
            self._let_ask(word.removeprefix("WANTS "))
            return True
        self.is_open = word == "ASKS"
        self._log(ASKING if self.is_open else ASKED)
        self.asked |= self.is_open
        self.given_up |= word == "GIVEN-UP"
        self.late |= word == "UNANSWERED"
        self.elsewhere |= word == "ELSEWHERE"
        return True

    def end(self) -> None:
        """The login has come to its end: others may ask."""
        self._turn.give()

    def failure(self, way: object) -> QuestionError | None:
        """Why a login has ended, if that is because nobody answered; else None.

        Args:
            way: of the login, in words.
        """
        if self.given_up:
            return QuestionError(f"the login to {way} was given up")
        if self.late:
            return QuestionError(f"nobody answered within {PATIENCE:.0f} s what {way} asked")
        return None

    def _let_ask(self, number: str) -> None:
        """Let our program ask when it is our turn; it asks for that again until it is.

        A turn lasts until the login has ended: then it is known whether others need one at all.

        Args:
            number: of the program's process.
        """
        if number == self._asker or not self._turn.take():
            return
        self._asker = number
        # It belongs to the question: the rest of a menu, or "please try again".
        from remote_kernels.kernel_log import printable

        text = "".join(f"{printable(line)}\n" for line in self._unseen if line.strip())
        self._unseen.clear()
        part = self._directory / f"said-{number}.part"
        part.write_text(text, "utf-8", "replace")
        part.rename(part.with_suffix(""))

    def _program(self) -> Path:
        """A program in one word, as ssh wants it."""
        import remote_kernels

        kind, at = self.answerer
        parent = Path(remote_kernels.__file__).parents[1]
        words = [sys.executable, "-c", _ASK, str(parent), kind, at, self._mark]
        command = shlex.join([*words, str(self._directory), self._sockets, str(PATIENCE)])
        path = self._directory / "askpass"
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8", "surrogateescape")
        path.chmod(0o700)
        return path


def _terminal() -> str:
    """The terminal of whoever has started us, if it is there to be typed into; else empty."""
    # Jupyter leaves us its standard error, and remote-kernels check its standard input.
    descriptor = next(filter(os.isatty, (2, 0)), None)
    if descriptor is None:
        return ""
    if not termios.tcgetattr(descriptor)[3] & termios.ICANON:
        # Another program reads every key, as jupyter console does.
        return ""
    # Jupyter starts us in a session of our own, so that we have no terminal as such.
    if any(_is_in_front(pid, descriptor) for pid in (os.getpid(), os.getppid())):
        return os.ttyname(descriptor)
    return ""


def _is_in_front(pid: int, terminal: int) -> bool:
    """Whether what is typed is for a process, and not for the shell that has it in the background.

    See proc(5), "tpgid", and ps(1).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        group, device, front = fields[2], int(fields[4]), fields[5]
        return group == front and device == os.fstat(terminal).st_rdev
    except FileNotFoundError:
        import subprocess

        command = ["ps", "-o", "pgid=,tpgid=", "-p", str(pid)]
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return len(words) == 2 and words[0] == words[1]


def _desktop_prompt(environ: Mapping[str, str]) -> str:
    if sys.platform == "darwin" and "SSH_CONNECTION" not in environ:
        return shutil.which("osascript") or ""
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        return next(filter(None, map(shutil.which, _DESKTOP_PROMPTS)), "")
    return ""
