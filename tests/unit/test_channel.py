"""The channel alone: two ends over a line that is cut, split, delayed, repeated and talked into."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_kernels import channel as protocol
from remote_kernels.channel import Channel, ChannelError, Spool, Stream

TOKEN = b"0123456789abcdef"
NOISE = b"slurmstepd: error: *** STEP 1.0 ON n1 CANCELLED ***\r\n\xa5\xa5RK"


class MemorySpool(Spool):
    """A spool as the keeper has one, but for the file."""

    def __init__(self, most: int) -> None:
        self.data = bytearray()
        self.most = most

    @property
    def full(self) -> bool:
        return len(self.data) >= self.most

    def __len__(self) -> int:
        return len(self.data)

    def put(self, data: bytes) -> None:
        self.data += data

    def take(self, most: int) -> bytes:
        taken, self.data = bytes(self.data[:most]), self.data[most:]
        return taken

    def clear(self) -> None:
        self.data.clear()


class End:
    """One end of the channel, with all that its streams were given."""

    def __init__(self, on_terminal: bool) -> None:
        self.channel = Channel(TOKEN, on_terminal)
        self.streams: list[Stream] = []
        self.sent: list[bytearray] = []
        self.arrived: list[bytearray] = []
        self.ends: list[int] = []
        self.not_consumed: list[int] = []
        self.noise = bytearray()
        self.channel.noise = self.noise.extend

    def open(self, spool: Spool | None = None) -> None:
        number = len(self.streams)
        stream = self.channel.open(number, rank=number % 3, spool=spool)
        arrived = bytearray()

        def receive(data: memoryview) -> None:
            if data:
                arrived.extend(data)
                self.not_consumed[number] += len(data)
            else:
                self.ends[number] += 1

        stream.receiver = receive
        self.streams.append(stream)
        self.sent.append(bytearray())
        self.arrived.append(arrived)
        self.ends.append(0)
        self.not_consumed.append(0)

    def write(self, number: int, data: bytes) -> None:
        if not self.streams[number].ended:
            self.sent[number] += data
        self.streams[number].write(data)

    def consume(self, number: int) -> None:
        count, self.not_consumed[number] = self.not_consumed[number], 0
        if count:
            self.streams[number].consumed(count)

    def on_line(self, budget: int) -> bytes:
        return b"".join(self.channel.frames(budget))


class Pair:
    """Two ends and the line between them."""

    def __init__(self, streams: int = 3, on_terminal: bool = False) -> None:
        self.ends = (End(on_terminal), End(on_terminal))
        for _ in range(streams):
            self.open()
        self.lines = (bytearray(), bytearray())  # from the first to the second, and back
        self.cut()

    def open(self) -> None:
        for end in self.ends:
            end.open(MemorySpool(1 << 22))

    def cut(self) -> None:
        for end, line in zip(self.ends, self.lines, strict=True):
            line.clear()
            end.channel.begin_line()

    def fill(self, side: int, budget: int) -> None:
        self.lines[side].extend(self.ends[side].on_line(budget))

    def carry(self, side: int, count: int) -> None:
        line = self.lines[side]
        data = bytes(line[:count])
        del line[:count]
        self.ends[1 - side].channel.receive(data)

    def settle(self) -> None:
        """Let everything arrive."""
        for number in itertools.count(1):
            for side in (0, 1):
                self.fill(side, 1 << 20)
                self.carry(side, 1 << 30)
                for stream in range(len(self.ends[side].streams)):
                    self.ends[side].consume(stream)
            if not any(self.lines) and not any(e.channel.has_frames for e in self.ends):
                if number > 2 and all(e.channel.pong >= number - 2 for e in self.ends):
                    return
                for end in self.ends:
                    end.channel.ping(number)
            assert number < 1000

    def assert_equal(self) -> None:
        for near, far in (self.ends, self.ends[::-1]):
            assert near.sent == far.arrived


def blob(size: int) -> bytes:
    """Bytes of which no two parts are alike."""
    return b"".join(struct.pack(">I", n) for n in range(size // 4 + 1))[:size]


SIDE = st.integers(0, 1)
STREAM = st.integers(0, 2)
SIZE = st.one_of(st.integers(1, 40), st.integers(1, 200_000))
ACTIONS = st.one_of(
    st.tuples(st.just("write"), SIDE, STREAM, SIZE),
    st.tuples(st.just("fill"), SIDE, SIZE),
    st.tuples(st.just("carry"), SIDE, SIZE),
    st.tuples(st.just("consume"), SIDE, STREAM),
    st.tuples(st.just("cut")),
    st.tuples(st.just("end"), SIDE, STREAM),
    st.tuples(st.just("ping"), SIDE),
    st.tuples(st.just("again"), SIDE, SIZE),
    st.tuples(st.just("noise"), SIDE, SIZE),
)


def act(pair: Pair, on_terminal: bool, action: tuple[Any, ...]) -> None:
    """Do what hypothesis wants."""
    match action:
        case ["write", side, stream, size]:
            pair.ends[side].write(stream, blob(size))
        case ["fill", side, size]:
            pair.fill(side, size)
        case ["carry", side, size]:
            pair.carry(side, size)
        case ["consume", side, stream]:
            pair.ends[side].consume(stream)
        case ["cut"]:
            pair.cut()
        case ["end", side, stream]:
            pair.ends[side].streams[stream].end()
        case ["ping", side]:
            pair.ends[side].channel.ping(1)
        case ["again", side, size]:
            # A line that says something twice, from anywhere on.
            pair.lines[side].extend(pair.lines[side][-size:] if on_terminal else b"")
        case ["noise", side, size]:
            if on_terminal:
                at = size % (len(pair.lines[side]) + 1)
                pair.lines[side][at:at] = NOISE


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans(), st.lists(ACTIONS, max_size=60))
def test_every_byte_arrives_once_and_in_order(
    on_terminal: bool, actions: list[tuple[Any, ...]]
) -> None:
    pair = Pair(on_terminal=on_terminal)
    for action in actions:
        act(pair, on_terminal, action)
    pair.settle()
    pair.assert_equal()
    for end in pair.ends:
        for number, stream in enumerate(end.streams):
            assert end.ends[number] == pair.ends[end is pair.ends[0]].streams[number].ended
            assert stream._kept.end == stream.written
            if stream.ended and stream.peer_ended:
                assert number not in end.channel.streams


# --- what a peer may do wrong --------------------------------------------------------------------


def joined() -> Pair:
    """Two ends that have met."""
    pair = Pair()
    pair.settle()
    return pair


def frame(kind: int, number: int, offset: int, content: bytes = b"") -> bytes:
    """A frame as the specification has it."""
    head = struct.pack(">3sBIQI", b"\xa5RK", kind, number, offset, len(content))
    return head + struct.pack(">I", zlib.crc32(head)) + content


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (frame(protocol.ACK, 0, 1), "what was never sent was acknowledged"),
        (frame(protocol.HELLO, 0, 0, b""), "another version"),
        (frame(protocol.HELLO, 0, 0, bytes([9, 0]) + TOKEN), "another version"),
        (frame(protocol.HELLO, 0, 0, bytes([1, 0]) + TOKEN[::-1]), "another channel"),
        (frame(protocol.HELLO, 0, 0, bytes([1, 0]) + TOKEN + b"123"), "cut off"),
        (
            frame(protocol.HELLO, 0, 0, bytes([1, 0]) + TOKEN + struct.pack(">IQ", 0, 7)),
            "cannot go on at 7",
        ),
        (frame(protocol.REFUSE, 0, 0, b"go away"), "go away"),
        (frame(protocol.END, 0, 0) + frame(protocol.DATA, 0, 0, b"xx"), "after its end"),
        (frame(protocol.DATA, 0, 0, b"xx") + frame(protocol.END, 0, 1), "before its end"),
        (frame(protocol.PACKED, 0, 0, b"none of zlib's"), "cannot be unpacked"),
        (frame(protocol.PACKED, 0, 0, zlib.compress(b"xx")[:-1]), "is not all"),
        (frame(protocol.PACKED, 0, 0, zlib.compress(bytes(1 << 20))), "holds more"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_told_from_one_that_does_not(
    what: bytes, said: str
) -> None:
    far = joined().ends[1].channel
    with pytest.raises(ChannelError, match=said):
        far.receive(what)


@pytest.mark.parametrize("said", [bytes([9, 0]) + TOKEN, bytes([1, 0]) + TOKEN[::-1]])
def test_a_peer_of_another_kind_is_told_why(said: bytes) -> None:
    near, far = (end.channel for end in joined().ends)
    with pytest.raises(ChannelError):
        far.receive(frame(protocol.HELLO, 0, 0, said))
    with pytest.raises(ChannelError, match="the other end refused: "):
        near.receive(b"".join(far.frames(1 << 20)))


def test_a_peer_that_floods_is_stopped_at_the_window() -> None:
    end = joined().ends[1]
    for sent in range(0, protocol.WINDOW, protocol.LARGEST):
        end.channel.receive(frame(protocol.DATA, 0, sent, bytes(protocol.LARGEST)))
    with pytest.raises(ChannelError, match="more than its window"):
        end.channel.receive(frame(protocol.DATA, 0, protocol.WINDOW, b"x"))
    assert len(end.arrived[0]) == protocol.WINDOW


def test_a_peer_that_sends_no_frames_costs_no_memory() -> None:
    end = joined().ends[1]
    size = 0
    end.channel.noise = lambda noise: None
    for _ in range(100):
        end.channel.receive(bytes(1 << 16))
        size = max(size, len(end.channel._in))
    assert size <= protocol.HEADER_SIZE
    # A header that promises more than a frame may hold is none.
    end.channel.receive(struct.pack(">3sBIQI", b"\xa5RK", 2, 0, 0, 1 << 31) + bytes(100))
    assert len(end.channel._in) <= protocol.HEADER_SIZE


def test_a_peer_that_never_reads_costs_no_more_than_the_window() -> None:
    pair = joined()
    stream = pair.ends[0].streams[0]
    written = 0
    while not stream.full and written < 100 << 20:
        stream.write(bytes(1 << 16))
        written += 1 << 16
        pair.fill(0, 1 << 20)
        pair.carry(0, 1 << 30)
    spool = stream._spool
    assert isinstance(spool, MemorySpool)
    assert len(stream._kept) <= protocol.WINDOW + (1 << 16)
    assert len(spool) <= spool.most + (1 << 16)
    assert pair.ends[1].streams[0].received == protocol.WINDOW


def test_without_a_spool_the_owner_is_asked_to_stop() -> None:
    channel = Channel(TOKEN)
    stream = channel.open(7, 0)
    while not stream.full:
        stream.write(bytes(1 << 16))
    assert stream.written == protocol.WINDOW


def test_many_small_pieces_take_little_memory() -> None:
    stream = Channel(TOKEN).open(7, 0)
    for _ in range(100_000):
        stream.write(b"0123456789")
    assert len(stream._kept._blocks) == -(-1_000_000 // protocol.LARGEST)


def test_streams_of_a_lower_rank_go_first_and_equals_take_turns() -> None:
    channel = Channel(TOKEN)
    channel.begin_line()
    b"".join(channel.frames(1))
    channel.receive(frame(protocol.HELLO, 0, 0, bytes([1, 0]) + TOKEN))
    streams = {number: channel.open(number, rank) for number, rank in [(1, 2), (2, 1), (3, 2)]}
    for stream in streams.values():
        stream.write(bytes(2 * protocol.LARGEST))
    numbers = []
    while channel.has_frames:
        head = channel.frames(1)[0]
        numbers.append(struct.unpack_from(">3sBIQI", head)[2])
    assert numbers == [2, 2, 1, 3, 1, 3]


def test_both_ends_forget_streams_that_have_ended() -> None:
    pair = joined()
    for number in range(3, 1000):
        pair.open()
        pair.ends[number % 2].write(number, b"hello")
        for end in pair.ends:
            end.streams[number].end()
        if number % 100 == 0:
            pair.cut()
        pair.settle()
    assert [list(end.channel.streams) for end in pair.ends] == [[0, 1, 2]] * 2


def test_there_are_only_so_many_streams() -> None:
    channel = Channel(TOKEN)
    for number in range(protocol.MOST_STREAMS):
        channel.open(number, 0)
    with pytest.raises(ChannelError, match="cannot be opened"):
        channel.open(protocol.MOST_STREAMS, 0)


def test_a_stream_that_is_cut_sends_no_more_and_takes_no_more() -> None:
    pair = joined()
    near, far = pair.ends
    near.streams[0].write(bytes(10 << 20))
    pair.fill(0, 1 << 20)
    near.streams[0].cut()
    far.write(0, b"x" * (1 << 20))
    far.streams[0].end()
    pair.settle()
    assert len(far.arrived[0]) < 2 << 20
    assert near.arrived[0] == b""
    assert 0 not in near.channel.streams
    assert 0 not in far.channel.streams


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_no_bytes_do_anything_but_end_the_line(pieces: list[bytes], frames: bool) -> None:
    end = joined().ends[1]
    with contextlib.suppress(ChannelError):
        for piece in pieces:
            kind = piece[0] % 10 if piece else 0
            end.channel.receive(
                frame(kind, len(piece) % 4, len(piece) % 3, piece) if frames else piece
            )
            end.channel.frames(1 << 20)


def test_what_stands_between_frames_is_shown() -> None:
    pair = Pair(on_terminal=True)
    pair.settle()
    near, far = pair.ends
    far.write(0, b"one")
    pair.fill(1, 1 << 20)
    pair.lines[1].extend(b"slurmstepd: error: no\r\n")
    pair.settle()
    assert near.arrived[0] == b"one"
    assert near.noise == b"slurmstepd: error: no\r\n"


def test_through_a_scheduler_what_can_be_packed_is_packed() -> None:
    pair = Pair(on_terminal=True)
    pair.settle()
    random = os.urandom(protocol.LARGEST)
    for data, least, most in [
        (bytes(1 << 20), 0, 1 << 16),
        (random, len(random), len(random) + 100),
        # After what cannot be packed, most of a megabyte is not tried.
        (bytes(1 << 20), 1 << 19, 1 << 20),
        (random[:512] + bytes(512), 512, 1024),
    ]:
        pair.ends[0].write(0, data)
        pair.fill(0, 1 << 21)
        assert least <= len(pair.lines[0]) <= most
        pair.settle()
    pair.assert_equal()


def test_an_end_can_be_followed_by_another_one_on_the_same_line() -> None:
    pair = joined()
    for number in range(3):
        pair.ends[0].write(number, blob(100_000))
        pair.ends[1].write(number, blob(70_000))
    pair.settle()
    first, second = pair.ends
    follower = End(on_terminal=False)
    for number, (written, received) in first.channel.positions.items():
        follower.open()
        follower.streams[number].restore(written, received)
    follower.channel.begin_line()
    second.write(1, b"while nobody was there")
    pair.lines[0].clear()
    pair.lines[1].clear()
    pair.ends = (follower, second)
    follower.write(2, b"from the follower")
    pair.settle()
    assert bytes(follower.arrived[1]) == b"while nobody was there"
    assert bytes(second.arrived[2]).endswith(b"from the follower")
