"""One interactive login: a program on a terminal or on pipes of ours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pexpect
import ptyprocess  # type: ignore[import-untyped]

from remote_kernels.errors import SshNotFoundError
from remote_kernels.lines import Lines

if TYPE_CHECKING:
    from remote_kernels.questions import Questions

# ssh ends within milliseconds of a SIGHUP.
_END_PATIENCE = 0.5
# The most that Linux allows to everybody (/proc/sys/fs/pipe-max-size).
_PIPE_SIZE = 1 << 20


class Session:
    """A pexpect child whose output is read line by line.

    Attributes:
        exit_status: how the program ended, as a shell tells it; None while it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        questions: Questions | None = None,
        spawn: Any = pexpect.spawn,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start the program, in a session of its own, so that no signal to us reaches it.

        Args:
            command: its argv.
            questions: that it may ask; None for a program that asks nothing.
            spawn: the kind of pexpect child.
            prepare: called in the child before it becomes the program.

        Raises:
            SshNotFoundError: there is no such program.
        """
        try:
            child = spawn(
                command[0],
                list(command[1:]),
                env=questions.environment() if questions else None,
                echo=False,
                ignore_sighup=False,
                preexec_fn=prepare or _on_terminal,
                timeout=None,
            )
        except pexpect.ExceptionPexpect:
            raise SshNotFoundError(f"there is no program {command[0]} on this machine") from None
        # We wait for conditions ourselves; pexpect's settings of these names do not reach the one
        # that sleeps, and its stubs lack it.
        terminal: Any = child
        terminal.ptyproc.delayafterclose = 0
        terminal.ptyproc.delayafterterminate = 0
        self._begin(child, questions)

    def _begin(self, child: Any, questions: Questions | None = None) -> None:
        self._child = child
        self._questions = questions
        self._child.delaybeforesend = None
        self._lines = Lines()
        self.exit_status: int | None = None

    def fileno(self) -> int:
        """The descriptor to wait on; only while the session is open."""
        return int(self._child.child_fd)

    @property
    def pid(self) -> int:
        """The program's process, which leads a session and a group of its own."""
        return int(self._child.pid)

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
        """Some of what has arrived, without waiting, as whole lines; the last one at the end.

        No more than a piece, however much there is: a program that never ends to talk must neither
        fill the memory nor keep us from all else.
        """
        lines: list[bytes] = []
        if self.exit_status is None and self._readable():
            try:
                lines = self._lines.take(self._child.read_nonblocking(1 << 16, timeout=0))
            except pexpect.EOF:
                self._reap()
                lines = self._lines.take(b"", last=True)
        texts = [_as_text(line) for line in lines]
        if self._questions is None:
            return texts
        return [text for text in texts if not self._questions.take(text)]

    @property
    def descriptors(self) -> list[int]:
        """What to wait for; only while the session is open."""
        return [self.fileno()]

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
        if self._questions is not None:
            self._questions.end()
        if not self._child.terminated:
            self._child.wait()
        if self._child.signalstatus is not None:
            self.exit_status = 128 + self._child.signalstatus
        else:
            self.exit_status = self._child.exitstatus or 0


class PipeSession(Session):
    """A session whose bytes come and go through pipes; the terminal is for the program's messages.

    No more than a pipe's worth may be sent that the program does not take. The program has no
    controlling terminal: when we are killed it is not told, and so it can tell the far side.

    Attributes:
        read_from: descriptor of what the far side sends.
        write_to: descriptor of what it is sent.
    """

    def __init__(self, command: Sequence[str], questions: Questions | None = None) -> None:
        """Start the program; see :class:`Session`."""
        theirs_in, self.write_to = os.pipe()
        self.read_from, theirs_out = os.pipe()
        if sys.platform == "linux":
            # What waits here need not wait in ssh's memory. A user has room for 64 of these.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.read_from, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._data = Lines()
        self._data_ended = False
        pipes = (theirs_in, theirs_out)

        class Child(pexpect.spawn):  # type: ignore[type-arg]
            # All but these are closed before the program starts.
            def _spawnpty(self, args: list[str], **how: Any) -> Any:
                return ptyprocess.PtyProcess.spawn(args, pass_fds=pipes, **how)

        try:
            super().__init__(command, questions, Child, lambda: _on_pipes(*pipes))
        finally:
            for descriptor in pipes:
                os.close(descriptor)

    def send(self, data: bytes) -> None:
        """Write to the program's standard input; what a dead one cannot take is dropped."""
        with contextlib.suppress(OSError):
            os.write(self.write_to, data)

    def read_messages(self) -> list[str]:
        """Some of what the program itself has said."""
        return super().read_lines()

    def read_lines(self) -> list[str]:
        """Some of what the far side has said, and then the program itself."""
        if not self._data_ended and select.select([self.read_from], [], [], 0)[0]:
            data = os.read(self.read_from, 1 << 16)
            self._data_ended = not data
            return [*map(_as_text, self._data.take(data, last=not data))]
        return self.read_messages()

    @property
    def descriptors(self) -> list[int]:
        """What to wait for; only while the session is open."""
        return [self.fileno(), *([] if self._data_ended else [self.read_from])]

    def close(self) -> None:
        """End the program, if it has not ended yet."""
        super().close()
        for descriptor in (self.read_from, self.write_to):
            os.close(descriptor)


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


class AdoptedPipeSession(PipeSession):
    """A :class:`PipeSession` whose program a process of ours started that is gone."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        """Take the session over.

        Args:
            descriptors: to read from, to write to, and of the messages' terminal; they are ours
                from now on.
        """
        from pexpect.fdpexpect import fdspawn

        self.read_from, self.write_to, messages = descriptors
        self._data = Lines()
        self._data_ended = False
        self._begin(fdspawn(messages, timeout=None))

    def close(self) -> None:
        """Close it: the program ends when it has nothing more to read."""
        self._child.close()
        for descriptor in (self.read_from, self.write_to):
            os.close(descriptor)

    def _reap(self) -> None:
        self.exit_status = 255


def _as_text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _on_pipes(read_from: int, write_to: int) -> None:
    """In the child: standard input and output are pipes, and the terminal is nobody's."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminal = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCNOTTY)
    _on_terminal()
    for descriptor, standard in ((read_from, 0), (write_to, 1)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.close(terminal)


def _on_terminal() -> None:
    """In the child: the terminal has no echo, no line limit, no meaning of ^C and ^D."""
    tty.setraw(0)
    # What starts us may ignore these (nohup, a shell's "&"), and that is inherited.
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_DFL)
    os.umask(0o077)
