"""The keeper of a command that needs a terminal: a scheduler's, on the login host.

The command's terminal is the channel's second stream, in both directions. When the keeper ends,
however that happens, the terminal goes away, and the command has to know what that means. Where the
launcher has left a kernel that is kept, the kernel's keeper tells us on the terminal how it stands.
Python 3.6, the standard library alone; see :mod:`~remote_kernels.keeper`.
"""

import os
import pty
import signal
import socket
import time
import tty

from remote_kernels.carrier import Connection, numbers
from remote_kernels.channel import MOST_NUMBERS
from remote_kernels.keeper import BEAT, OUTPUT, Keeper, Order, become, from_hex, reaped
from remote_kernels.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: The rank of the terminal, and of other commands' streams.
TERMINAL_RANK = 1
# For a kernel in the command's job, and for a command whose terminal has gone away.
_KERNEL_PATIENCE, _END_PATIENCE = 4.0, 5.0

#: What the receiver on a terminal says when it waits for a program.
READY = b"@rk-ready"


class CommandOrder:
    """Which command is to be held.

    Attributes:
        command: its argv.
    """

    def __init__(self, command: "Sequence[str]") -> None:
        self.command = command


class CommandKeeper(Keeper):
    """A command, and its terminal."""

    def __init__(self, order: Order, guard: int, parent: int) -> None:
        """Prepare; see :class:`Keeper`."""
        super().__init__(order, guard, parent)
        assert isinstance(order.held, CommandOrder)
        self._command = order.held.command
        self._mark = order.mark
        self._stream = self.channel.open(OUTPUT, TERMINAL_RANK)
        self._pid = 0
        self._others: set[int] = set()
        self._received = 0
        self._status: int | None = None
        self._pty = -1
        self._has_kernel = self._is_finishing = False
        self._lines: Lines | None = None  # of the terminal, where no launcher reads it
        self._kernel: dict[str, Any] = {}

    def begin(self) -> None:
        """Start the command."""
        self.tell("HELLO", os.uname().nodename)
        self._pid, self._pty = pty.fork()
        if self._pid == 0:
            # It changes nothing of what goes through it.
            tty.setraw(0)
            os.umask(0o077)
            become(self._command)
        self._connection = Connection(self.loop, self._pty, self._stream, self._on_terminal_end)
        self.loop.after(BEAT, self._beat)
        self.add_guard()

    def _beat(self) -> None:
        """Let the kernel's keeper know that the job is held, while the launcher says nothing."""
        received, self._received = self._received, self._stream.received
        if self._has_kernel and self._pty >= 0 and received == self._received:
            is_deaf = self._lines is not None and not self._kernel
            self.say_on(self._pty, *["LEAVE"] * is_deaf)
        self.loop.after(BEAT, self._beat)

    def _on_terminal_end(self) -> None:
        self._pty = -1

    def on_words(self, words: "list[str]") -> None:
        """Take what the launcher says."""
        if words[:1] == ["KERNEL"]:
            self._has_kernel = self.is_up = words[1:] == ["YES"]
        elif words[:1] == ["FORGET"]:
            _forget(from_hex(words[1:]))
        elif words[:1] == ["RUN"]:
            (number,) = numbers(words[1:2], MOST_NUMBERS)
            self._run(number, from_hex(words[2:]).split(b"\0"))
        else:
            super().on_words(words)

    def before_waiting(self) -> None:
        """Say how the command has ended, once all that it has printed is on its way."""
        if self._status is not None and self._pty < 0 and not self.told_end:
            self.told_end = True
            self.tell("EXIT", str(self._status))

    def _run(self, number: int, command: "list[bytes]") -> None:
        """Run another command, whose input and output are a stream."""
        near, far = socket.socketpair()
        stream = self.channel.open(number, TERMINAL_RANK)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for standard in (0, 1, 2):
                os.dup2(far.fileno(), standard)
            os.umask(0o077)
            become(command)
        far.close()
        self._others.add(pid)
        Connection(self.loop, near.detach(), stream, lambda: None)

    def on_child(self) -> None:
        """Learn whether the command has ended."""
        for other in list(self._others):
            if reaped(other) is not None:
                self._others.discard(other)
        if self._pid and self._status is None:
            self._status = reaped(self._pid)
            self._look_for_end()

    def on_sigterm(self) -> None:
        """End the command."""
        self.finish()

    def on_wish(self, word: str) -> bool:
        """See :class:`Keeper`; what the kernel's keeper is to do, the launcher tells it, if it can.

        STOP ends the job, and with it all that is in it.
        """
        if word.startswith(("CLAIM", "STAY", "AWAY")):
            return super().on_wish(word)
        if word == "STOP" and self._line is None:
            if self._has_kernel:
                # Who visits it is on the node.
                self.say_on(self._pty, "STOPPED")
            self.finish()
        elif self._line is not None:
            self.tell("ASKED", word)
        elif self._has_kernel and self._pty >= 0:
            return self.say_on(self._pty, word)
        else:
            return False
        return True

    # --- a kernel that is kept ------------------------------------------------------------------

    def on_line(self) -> None:
        """See :class:`Keeper`; the way back to a kernel that was left is another."""
        if self._lines is not None:
            self.tell("PARTED")
        else:
            self._say_whether_alone("BACK")

    def _await_launcher(self, closed: bool) -> None:
        if not closed and self._lines is None:
            self._say_whether_alone("ALONE")
        super()._await_launcher(closed)

    def _say_whether_alone(self, word: str) -> None:
        """Let the keeper of a kernel that is kept hear what that publishes, or not any more."""
        if self._order.keeps and self._has_kernel and self._pty >= 0:
            self.say_on(self._pty, word)

    def on_parted(self) -> None:
        """See :class:`Keeper`; from now on the kernel's keeper decides when it ends."""
        if self._lines is not None or not self._has_kernel or self._connection.release() < 0:
            return
        self._lines = Lines()
        self._lease_seconds = None
        self.say_on(self._pty, "LEAVE")
        self.loop.watch(self._pty, self._read_terminal_line)

    def _read_terminal_line(self) -> None:
        assert self._lines is not None
        data = self._read_pty()
        if data is None:
            return
        for line in self._lines.take(data):
            mark, _, rest = line.partition(b" STATUS ")
            if mark == self._mark.encode():
                self._on_status(rest.rstrip(b"\r"))
            elif READY in line:
                # The kernel has ended, and the node waits for another.
                data = b""
        if not data:
            self._has_kernel = False
            # The scheduler may have killed the keeper on the node before it could.
            _forget(str(self._kernel.get("file") or "").encode("utf-8", "surrogateescape"))
            self.finish()

    def _on_status(self, text: bytes) -> None:
        # Not needed but here.
        import json

        try:
            kernel = dict(json.loads(bytes.fromhex(text.decode("ascii")).decode("ascii")))
            about = json.loads(self._about)
        except (ValueError, TypeError):
            # Something has come in between.
            return
        if kernel.get("connected"):
            self.visited_at = time.time()
        elif self._kernel.get("connected"):
            self.visited_at = 0.0
        self._kernel = about["kernel"] = kernel
        self._about = json.dumps(about)

    def status(self) -> "dict[str, object]":
        """See :class:`Keeper`; of a kernel that was left, its own keeper knows the lease."""
        known = super().status()
        if self._lines is not None:
            known["lease_left"] = self._kernel.get("lease_left")
        return known

    # --- its end --------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the terminal, and be over when the command has ended of that."""
        if self._is_finishing:
            return
        self._is_finishing = True
        is_ours = self._lines is not None or self._connection.release() >= 0
        if self._has_kernel and is_ours:
            # Where the command takes the whole job with it, the keeper there could not clean up.
            self.say_on(self._pty, "END")
            self._printed = b""
            self.loop.watch(self._pty, self._await_receiver)
            self.loop.after(_KERNEL_PATIENCE, self._hang_up)
        elif is_ours:
            self._hang_up()
        else:
            self._await_end()

    def _read_pty(self) -> "bytes | None":
        """What the terminal gives; nothing if it has ended, and None if there is nothing yet."""
        try:
            return os.read(self._pty, 1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _await_receiver(self) -> None:
        """Wait for the receiver on the node, which the kernel's keeper has left."""
        data = self._read_pty()
        if data is None:
            return
        self._printed = (self._printed + data)[-len(READY) - len(data) :]
        if not data or READY in self._printed:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._pty >= 0:
            self.loop.watch(self._pty)
            os.close(self._pty)
            self._pty = -1
            self._await_end()

    def _await_end(self) -> None:
        self._look_for_end()
        self.loop.after(_END_PATIENCE, self._end)

    def _look_for_end(self) -> None:
        has_hung_up = self._is_finishing and self._pty < 0
        if self._status is not None and has_hung_up:
            self._end()

    def _end(self) -> None:
        self.over = True

    def clean_up(self) -> None:
        """The terminal ends with this process, and so do the other commands."""
        if self._pid:
            _hang_up_all(self._pid)
        for other in self._others:
            os.kill(other, signal.SIGTERM)


def _hang_up_all(group: int) -> None:
    """What looks at a job that waits sleeps most of the time, and would sleep on."""
    try:
        # More than once: a shell's child that has not become its program yet loses the signal.
        for _ in range(20):
            os.killpg(group, signal.SIGHUP)
            time.sleep(0.01)
    except OSError:
        # All have gone.
        pass


def _forget(path: bytes) -> None:
    """Remove a connection file that a keeper has left in a home which its node and we share."""
    try:
        os.unlink(path)
    except (OSError, ValueError):
        # It was removed, or this is another home, or no path.
        pass
