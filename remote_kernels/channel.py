"""The channel: numbered streams over a line that may break, stall, or carry others' text.

A stream is a sequence of bytes in each direction. Its bytes are numbered from 0, and its end counts
as one more. A sender keeps what it has sent until the other end has acknowledged it, which that
does once its owner has consumed it; no more than a WINDOW is sent beyond that. When a new line
begins, both ends say how far they have come, and go on from there. remote-kernels-channel(7) is the
specification.

Nothing here reads, writes or waits: bytes of the line come in by :meth:`Channel.receive` and go out
by :meth:`Channel.frames`. The far side runs this file, too: Python 3.6, the standard library alone.
"""

import struct
import zlib
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Buffer = bytes | memoryview
    Receiver = Callable[[memoryview], None]

VERSION = 1
#: Bytes of a stream that may be on their way or not yet consumed.
WINDOW = 1 << 20
#: The most bytes that one frame carries.
LARGEST = 1 << 16
#: The most streams that a channel has at a time.
MOST_STREAMS = 4096
#: A stream's number is less.
MOST_NUMBERS = 1 << 32
#: The random bytes by which the ends know that they are each other's.
TOKEN_SIZE = 16

HELLO, DATA, END, ACK, PING, PONG, REFUSE, PACKED = range(1, 9)
_KINDS = frozenset(range(1, 9))
# Beside the kind: a checksum follows what the frame carries.
_CHECKED = 0x80

_MAGIC = b"\xa5RK"
_HEAD = struct.Struct(">3sBIQI")  # magic, kind, stream, offset, length of what it carries
_CHECK = struct.Struct(">I")
_POSITION = struct.Struct(">IQ")
_FIRST_POSITION = 2 + TOKEN_SIZE  # in a HELLO, after version, question and token
HEADER_SIZE = _HEAD.size + _CHECK.size
#: How the first frame of a line begins that may carry others' text.
FIRST_OF_LINE = _MAGIC + bytes([HELLO | _CHECKED])

# Contents from so many bytes on are packed, and sent so if that leaves no more than this of them;
# else as many are sent as they are before it is tried again.
_PACKED_FROM, _WORTH_IT, _NOT_TRIED = 1 << 10, 0.75, 15

# Smaller pieces are gathered into blocks, so that many of them take little memory.
_GATHERED = 1 << 14


class ChannelError(Exception):
    """The other end does not keep to the protocol, or cannot go on: the line is of no more use."""


class Kept:
    """What was written to a stream, from the first byte that is not acknowledged.

    Attributes:
        start: offset of the first byte.
        end: offset after the last byte.
    """

    def __init__(self) -> None:
        self.start = self.end = 0
        self._blocks: list[bytes | bytearray] = []
        self._offsets: list[int] = []  # of the blocks

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: bytes) -> None:
        """Keep more."""
        last = self._blocks[-1] if self._blocks else b""
        if isinstance(last, bytearray) and len(last) + len(data) <= LARGEST:
            last += data
        else:
            if isinstance(last, bytearray):
                self._blocks[-1] = bytes(last)
            self._offsets.append(self.end)
            self._blocks.append(data if len(data) >= _GATHERED else bytearray(data))
        self.end += len(data)

    def read(self, offset: int, most: int) -> "Buffer":
        """Some bytes from an offset on, at least one; what follows is not changed by it."""
        at = bisect_right(self._offsets, offset) - 1
        block, place = self._blocks[at], offset - self._offsets[at]
        if isinstance(block, bytearray):
            # One that still grows must not be held.
            return bytes(block[place : place + most])
        return memoryview(block)[place : place + most]

    def discard_before(self, offset: int) -> None:
        """Forget what lies before an offset."""
        self.start = offset
        at = len(self._blocks) if offset == self.end else bisect_right(self._offsets, offset) - 1
        del self._blocks[:at], self._offsets[:at]

    def discard_from(self, offset: int) -> None:
        """Forget what lies behind an offset."""
        while self._offsets and self._offsets[-1] >= offset:
            del self._blocks[-1], self._offsets[-1]
        if self._blocks:
            self._blocks[-1] = bytes(self._blocks[-1][: offset - self._offsets[-1]])
        self.end = offset


class Spool:
    """Where a stream puts what does not fit into its window; this one has no room."""

    @property
    def full(self) -> bool:
        """Whether no more should be put here."""
        return True

    def __len__(self) -> int:
        return 0

    def put(self, data: bytes) -> None:
        """Take bytes behind those that are there, whether it is full or not."""
        raise NotImplementedError

    def take(self, most: int) -> bytes:
        """Give the first bytes back."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget all."""


