"""One interactive login: a program on a terminal of ours, which carries bytes as they are."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import tty
from collections.abc import Mapping, Sequence
from typing import Any

import pexpect

# A line that never ends must not fill the memory; what it says is cut there.
_LONGEST_LINE = 1 << 16

# ssh ends within milliseconds of a SIGHUP.
_END_PATIENCE = 0.5


class Session:
    """A pexpect child whose output is read line by line.

    Attributes:
        exit_status: how the program ended, as a shell tells it; None while it runs.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the program, in a session of its own, so that no signal to us reaches it.

        Args:
            command: its argv.
            env: its environment; ours when None.

        Raises:
            FileNotFoundError: there is no such program.
        """
        try:
            child: pexpect.spawn[bytes] = pexpect.spawn(
                command[0],
                list(command[1:]),
                env=None if env is None else dict(env),
                echo=False,
                ignore_sighup=False,
                preexec_fn=_prepare_child,
                timeout=None,
            )
        except pexpect.ExceptionPexpect as error:
            raise FileNotFoundError(str(error)) from None
        # We wait for conditions ourselves; pexpect's settings of these names do not reach the one
        # that sleeps, and its stubs lack it.
        terminal: Any = child
        terminal.ptyproc.delayafterclose = 0
        terminal.ptyproc.delayafterterminate = 0
        self._begin(child)

    def _begin(self, child: Any) -> None:
        self._child = child
        self._child.delaybeforesend = None
        self._partial = b""
        self.exit_status: int | None = None

    def fileno(self) -> int:
        """The descriptor to wait on; only while the session is open."""
        return int(self._child.child_fd)

    @property
    def open(self) -> bool:
        """Whether the program still runs, as far as was read."""
        return self.exit_status is None

    def send(self, data: bytes) -> None:
        """Write to the program's standard input; what a dead one cannot take is dropped."""
        # Reading tells how it ended.
        with contextlib.suppress(OSError):
            self._child.send(data)

    def read_lines(self) -> list[str]:
        """What has arrived, without waiting, as whole lines; also the last one at the end."""
        while self.exit_status is None and self._readable():
            try:
                self._partial += self._child.read_nonblocking(1 << 16, timeout=0)
            except pexpect.EOF:
                self._reap()
        *lines, self._partial = self._partial.split(b"\n")
        if self._partial and (not self.open or len(self._partial) > _LONGEST_LINE):
            lines.append(self._partial)
            self._partial = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def wait_for_end(self, seconds: float) -> None:
        """Read until the program has ended, or the time is over; what it says is dropped."""
        deadline = time.monotonic() + seconds
        while self.open and (left := deadline - time.monotonic()) > 0:
            select.select([self._child.child_fd], [], [], left)
            self.read_lines()

    def let_go(self) -> None:
        """Leave the program to another process that holds the terminal, too."""
        self.exit_status = 0
        child: Any = self._child
        # pexpect's objects end their programs when they are forgotten.
        child.closed = True
        if hasattr(child, "ptyproc"):
            child.ptyproc.closed = True

    def close(self) -> None:
        """End the program, if it has not ended yet; its own clean-up is the far side's business."""
        # SIGHUP is what it would get from a terminal that is closed.
        for signum in (signal.SIGHUP, signal.SIGKILL):
            if self.open:
                self._child.kill(signum)
                self.wait_for_end(_END_PATIENCE)
        if self.open:
            # It is dead, but something of its own still holds the terminal.
            self._reap()
        self._child.close(force=True)

    def _readable(self) -> bool:
        return bool(select.select([self._child.child_fd], [], [], 0)[0])

    def _reap(self) -> None:
        if not self._child.terminated:
            self._child.wait()
        if self._child.signalstatus is not None:
            self.exit_status = 128 + self._child.signalstatus
        else:
            self.exit_status = self._child.exitstatus or 0


class AdoptedSession(Session):
    """A session whose program a process of ours started that is gone.

    How the program ended cannot be learnt: ``exit_status`` is 255 then, as if its ssh had failed.
    """

    def __init__(self, descriptor: int) -> None:
        """Take the session over.

        Args:
            descriptor: of the terminal's master side; it is ours from now on.
        """
        from pexpect.fdpexpect import fdspawn

        self._begin(fdspawn(descriptor, timeout=None))

    def close(self) -> None:
        """Close the terminal: what runs in it gets a SIGHUP."""
        self._child.close()

    def _reap(self) -> None:
        self.exit_status = 255


def _prepare_child() -> None:
    # No echo, no line limit, no meaning of ^C and ^D: all bytes pass.
    tty.setraw(0)
    # What starts us may ignore these (nohup, a shell's "&"), and that is inherited.
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_DFL)
    os.umask(0o077)
