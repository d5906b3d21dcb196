"""What carries sockets over a channel, the same at both ends: a loop, a line, and connections.

The far side runs this file, too: Python 3.6, the standard library alone.
"""

import os
import select
import time
from heapq import heappop, heappush

from remote_kernels.channel import ChannelError
from remote_kernels.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from remote_kernels.channel import Channel, Stream

    Callback = Callable[[], object]

# What one read takes at most; a kernel's flood should cost few of them.
_READ = 1 << 16
# What is taken from the streams for one write: what comes meanwhile and is urgent waits for it.
_WRITE = 1 << 18
# In milliseconds.
_LONGEST_WAIT = 1 << 30
# writev(2) takes no more buffers at once (IOV_MAX is 1024 on Linux and macOS).
_BUFFERS = 1000


class Timer:
    """A call that is to be made once.

    Attributes:
        when: as time.monotonic() tells; None once it was made or cancelled.
    """

    def __init__(self, when: float, callback: "Callback") -> None:
        self.when: float | None = when
        self._callback = callback

    def cancel(self) -> None:
        """Do not make the call."""
        self.when = None

    def call(self) -> None:
        """Make it, if it was not cancelled."""
        if self.when is not None:
            self.when = None
            self._callback()


class Loop:
    """Waits for descriptors and times, and calls whom they concern.

    Attributes:
        before_waiting: called each time before it waits; it waits then, whatever they have done.
        paused: connections that wait for their streams to have room.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, tuple[Callback | None, Callback | None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = 0
        self.before_waiting: list[Callback] = []
        self.paused: set[Connection] = set()

    def watch(
        self, descriptor: int, read: "Callback | None" = None, write: "Callback | None" = None
    ) -> None:
        """Call when a descriptor can be read or written; with neither, forget it."""
        if read is None and write is None:
            if self._watched.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
            return
        self._watched[descriptor] = (read, write)
        self._poll.register(
            descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)
        )

    def after(self, seconds: float, callback: "Callback") -> Timer:
        """Call once, that many seconds from now."""
        when = time.monotonic() + seconds
        timer = Timer(when, callback)
        self._serial += 1
        heappush(self._timers, (when, self._serial, timer))
        return timer

    def turn(self) -> None:
        """Wait until something happens, and make the calls."""
        for connection in list(self.paused):
            connection.watch()
        for callback in self.before_waiting:
            callback()
        for descriptor, events in self._poll.poll(self._patience()):
            # A call before may have ended the watch; an end is read, or met by a write.
            read, write = self._watched.get(descriptor, (None, None))
            if read is not None and events & ~select.POLLOUT:
                read()
                read, write = self._watched.get(descriptor, (None, None))
            if write is not None and events & ~select.POLLIN:
                write()
        if self._timers and self._timers[0][0] <= time.monotonic():
            self._call_timers()

    def _call_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heappop(self._timers)[2].call()

    def _patience(self) -> "float | None":
        """How long to wait, in milliseconds."""
        while self._timers and self._timers[0][2].when is None:
            heappop(self._timers)
        if not self._timers:
            return None
        # Rounded up: before its time nothing is called. poll(2) takes no more than 24 days.
        wait = int((self._timers[0][0] - time.monotonic()) * 1000) + 1
        return min(max(0, wait), _LONGEST_WAIT)


class ChannelLine:
    """A way through which a channel's bytes come and go.

    Attributes:
        heard_at: when something came last, as time.monotonic() tells.
    """

    def __init__(self, loop: Loop, channel: "Channel") -> None:
        """Begin a line, in place of any before.

        Args:
            loop: to wait in.
            channel: that uses it.
        """
        self._loop, self._channel = loop, channel
        self.heard_at = time.monotonic()
        channel.begin_line()

    def take(self, data: bytes) -> None:
        """Take bytes that have arrived.

        Raises:
            ChannelError: the other end does not keep to the protocol.
        """
        self.heard_at = time.monotonic()
        self._channel.receive(data)

    def flush(self) -> None:
        """Write what there is to write, as far as the line takes it."""
        raise NotImplementedError

    @property
    def _is_open(self) -> bool:
        return self.flush in self._loop.before_waiting

    def close(self) -> None:
        """Leave it; the channel has no line then."""
        if self._is_open:
            self._loop.before_waiting.remove(self.flush)
            self._channel.end_line()


class Line(ChannelLine):
    """A line of two descriptors."""

    def __init__(
        self, loop: Loop, channel: "Channel", descriptors: "tuple[int, int]", ended: "Callback"
    ) -> None:
        """Begin; see :class:`ChannelLine`.

        Args:
            loop: to wait in.
            channel: that uses it.
            descriptors: to read and to write; they are made non-blocking and stay the caller's.
            ended: called once when nothing comes any more, or nothing goes.
        """
        super().__init__(loop, channel)
        self._ended = ended
        self._read_from, self._write_to = descriptors
        self._buffers: list[bytes | memoryview] = []
        self._is_full = False
        self._has_ended = False  # nothing more comes, or nothing goes
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
        loop.before_waiting.append(self.flush)
        self._watch()

    def close(self) -> None:
        """See :class:`ChannelLine`; the descriptors stay open."""
        if self._is_open:
            for descriptor in {self._read_from, self._write_to}:
                self._loop.watch(descriptor)
        super().close()

    def _read(self) -> None:
        try:
            data = os.read(self._read_from, _READ)
        except BlockingIOError:
            return
        except OSError:
            # A terminal that has gone away says so by EIO.
            data = b""
        if data:
            self.take(data)
        else:
            self._end()

    def flush(self) -> None:
        """See :class:`ChannelLine`."""
        while not self._is_full:
            if not self._buffers:
                self._buffers = list(self._channel.frames(_WRITE))
                if not self._buffers:
                    break
            try:
                count = os.writev(self._write_to, self._buffers[:_BUFFERS])
            except BlockingIOError:
                self._is_full = True
                self._watch()
            except OSError:
                # Not at once: who is called ends the loop perhaps, which is about to wait.
                self._buffers, self._is_full = [], True
                self._loop.after(0, self._end)
                return
            else:
                self._drop_written(count)

    def _drop_written(self, count: int) -> None:
        for position, buffer in enumerate(self._buffers):
            if count < len(buffer):
                del self._buffers[:position]
                if count:
                    self._buffers[0] = memoryview(self._buffers[0])[count:]
                return
            count -= len(buffer)
        self._buffers = []

    def _room(self) -> None:
        self._is_full = False
        self._watch()
        self.flush()

    def _watch(self) -> None:
        read = None if self._has_ended else self._read
        write = self._room if self._is_full else None
        if self._read_from == self._write_to:
            self._loop.watch(self._read_from, read, write)
        else:
            self._loop.watch(self._read_from, read)
            self._loop.watch(self._write_to, None, write)

    def _end(self) -> None:
        if self._is_open and not self._has_ended:
            self._has_ended = True
            self._watch()
            self._ended()


class Connection:
    """A socket or a terminal whose bytes a stream carries, until either of them ends.

    Attributes:
        stream: that carries them.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        stream: "Stream",
        closed: "Callback",
        seen: "Callable[[bytes], None] | None" = None,
    ) -> None:
        """Begin to carry.

        Args:
            loop: to wait in.
            descriptor: of a connected socket, or of a terminal's master side; it is ours from now
                on.
            stream: that carries it.
            closed: called once when it was closed.
            seen: is shown what was read.
        """
        self.stream = stream
        self._seen = seen
        self._loop, self._descriptor, self._closed = loop, descriptor, closed
        self._out = bytearray()
        self._is_open = True
        os.set_blocking(descriptor, False)
        stream.receiver = self._deliver
        self.watch()

    def watch(self) -> None:
        """Wait for what can be done now."""
        if not self._is_open:
            return
        full = self.stream.full
        if full:
            self._loop.paused.add(self)
        else:
            self._loop.paused.discard(self)
        read = None if full or self.stream.ended else self._read
        self._loop.watch(self._descriptor, read, self._write if self._out else None)

    def deliver_first(self, data: "bytes | bytearray") -> None:
        """Deliver what arrived before there was a socket."""
        if data:
            self._deliver(memoryview(data))

    def close(self) -> None:
        """Close it, and end the stream without what has not been sent."""
        if self._is_open:
            self._close()
            self.stream.cut()

    def release(self) -> int:
        """Carry nothing more; the descriptor is the caller's, if it was not closed before: then -1.

        The stream ends without what has not been sent.
        """
        if not self._is_open:
            return -1
        self._leave()
        self.stream.cut()
        return self._descriptor

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if self._seen is not None:
                self._seen(data)
            self.stream.write(data)
            if self.stream.full:
                self.watch()
            return
        # What was said before still has to arrive.
        self._close()
        self.stream.ignore()
        self.stream.end()

    def _deliver(self, data: memoryview) -> None:
        if not data:
            if not self._out:
                self.close()
            return
        sent = 0
        if not self._out:
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        self._out += data[sent:]
        if self._out:
            self.watch()
        self.stream.consumed(sent)

    def _write(self) -> None:
        try:
            sent = os.write(self._descriptor, self._out)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._out[:sent]
        self.stream.consumed(sent)
        if not self._out:
            if self.stream.peer_ended:
                self.close()
            else:
                self.watch()

    def _close(self) -> None:
        self._leave()
        os.close(self._descriptor)
        self._closed()

    def _leave(self) -> None:
        self._is_open = False
        self._loop.paused.discard(self)
        self._loop.watch(self._descriptor)