class Stream:
    """One stream of a channel, both directions.

    Attributes:
        number: the same at both ends.
        rank: streams of a lower rank are sent first.
        receiver: takes what arrives, which is valid only during the call, and b"" at the end; None
            throws it away.
        written: how many bytes the owner has written.
        ended: the owner has ended its direction.
        peer_ended: all of the other direction has arrived.
        is_busy: there is something that may be sent now.
        not_packed: how many contents are to be sent as they are.
    """

    def __init__(self, channel: "Channel", number: int, rank: int, spool: Spool) -> None:
        self.number = number
        self.rank = rank
        self.receiver: Receiver | None = None
        self.written = 0
        self.ended = self.peer_ended = False
        self.not_packed = 0
        self._channel = channel
        self._spool = spool
        # Offsets. Of what is sent: acknowledged, to be sent next, and the highest that ever was.
        self._kept = Kept()
        self._acked = self._sent = self._highest = 0
        # Of what arrives: the next one, what was consumed, and what of that the other end knows.
        self._received = self._consumed = self._said = 0
        self._asked = False
        self.is_busy = False

    # --- for its owner --------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the owner should stop writing for now; what it writes all the same is kept."""
        return len(self._kept) >= WINDOW and self._spool.full

    def write(self, data: bytes) -> None:
        """Send bytes; after the end they are dropped."""
        if self.ended or not data:
            return
        self.written += len(data)
        if len(self._spool) or (len(self._kept) >= WINDOW and not self._spool.full):
            self._spool.put(data)
        else:
            self._kept.append(data)
            if not self.is_busy:
                self._look()

    def end(self) -> None:
        """Write nothing more."""
        self.ended = True
        self._look()
        self._channel.forget_if_done(self)

    def ignore(self) -> None:
        """Throw away what arrives, and what has arrived."""
        self.receiver = None
        self.consumed(max(0, self._received - self.peer_ended - self._consumed))

    def cut(self) -> None:
        """End it at once, without what was not sent yet, and throw away what still arrives."""
        if not self.ended:
            self._spool.clear()
            self.written = max(self._kept.start, min(self._highest, self._kept.end))
            self._kept.discard_from(self.written)
        self.ignore()
        self.end()

    def consumed(self, count: int) -> None:
        """Say that so many bytes that arrived take no more room here."""
        self._consumed += count
        if self.peer_ended and self._consumed == self._received - 1:
            self._consumed += 1
        if self._consumed == self._received == self._said:
            return
        if self.peer_ended or self._consumed - self._said >= WINDOW // 4:
            self._channel.owe(self)

    def restore(self, sent: int, received: int) -> None:
        """Go on as the stream of an owner that is gone; what that has sent has arrived."""
        self.written = sent
        self._kept.start = self._kept.end = sent
        self._acked = self._sent = self._highest = sent
        self._received = self._consumed = self._said = received

    # --- for the channel ------------------------------------------------------------------------

    def _look(self) -> None:
        """See whether there is something that may be sent now."""
        if self._sent < self._kept.end:
            busy = self._sent - self._acked < WINDOW
        else:
            busy = self.ended and self._sent == self.written
        if busy != self.is_busy:
            self.is_busy = busy
            self._channel.busy_or_not(self)

    @property
    def done(self) -> bool:
        """Whether both directions have ended, and each end knows that of the other."""
        heard = self.peer_ended and self._said == self._received
        return heard and self.ended and self._acked > self.written

    @property
    def received(self) -> int:
        """Offset of the byte that is to arrive next."""
        return self._received

    @property
    def waits(self) -> bool:
        """Whether something that went before what has arrived is missing."""
        return self._asked

    def next_frame(self) -> "tuple[int, int, Buffer]":
        """Kind, offset and content of the next frame; only where there is something sendable."""
        offset = self._sent
        if offset == self._kept.end:
            self._sent += 1
            self._highest = max(self._highest, self._sent)
            self._look()
            return END, offset, b""
        part = self._kept.read(offset, min(LARGEST, WINDOW - (offset - self._acked)))
        self._sent += len(part)
        self._highest = max(self._highest, self._sent)
        self._look()
        return DATA, offset, part

    def acknowledged(self, offset: int) -> None:
        """The other end has consumed all before an offset."""
        if offset > self._highest:
            raise ChannelError("what was never sent was acknowledged")
        if offset <= self._acked:
            return
        self._acked = offset
        self._sent = max(self._sent, offset)
        self._kept.discard_before(min(offset, self._kept.end))
        while len(self._spool) and len(self._kept) < WINDOW:
            self._kept.append(self._spool.take(LARGEST))
        self._look()
        self._channel.forget_if_done(self)

    def go_on_from(self, offset: int) -> None:
        """The other end has all before an offset, and waits for what follows."""
        if not self._kept.start <= offset <= self._highest:
            raise ChannelError(f"stream {self.number} cannot go on at {offset}")
        self._sent = offset
        self._look()

    def data_arrived(self, offset: int, data: memoryview) -> bool:
        """Take data; False if the other end has to be asked for what went before."""
        if offset > self._received:
            return self._is_asked()
        data = data[self._received - offset :]
        if not data:
            return True
        if self.peer_ended:
            raise ChannelError(f"stream {self.number} goes on after its end")
        self._asked = False
        self._received += len(data)
        if self._received - self._said > WINDOW:
            raise ChannelError(f"stream {self.number} was sent more than its window")
        if self.receiver is None:
            self.consumed(len(data))
        else:
            self.receiver(data)
        return True

    def end_arrived(self, offset: int) -> bool:
        """Take the end; False if the other end has to be asked for what went before."""
        if offset > self._received:
            return self._is_asked()
        if not self.peer_ended:
            if offset < self._received:
                raise ChannelError(f"stream {self.number} ends before its end")
            self._asked = False
            self.peer_ended = True
            self._received += 1
            self.consumed(0)
            if self.receiver is not None:
                self.receiver(memoryview(b""))
        return True

    def _is_asked(self) -> bool:
        before, self._asked = self._asked, True
        return before

    def acknowledgement(self) -> int:
        """The offset before which all is consumed, which the other end is told now."""
        self._said = self._consumed
        return self._said

    @property
    def owes(self) -> bool:
        """Whether the other end does not know of all that was consumed."""
        return self._said < self._consumed


