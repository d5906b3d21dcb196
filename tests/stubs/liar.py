"""The far side as it should not be, to be run in place of ssh: ``liar.py LIE DIRECTORY …``.

It reads what the launcher sends, says that a keeper speaks, and lies. What a launcher has to pass
over is followed by the end of a kernel, in order and with status 7.
"""

from __future__ import annotations

import ast
import os
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

from remote_kernels import channel as protocol
from remote_kernels.carrier import Line, Loop
from remote_kernels.channel import Channel

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r"


def frame(kind: int, number: int = 0, offset: int = 0, content: bytes = b"") -> bytes:
    """A frame with a header that is in order."""
    head = struct.pack(">3sBIQI", b"\xa5RK", kind, number, offset, len(content))
    return head + struct.pack(">I", zlib.crc32(head)) + content


def hello(token: bytes, version: int = 1, positions: bytes = b"") -> bytes:
    """How a line begins."""
    return frame(protocol.HELLO, content=bytes([version, 0]) + token + positions)


def too_long() -> bytes:
    """A header that promises more than a frame may hold."""
    head = struct.pack(">3sBIQI", b"\xa5RK", protocol.DATA, 0, 0, 1 << 31)
    return head + struct.pack(">I", zlib.crc32(head)) + bytes(1000)


def bomb() -> bytes:
    """A frame that is small only as long as it is packed."""
    return frame(protocol.PACKED, content=zlib.compress(bytes(60 << 20)))


def harmless(token: bytes) -> bytes:
    """What is passed over."""
    return b"".join(
        [
            *(frame(kind) for kind in range(9, 128)),
            frame(protocol.DATA, 77, 0, b"of a stream that is not there"),
            frame(protocol.ACK, 78, 9),
            too_long(),
            hello(token) * 1000,
            os.urandom(1 << 16) + ESCAPES.encode() * 1000,
            frame(protocol.PING) * 100_000,
        ]
    )


#: What breaks the rules.
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "wrong-token": lambda token: hello(token[::-1]),
    "wrong-version": lambda token: hello(token, version=9),
    "cut-hello": lambda token: hello(token, positions=b"123"),
    "false-position": lambda token: hello(token, positions=struct.pack(">IQ", 0, 1 << 40)),
    "false-acknowledgement": lambda token: hello(token) + frame(protocol.ACK, 0, 1 << 40),
    "bomb": lambda token: hello(token) + bomb(),
    "refusal": lambda token: frame(protocol.REFUSE, content=ESCAPES.encode()),
}
#: Words on the stream of messages.
WORDS = {
    "exit-soon": "EXIT soon",
    "exit-huge": "EXIT " + "9" * 5000,
    "exit-signs": "EXIT \u0667",
    "exit-escapes": f"EXIT {ESCAPES}",
}
#: What never ends, on standard output, after the line with KEEPER.
ENDLESS: dict[str, Callable[[bytes], bytes]] = {
    "endless-junk": lambda token: os.urandom(1 << 16),
    "endless-pings": lambda token: frame(protocol.PING) * 2000,
    "endless-questions": lambda token: frame(protocol.HELLO, content=b"\1\1" + token) * 1000,
    "endless-strangers": lambda token: frame(protocol.DATA, 99, 0, bytes(1 << 16)),
}


def endless_messages(text: bytes) -> Iterator[bytes]:
    """Frames that carry the same text on the stream of messages, again and again."""
    for number in range(1 << 30):
        yield frame(protocol.DATA, 0, number * len(text), text)


def write(data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(1, data) :]


def write_all(pieces: Iterator[bytes]) -> None:
    """Write for as long as somebody reads."""
    for piece in pieces:
        write(piece)


def read_order(directory: Path) -> tuple[bytes, bytes]:
    """The mark and the token that the launcher sends; a second login has to do with the first's."""
    line = sys.stdin.buffer.readline()
    mark = re.search(rb"@rk-[0-9a-f]{16}", line)
    size = re.search(rb"len\(data\) < (\d+)", line)
    assert mark is not None
    assert size is not None
    program = zlib.decompress(sys.stdin.buffer.read(int(size[1])))
    if found := re.search(rb"'token': (b(['\"])(?:\\.|(?!\2).)*\2)", program):
        (directory / "token").write_bytes(ast.literal_eval(found[1].decode()))
    return mark[0], (directory / "token").read_bytes()


def end_in_order(token: bytes, *words: str) -> None:
    """Be a keeper that says words."""
    loop, channel = Loop(), Channel(token)
    streams = [channel.open(number, number) for number in range(2)]
    ended: list[bool] = []
    Line(loop, channel, (0, 1), lambda: ended.append(True))
    streams[0].write("".join(f"{word}\n" for word in words).encode())
    streams[1].end()
    while not ended:
        loop.turn()


def lie(how: str, mark: bytes, token: bytes) -> None:
    """Speak in the way that was asked for."""
    if how == "endless-elsewhere":
        write_all(repeat(mark + b" ELSEWHERE nowhere\n"))
    if how == "endless-line":
        write_all(repeat(b"x" * (1 << 16)))
    if how == "endless-lines":
        write_all(repeat(b"nothing new\n" * 4096))
    if how == "endless-errors":
        while True:
            os.write(2, b"nothing new\n" * 64)
    if how in ("KEEPER", "WHATEVER", "GONE"):
        write(mark + f" {how} {ESCAPES}\n".encode())
        return end_in_order(token)
    write(mark + b" KEEPER nowhere /tmp/none\n")
    if how in ENDLESS:
        write_all(repeat(ENDLESS[how](token)))
    if how == "endless-message":
        write(hello(token))
        write_all(endless_messages(b"x" * (1 << 16)))
    if how == "endless-messages":
        write(hello(token))
        write_all(endless_messages(b"HELLO again and again\n" * 1024))
    if how in BROKEN:
        write(BROKEN[how](token))
        return end_in_order(token)
    if how in WORDS:
        return end_in_order(token, WORDS[how])
    if how == "escapes":
        return end_in_order(token, f"HELLO {ESCAPES.replace(chr(13), '')}", "EXIT 7")
    write(harmless(token))
    return end_in_order(token, "HELLO nowhere", "EXIT 7")


if __name__ == "__main__":
    try:
        lie(sys.argv[1], *read_order(Path(sys.argv[2])))
    except BrokenPipeError:
        os._exit(255)
