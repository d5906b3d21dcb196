"""What the other end says, at random: nothing but a declared error comes of it, and no growth."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_kernels import channel as protocol
from remote_kernels import kernel_keeper
from remote_kernels.allocation import Allocation
from remote_kernels.carrier import numbers, take_lines
from remote_kernels.channel import Channel, ChannelError
from remote_kernels.command_keeper import CommandKeeper
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errors import ConnectionCopyError, ConnectionLostError, RemoteKernelsError
from remote_kernels.interfaces import interface_named
from remote_kernels.keeper import Keeper
from remote_kernels.kept_channel import no_place, place_of
from remote_kernels.kernel_keeper import KernelKeeper, StartError
from remote_kernels.kernel_log import printable
from remote_kernels.life import LONGEST_SHOWN, Life
from remote_kernels.lines import LONGEST_LINE, Lines
from remote_kernels.options import KernelOptions
from remote_kernels.socket_keeper import SOCKETS

TOKEN = b"0123456789abcdef"
MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

NUMBERS = st.one_of(st.integers(0, 5), st.integers(0, 1 << 20), st.integers(0, (1 << 64) - 1))
HELLOS = st.builds(
    lambda version, asks, token, positions: (
        bytes([version, asks])
        + token
        + b"".join(struct.pack(">IQ", n % (1 << 32), at) for n, at in positions)
    ),
    st.sampled_from([1, 1, 1, 9]),
    st.integers(0, 255),
    st.sampled_from([TOKEN, TOKEN, TOKEN, TOKEN[::-1]]),
    st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4),
)
CONTENTS = st.one_of(
    st.binary(max_size=100),
    HELLOS,
    st.builds(zlib.compress, st.binary(max_size=100)),
    st.just(zlib.compress(bytes(1 << 20))),
    st.just(bytes(protocol.LARGEST)),
)


def frame(kind: int, number: int, offset: int, content: bytes) -> bytes:
    """A frame whose header is in order."""
    head = struct.pack(">3sBIQI", b"\xa5RK", kind, number % (1 << 32), offset, len(content))
    check = struct.pack(">I", zlib.crc32(content)) if kind & 0x80 else b""
    return head + struct.pack(">I", zlib.crc32(head)) + content + check


def mutated(data: bytes, place: int, what: bytes, width: int) -> bytes:
    """The same, but for one place."""
    place %= len(data) + 1
    return data[:place] + what + data[place + width :]


KINDS = st.one_of(st.integers(1, 8), st.integers(0x81, 0x88), st.integers(0, 255))
FRAMES = st.builds(frame, KINDS, NUMBERS, NUMBERS, CONTENTS)
PIECES = st.one_of(
    FRAMES,
    FRAMES,
    st.builds(mutated, FRAMES, st.integers(0, 200), st.binary(max_size=8), st.integers(0, 8)),
    st.binary(max_size=200),
    st.builds(lambda data, times: data * times, FRAMES, st.integers(1, 50)),
)


def size_of(channel: Channel) -> int:
    """About how many bytes a channel holds for the other end."""
    held = len(channel._in) + sum(map(len, channel._first))
    return held + sum(len(stream._kept) for stream in channel.streams.values())


@MANY
@given(st.booleans(), st.booleans(), st.lists(PIECES, max_size=30))
def test_bytes_of_a_line(on_terminal: bool, met: bool, pieces: list[bytes]) -> None:
    channel = Channel(TOKEN, on_terminal)
    taken: list[str] = []
    for number in range(3):
        stream = channel.open(number, number)
        stream.write(b"what is kept for it")
        take_lines(stream, taken.append)
    channel.begin_line()
    before = size_of(channel)
    if met:
        channel.receive(frame(protocol.HELLO, 0, 0, b"\1\0" + TOKEN))
    with suppress(ChannelError):
        for piece in pieces:
            # Nobody takes what is to be sent: the other end does not read.
            channel.receive(piece)
            assert size_of(channel) <= before + 2 * protocol.LARGEST
    assert all(len(line) <= 2 * LONGEST_LINE for line in taken)
    # It can be used again on another line.
    channel.begin_line()
    with suppress(ChannelError):
        channel.receive(frame(protocol.HELLO, 0, 0, b"\1\0" + TOKEN))
    channel.frames(1 << 20)


@pytest.mark.parametrize(
    "asks",
    [
        frame(protocol.PING, 0, 7, b""),
        frame(protocol.HELLO, 0, 0, b"\1\1" + TOKEN),
        b"x" + frame(protocol.ACK, 0, 0, b""),
    ],
)
def test_who_asks_and_does_not_read_is_answered_once(asks: bytes) -> None:
    channel = Channel(TOKEN)
    channel.open(0, 0)
    channel.begin_line()
    channel.receive(frame(protocol.HELLO, 0, 0, b"\1\0" + TOKEN))
    channel.frames(1 << 20)
    for _ in range(1000):
        channel.receive(asks * 10)
    assert channel.has_frames
    assert len(b"".join(channel.frames(1 << 20))) < 100
    assert not channel.has_frames


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_stream_has_a_number_that_a_frame_can_hold(number: int) -> None:
    with pytest.raises(ChannelError, match="cannot be opened"):
        Channel(TOKEN).open(number, 0)


@MANY
@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 400))
def test_lines_are_bounded(pieces: list[bytes], times: int) -> None:
    lines = Lines()
    for piece in pieces:
        for line in lines.take(piece * times):
            assert len(line) <= LONGEST_LINE + len(piece) * times
        assert len(lines._partial) <= LONGEST_LINE


# --- words ---------------------------------------------------------------------------------------

WORD = st.one_of(
    st.sampled_from(
        [
            *("HELLO", "COPY", "START", "SHELL", "PRECMD", "UP", "EXIT", "FAIL", "PAUSED", "GOES"),
            *("ON", "KEEPER", "NOPLACE", "LOGIN", "ASKED", "LOOK", "DONE", "GONE", "MEMORY"),
            *("END", "LEASE", "OPEN", "INT", "TERM", "KERNEL", "YES", "FORGET", "RUN"),
            *("0", "1", "7", "-1", "4294967296", "9" * 5000, "nan", "inf", "-inf", "1e400"),
            *("\u0667", "\u00b2", "00", "0x1", "\x1b[31m", "/", "zz", "\udcff"),
        ]
    ),
    st.text(max_size=20),
)
LINE = st.lists(WORD, max_size=6).map(" ".join)


def life(directory: Path, interface: str = "ssh") -> Life:
    """The life of a kernel that is to come."""
    names = ("shell", "iopub", "stdin", "control", "hb")
    file = directory / "kernel-1.json"
    ports = ", ".join(f'"{name}_port": {number}' for number, name in enumerate(names, 40000))
    file.write_text(f'{{{ports}, "ip": "127.0.0.1", "transport": "tcp", "key": "secret"}}')
    options = KernelOptions(interface=interface, name="Test", host="ada@far", kernel_cmd="x")
    return Life(options, ConnectionFile.read(str(file)))


@MANY
@given(st.lists(LINE, max_size=8))
def test_words_of_a_kernels_keeper(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    kernel = life(tmp_path_factory.mktemp("life"))
    kernel.log_into(lambda text: None, printable, None)
    try:
        for line in lines:
            kernel.line(line)
            kernel.event(line)
        error = kernel.end_error(Path("/nowhere")) if kernel.stage != "login" else None
    except ConnectionLostError as failure:
        error = failure
    if error is not None:
        assert "\x1b" not in kernel.error_block(error)


@MANY
@given(LINE)
def test_words_that_tell_where_a_keeper_is(line: str) -> None:
    with suppress(ConnectionLostError):
        host, path = place_of(line)
        assert f" {host} {path}" in line
    assert isinstance(no_place(line), ConnectionCopyError)


SCHEDULERS = ("slurm", "sge", "sge_qrsh", "pbs", "lsf")
TEXT = st.one_of(
    LINE, st.text(max_size=100), st.binary(max_size=100).map(lambda x: x.decode("latin-1"))
)


@MANY
@given(st.sampled_from(SCHEDULERS), st.lists(st.tuples(st.booleans(), TEXT), max_size=10))
def test_words_of_a_login_host(name: str, said: list[tuple[bool, str]]) -> None:
    allocation = Allocation(
        interface_named(name),
        KernelOptions(interface=name, name="Test"),
        "@rk-test",
        send=lambda data: None,
        log=lambda text: None,
        warn=lambda text: None,
    )
    with suppress(RemoteKernelsError):
        for is_event, text in [(True, "ASKED"), *said]:
            if is_event:
                allocation.on_event(text.split(), text.partition(" ")[2])
            else:
                allocation.on_line(text * 1000)
            allocation.act()
    assert all(len(line) <= LONGEST_SHOWN for line in allocation._said)
    assert isinstance(allocation.refusal(), RemoteKernelsError)


def keeper_of(kind: type[Keeper], calls: list[Any]) -> Any:
    """A keeper that has not begun, and does nothing but to read words."""
    keeper: Any = kind.__new__(kind)
    keeper.channel = Channel(TOKEN)
    keeper._stays_for, keeper._lease_seconds = 0, 1.0
    keeper._listening = [False] * len(SOCKETS)
    keeper._kernel = SimpleNamespace(signal=calls.append, go_on=bool)
    keeper._has_kernel = False
    for name in ("finish", "on_sigterm", "_open"):
        setattr(keeper, name, lambda *words, name=name: calls.append((name, words)))
    keeper._run = lambda number, argv: calls.append((number, argv))
    return keeper


@MANY
@given(st.sampled_from([KernelKeeper, CommandKeeper]), st.lists(LINE, max_size=8))
def test_words_of_a_launcher(kind: type[Keeper], lines: list[str]) -> None:
    calls: list[Any] = []
    keeper = keeper_of(kind, calls)
    for line in lines:
        with suppress(ChannelError):
            keeper.on_words(line.split())
        assert isinstance(keeper._stays_for, int)
        assert keeper._lease_seconds is None or 0 <= keeper._lease_seconds < float("inf")
    for call in calls:
        if isinstance(call, tuple) and call[0] == "_open":
            number, index = call[1]
            assert 0 <= number < 1 << 32
            assert index in range(len(SOCKETS))


@pytest.mark.parametrize("words", [["1"], ["1", "2", "3"], ["1", "5"], ["x", "1"], ["1", "-1"]])
def test_words_that_are_no_such_numbers(words: list[str]) -> None:
    with pytest.raises(ChannelError, match="makes no sense"):
        numbers(words, 10, 5)


def test_a_quota_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exceeded(*how: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    order = SimpleNamespace(
        **{"sockets": SOCKETS, "is_private": False},
        **{"file": [], "file_name": "copy.json", "workdir": str(tmp_path), "near_directory": ""},
        **{"transport": "ipc", "ip": "", "ports": [1, 2, 3, 4, 5]},
    )
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(kernel_keeper.os, "open", exceeded)
    kernel: Any = kernel_keeper.Kernel(order, str(tmp_path / "private"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartError) as raised:
        kernel.place()
    assert raised.value.args == ("FILE", f"{tmp_path}/copy.json: Disk quota exceeded")