class Channel:
    """One end of a channel.

    Attributes:
        token: known to both ends, and to nobody else.
        on_terminal: see below.
        streams: those that have not ended, by number.
        ready: the other end has said how far it has come, so that streams are sent.
        pong: the number of the last PING that was answered.
        noise: takes what stood between frames.
    """

    def __init__(self, token: bytes, on_terminal: bool = False) -> None:
        """Begin without a line.

        Args:
            token: TOKEN_SIZE random bytes.
            on_terminal: it goes through a scheduler. Others may write into its terminal, so the
                frames that go out carry a checksum of all; and a megabyte costs schedulers much
                more time than it takes to pack it, so what can be packed is.
        """
        self.token = token
        self.on_terminal = on_terminal
        self.streams: dict[int, Stream] = {}
        self.ready = False
        self.pong = 0
        self.noise: Callable[[bytes], None] = _dropped
        self._busy: list[Stream] = []  # by rank
        # What goes before all streams: one answer is enough, however often was asked.
        self._hello: bool | None = None  # whether it asks
        self._pong: int | None = None
        self._first: list[Buffer] = []
        self._owed: dict[int, Stream] = {}
        self._in = bytearray()
        self._has_line = self._in_noise = False

    def open(self, number: int, rank: int, spool: "Spool | None" = None) -> Stream:
        """A new stream; the other end has to open it, too.

        Args:
            number: that no stream of this channel has had.
            rank: streams of a lower rank are sent first.
            spool: for what does not fit into the window.

        Raises:
            ChannelError: there are too many, or it cannot have that number.
        """
        is_new = 0 <= number < MOST_NUMBERS and number not in self.streams
        if len(self.streams) >= MOST_STREAMS or not is_new:
            raise ChannelError(f"stream {number} cannot be opened")
        stream = Stream(self, number, rank, Spool() if spool is None else spool)
        self.streams[number] = stream
        return stream

    @property
    def positions(self) -> "dict[int, tuple[int, int]]":
        """Of each stream how much was written and has arrived, for :meth:`Stream.restore`."""
        return {s.number: (s.written, s.received) for s in self.streams.values()}

    @property
    def unread(self) -> bytes:
        """The first part of a frame that has not arrived whole."""
        return bytes(self._in)

    def busy_or_not(self, stream: Stream) -> None:
        """A stream has something to send, or no longer."""
        if stream.is_busy:
            self._busy.append(stream)
            self._busy.sort(key=_rank)
        else:
            self._busy.remove(stream)

    # --- the line -------------------------------------------------------------------------------

    def begin_line(self) -> None:
        """There is a new line; whatever the old one has lost is sent again."""
        self.end_line()
        self._has_line = True
        self._say_hello()
        # What was said on the old line may not have been heard.
        self._owed.update(self.streams)

    def end_line(self) -> None:
        """There is no line; what is written is kept."""
        self._has_line = self.ready = self._in_noise = False
        self._hello = self._pong = None
        self._first = []
        self._in = bytearray()

    def ping(self, number: int) -> None:
        """Ask the other end whether it is there; ``pong`` becomes the number when it says so."""
        if self._has_line:
            self._first.append(self._head(PING, 0, number, b""))
            self._ask_again()

    def refuse(self, why: str) -> None:
        """Tell the other end that it can come to nothing, and why."""
        self._first += self._frame(REFUSE, 0, 0, why.encode("utf-8", "replace")[:LARGEST])

    @property
    def has_frames(self) -> bool:
        """Whether there is something to send."""
        answers = self._hello is not None or self._pong is not None
        waiting = self._first or (self.ready and (self._owed or self._busy))
        return bool(self._has_line and (answers or waiting))

    def frames(self, budget: int) -> "list[Buffer]":
        """What is to be sent next, as buffers that stay as they are.

        Args:
            budget: about how many bytes; what is urgent goes before what is not asked for yet.
        """
        if not self._has_line:
            return []
        buffers = self._urgent()
        if self.ready:
            for stream in self._owed.values():
                buffers.append(self._head(ACK, stream.number, stream.acknowledgement(), b""))
                self.forget_if_done(stream)
            self._owed.clear()
            for stream, (kind, offset, part) in self._next_parts(budget):
                if self.on_terminal and len(part) >= _PACKED_FROM:
                    kind, part = _packed(stream, part)
                buffers += self._frame(kind, stream.number, offset, part)
        return buffers

    def _urgent(self) -> "list[Buffer]":
        buffers: list[Buffer] = []
        if self._hello is not None:
            streams = self.streams.values()
            positions = b"".join(_POSITION.pack(s.number, s.received) for s in streams)
            buffers += self._frame(
                HELLO, 0, 0, bytes([VERSION, self._hello]) + self.token + positions
            )
        if self._pong is not None:
            buffers.append(self._head(PONG, 0, self._pong, b""))
        buffers += self._first
        self._hello = self._pong = None
        self._first = []
        return buffers

    def _next_parts(self, budget: int) -> "Iterator[tuple[Stream, tuple[int, int, Buffer]]]":
        while budget > 0 and self._busy:
            stream = self._busy[0]
            found = stream.next_frame()
            if stream.is_busy and len(self._busy) > 1:
                # Those of one rank take turns.
                self._busy.append(self._busy.pop(0))
                self._busy.sort(key=_rank)
            budget -= HEADER_SIZE + len(found[2])
            yield stream, found

    def receive(self, data: bytes) -> None:
        """Take what has come over the line.

        Raises:
            ChannelError: the other end does not keep to the protocol.
        """
        self._in += data
        place = 0
        with memoryview(self._in) as view:
            while True:
                skipped, size = self._find_frame(view, place)
                if skipped:
                    self.noise(bytes(view[place : place + skipped]))
                    self._in_noise = True
                    place += skipped
                if not size:
                    break
                with view[place : place + size] as frame:
                    self._take(frame)
                place += size
        del self._in[:place]

    # --- frames ---------------------------------------------------------------------------------

    def _find_frame(self, view: memoryview, place: int) -> "tuple[int, int]":
        """How many bytes are none of a frame, and the size of the whole frame that follows."""
        start = place
        while True:
            found = self._in.find(_MAGIC, place)
            if found < 0:
                # Its first bytes may be there.
                keep = next((n for n in (2, 1) if self._in.endswith(_MAGIC[:n], place)), 0)
                return len(view) - keep - start, 0
            if len(view) - found < HEADER_SIZE:
                return found - start, 0
            with view[found:] as rest:
                size = _whole_size(rest)
                if size > len(rest):
                    return found - start, 0
                if size and _is_intact(rest, size):
                    return found - start, size
            place = found + 1

    def _take(self, frame: memoryview) -> None:
        _, kind, number, offset, length = _HEAD.unpack_from(frame)
        content = frame[HEADER_SIZE : HEADER_SIZE + length]
        kind &= ~_CHECKED
        if self._in_noise and kind != HELLO:
            # What was no frame may have been one.
            self._in_noise = False
            self._say_hello(asks=not self.ready)
        if kind == HELLO:
            self._take_hello(content)
        elif kind == PING:
            self._pong = offset
            self._ask_again()
        elif kind == PONG:
            self.pong = max(self.pong, offset)
        elif kind == REFUSE:
            why = bytes(content).decode("utf-8", "replace")
            raise ChannelError(f"the other end refused: {why}")
        elif number in self.streams and self.ready:
            self._take_of_stream(self.streams[number], kind, offset, content)

    def _take_of_stream(self, stream: Stream, kind: int, offset: int, content: memoryview) -> None:
        if kind == ACK:
            stream.acknowledged(offset)
        elif kind == END:
            if not stream.end_arrived(offset):
                self._say_hello()
        elif not stream.data_arrived(offset, _unpacked(content) if kind == PACKED else content):
            self._say_hello()

    def _take_hello(self, content: memoryview) -> None:
        if len(content) < _FIRST_POSITION or content[0] != VERSION:
            self.refuse(f"version {VERSION} is spoken here")
            raise ChannelError("the other end speaks another version of the channel")
        if bytes(content[2:_FIRST_POSITION]) != self.token:
            self.refuse("this is another channel")
            raise ChannelError("the other end is that of another channel")
        rest = content[_FIRST_POSITION:]
        if len(rest) % _POSITION.size:
            raise ChannelError("a HELLO is cut off")
        said = dict(_POSITION.iter_unpack(rest))
        self._in_noise = False
        self.ready = True
        for stream in list(self.streams.values()):
            if stream.number in said:
                stream.go_on_from(said[stream.number])
            elif stream.ended and stream.peer_ended:
                # The other end has forgotten it, which it does when all is done.
                self._forget(stream)
            else:
                # It will hear of it.
                stream.go_on_from(0)
        if content[1]:
            self._say_hello()

    def _say_hello(self, asks: bool = False) -> None:
        """Say how far we have come; it asks when the other end's own was lost."""
        self._hello = asks or bool(self._hello)

    def _ask_again(self) -> None:
        """Now and then: what is missing may have been missed twice; what is owed becomes known."""
        if not self.ready or any(s.waits for s in self.streams.values()):
            self._say_hello(asks=not self.ready)
        for stream in self.streams.values():
            if stream.owes:
                self.owe(stream)

    def owe(self, stream: Stream) -> None:
        """Acknowledge what a stream's owner has consumed."""
        self._owed[stream.number] = stream

    def forget_if_done(self, stream: Stream) -> None:
        """Forget a stream of which both ends know that it has ended."""
        if stream.done:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        if self.streams.pop(stream.number, None) is not None and stream.is_busy:
            self._busy.remove(stream)

    def _frame(self, kind: int, number: int, offset: int, content: "Buffer") -> "list[Buffer]":
        head = self._head(kind, number, offset, content)
        if not content:
            return [head]
        if not self.on_terminal:
            return [head, content]
        return [head, content, _CHECK.pack(zlib.crc32(content))]

    def _head(self, kind: int, number: int, offset: int, content: "Buffer") -> bytes:
        if self.on_terminal and content:
            kind |= _CHECKED
        head = _HEAD.pack(_MAGIC, kind, number, offset, len(content))
        return head + _CHECK.pack(zlib.crc32(head))


