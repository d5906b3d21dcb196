"""As much of ZeroMQ's protocol as it takes to hear what a kernel publishes.

ZMTP 3.0 (rfc.zeromq.org/spec/23) with the mechanism NULL, as a SUB that wants everything. The far
side runs this file: Python 3.6, the standard library alone.
"""

import struct

#: What is sent first: signature, version 3.0, mechanism, and that we are no server.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
# A command and a message, both short.
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
_ANSWER = b"\x04" + bytes([len(_READY)]) + _READY
_ALL = b"\x00\x01\x01"
_MORE, _LONG, _COMMAND = 1, 2, 4
# Larger parts of a message are dropped, and the message with them.
_LARGEST = 1 << 20


class Subscriber:
    """Reads what a publisher sends."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._parts: list[bytes] = []
        self._has_greeting = self._is_ready = self._is_dropped = False
        self._skipped = 0

    def take(self, data: bytes) -> "tuple[list[list[bytes]], bytes]":
        """Take what has arrived.

        Args:
            data: the next bytes.

        Returns:
            The messages that are whole now, each as its parts, and what is to be sent.
        """
        self._data += data
        messages: list[list[bytes]] = []
        answer = b""
        if not self._has_greeting:
            if len(self._data) < len(GREETING):
                return messages, answer
            del self._data[: len(GREETING)]
            self._has_greeting, answer = True, _ANSWER
        while self._skip():
            frame = self._frame()
            if frame is None:
                break
            flags, part = frame
            if flags & _COMMAND:
                if not self._is_ready:
                    self._is_ready = True
                    answer += _ALL
                continue
            self._parts.append(part)
            if not flags & _MORE:
                if not self._is_dropped:
                    messages.append(self._parts)
                self._parts, self._is_dropped = [], False
        return messages, answer

    def _skip(self) -> bool:
        """Drop what is left of a part that is too large; whether all of it has come."""
        count = min(self._skipped, len(self._data))
        del self._data[:count]
        self._skipped -= count
        return not self._skipped

    def _frame(self) -> "tuple[int, bytes] | None":
        """The next frame: its flags and what it holds; None before it is whole."""
        if len(self._data) < 2:
            return None
        flags, size, head = self._data[0], self._data[1], 2
        if flags & _LONG:
            if len(self._data) < 9:
                return None
            (size,), head = struct.unpack(">Q", bytes(self._data[1:9])), 9
        if size > _LARGEST:
            self._skipped, self._is_dropped = size, True
            del self._data[:head]
            return flags, b""
        if len(self._data) < head + size:
            return None
        part = bytes(self._data[head : head + size])
        del self._data[: head + size]
        return flags, part
