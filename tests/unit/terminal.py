"""A program at a terminal of its own, as a session has one over there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from bed.waiting import wait_until

PATIENCE = 20.0
_TAG = "TEST_TERMINAL"

#: A program that starts another and gives it the terminal late, as Grid Engine's qrsh_starter and
#: Slurm's salloc may: only when it has started something itself, or stands stopped since it used
#: the terminal before.
LATE_STARTER = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
def has_begun():
    stopped = open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[0] == "T"
    return stopped or open(f"/proc/{child}/task/{child}/children").read()
while not has_begun():
    time.sleep(0.01)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, child)
print("the terminal is given", flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Terminal:
    """A program that leads a session with a controlling terminal, and all that it starts.

    Attributes:
        output: everything that came from the terminal.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.output = b""
        self._read = 0
        self._tag = f"{_TAG}={uuid4().hex}"
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._program = subprocess.Popen(
            argv,
            env={**env, **dict([self._tag.split("=")])},
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.pid = self._program.pid

    # --- what is seen and typed -----------------------------------------------------------------

    def _step(self, deadline: float, unsent: bytes = b"") -> bytes:
        """Read or write something; what is left to be written."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"waited {PATIENCE:g} s; so far: {self.output[-2000:]!r}")
        writers = [self._master] if unsent else []
        readable, writable, _ = select.select([self._master], writers, [], left)
        if readable:
            try:
                chunk = os.read(self._master, 1 << 16)
            except OSError:
                # Nobody has it open any more.
                chunk = b""
            if not chunk:
                raise EOFError(f"the session is over: {self.output[-2000:]!r}")
            self.output += chunk
        if writable:
            return unsent[os.write(self._master, unsent[: 1 << 12]) :]
        return unsent

    def type(self, data: bytes) -> None:
        """Write all of it, and read meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while data:
            data = self._step(deadline, data)

    def wait_for(self, text: bytes) -> bytes:
        """What came since the last wait, up to and with the text."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.output.find(text, self._read)) < 0:
            self._step(deadline)
        begin, self._read = self._read, at + len(text)
        return self.output[begin : self._read]

    def wait_for_match(self, pattern: bytes) -> re.Match[bytes]:
        """The next place where the pattern fits."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.output, self._read)) is None:
            self._step(deadline)
        self._read = found.end()
        return found

    def wait_for_end(self) -> int:
        """The exit status of the program, once it and what has its terminal open are gone."""
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                self._step(deadline)
        except EOFError:
            return self._program.wait(PATIENCE)

    def hang_up(self) -> None:
        """Let the terminal go away, as sshd does when it has lost its client."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    # --- what it has started --------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """All that the program has started and that still runs, wherever it went."""
        self._program.poll()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self._tag.encode() in (
                    entry.joinpath("environ").read_bytes().split(b"\0")
                ):
                    words = entry.joinpath("cmdline").read_bytes().split(b"\0")
                    found[int(entry.name)] = b" ".join(words).decode(errors="replace")
            except OSError:
                # It has just ended.
                continue
        return found

    def assert_nothing_is_left(self) -> None:
        """Everything that it has started ends by itself."""
        try:
            wait_until(lambda: not self.processes(), PATIENCE, "all processes to be gone")
        except TimeoutError:
            raise AssertionError(f"still there: {self.processes()}") from None

    def clear_away(self) -> None:
        """End whatever a test has left."""
        self.hang_up()
        while left := self.processes():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self._program.wait(PATIENCE)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Whoever starts the tests may ignore these, and that is inherited.
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