def _whole_size(view: memoryview) -> int:
    """The size of the frame that begins here; 0 if this is no header of one."""
    magic, kind, _, _, length = _HEAD.unpack_from(view)
    (check,) = _CHECK.unpack_from(view, _HEAD.size)
    if magic != _MAGIC or kind & ~_CHECKED not in _KINDS or length > LARGEST:
        return 0
    if zlib.crc32(view[: _HEAD.size]) != check:
        return 0
    return HEADER_SIZE + int(length) + (_CHECK.size if kind & _CHECKED else 0)


def _is_intact(view: memoryview, size: int) -> bool:
    """Whether what a frame carries is what was sent, as far as that can be told."""
    if not view[3] & _CHECKED:
        return True
    check: int = _CHECK.unpack_from(view, size - _CHECK.size)[0]
    return zlib.crc32(view[HEADER_SIZE : size - _CHECK.size]) == check


def _packed(stream: Stream, content: "Buffer") -> "tuple[int, Buffer]":
    """Kind and content of a frame that carries data of a stream."""
    if stream.not_packed:
        stream.not_packed -= 1
        return DATA, content
    packed = zlib.compress(content, 1)
    if len(packed) <= _WORTH_IT * len(content):
        return PACKED, packed
    stream.not_packed = _NOT_TRIED
    return DATA, content


def _unpacked(content: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(content, LARGEST)
    except zlib.error as error:
        raise ChannelError(f"a frame cannot be unpacked: {error}") from None
    if not unpacker.eof:
        raise ChannelError("a frame is not all, or holds more than a frame may")
    return memoryview(data)


def _rank(stream: Stream) -> int:
    return stream.rank


def _dropped(noise: bytes) -> None:
    """Nobody wants it."""
