"""The channel alone: two ends over a line that is cut, split, delayed, repeated and talked into."""

from __future__ import annotations

import itertools
import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_kernels.channel import Channel, Spool, Stream

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

    def __init__(self, checked: bool) -> None:
        self.channel = Channel(TOKEN, checked)
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

    def __init__(self, streams: int = 3, checked: bool = False) -> None:
        self.ends = (End(checked), End(checked))
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


def act(pair: Pair, checked: bool, action: tuple[Any, ...]) -> None:
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
            pair.lines[side].extend(pair.lines[side][-size:] if checked else b"")
        case ["noise", side, size]:
            if checked:
                at = size % (len(pair.lines[side]) + 1)
                pair.lines[side][at:at] = NOISE


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans(), st.lists(ACTIONS, max_size=60))
def test_every_byte_arrives_once_and_in_order(
    checked: bool, actions: list[tuple[Any, ...]]
) -> None:
    pair = Pair(checked=checked)
    for action in actions:
        act(pair, checked, action)
    pair.settle()
    pair.assert_equal()
    for end in pair.ends:
        for number, stream in enumerate(end.streams):
            assert end.ends[number] == pair.ends[end is pair.ends[0]].streams[number].ended
            assert stream._kept.end == stream.written
            if stream.ended and stream.peer_ended:
                assert number not in end.channel.streams
