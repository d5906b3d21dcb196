"""Bytes that arrive in pieces, as lines.

The far side runs this file, too: Python 3.6, the standard library alone.
"""

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

    def rest(self) -> bytes:
        """What is no whole line yet; it is forgotten here."""
        rest, self._partial = self._partial, b""
        return rest
