"""Bytes that arrive in pieces, as lines.

The far side runs this file, too: Python 3.6, the standard library alone.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: A line that never ends must not fill the memory; it is cut there.
LONGEST_LINE = 1 << 16


class Lines:
    """Gathers pieces until they are lines."""

    def __init__(self) -> None:
        self._partial = b""

    def take(self, data: "bytes | memoryview", last: bool = False) -> "list[bytes]":
        """The lines that are whole now, without their ends.

        Args:
            data: the next piece.
            last: what is left is a line, too.
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._partial and (last or len(self._partial) > LONGEST_LINE):
            lines.append(self.rest())
        return lines

    def take_until(
        self, data: bytes, is_last: "Callable[[bytes], bool]"
    ) -> "tuple[bytes, bytes] | None":
        """The last line, and the bytes behind it, which are no lines; None before it has come.

        Args:
            data: the next piece.
            is_last: takes each line.
        """
        lines = self.take(data)
        for number, line in enumerate(lines):
            if is_last(line):
                return line, b"\n".join([*lines[number + 1 :], self.rest()])
        return None

    def rest(self) -> bytes:
        """What is no whole line yet; it is forgotten here."""
        rest, self._partial = self._partial, b""
        return rest