class StreamLine(ChannelLine):
    """A line that is a stream of another channel, which never breaks."""

    def __init__(self, loop: Loop, channel: "Channel", stream: "Stream") -> None:
        """Begin; see :class:`ChannelLine`.

        Args:
            loop: to wait in.
            channel: that uses it.
            stream: of another channel; what arrives on it is for the caller to take, and to give.
        """
        super().__init__(loop, channel)
        self._stream = stream
        # Before the other channel looks what it has to send.
        loop.before_waiting.insert(0, self.flush)

    def flush(self) -> None:
        """See :class:`ChannelLine`."""
        while not self._stream.full:
            buffers = self._channel.frames(_WRITE)
            if not buffers:
                return
            for buffer in buffers:
                self._stream.write(bytes(buffer))


def write_line(stream: "Stream", *words: str) -> None:
    """Write words as a line, as :func:`take_lines` takes it; empty ones are left out."""
    line = " ".join(word for word in words if word)
    stream.write(line.encode("utf-8", "surrogateescape") + b"\n")


def take_lines(stream: "Stream", take: "Callable[[str], None]") -> None:
    """Give what arrives on a stream line by line, and an empty line at its end."""
    lines = Lines()

    def receive(data: memoryview) -> None:
        stream.consumed(len(data))
        for line in lines.take(data, last=not data):
            take(line.decode("utf-8", "surrogateescape").rstrip("\r"))
        if not data:
            take("")

    stream.receiver = receive


def numbers(words: "list[str]", *below: int) -> "list[int]":
    """Words of a line as numbers.

    Args:
        words: of the line.
        below: for each word what it has to be less than.

    Raises:
        ChannelError: they are no such numbers, or not so many.
    """
    # Of the longest ones Python makes no number.
    found = [int(word) if word.isdecimal() and len(word) < 19 else -1 for word in words]
    if len(found) != len(below) or not all(0 <= n < most for n, most in zip(found, below)):
        raise ChannelError("what is said makes no sense: {}".format(" ".join(words)[:100]))
    return found
