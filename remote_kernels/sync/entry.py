"""What a path leads to, on one side."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from remote_kernels.tree import DIRECTORY, FILE, LINK, OTHER, same_time

Side = Literal["here", "there"]
HERE: Side = "here"
THERE: Side = "there"


def other(side: Side) -> Side:
    """The other one."""
    return THERE if side == HERE else HERE


class Entry(NamedTuple):
    """What a path leads to; see :data:`~remote_kernels.tree.FACTS`.

    Attributes:
        kind: of it.
        size: in bytes, of a file.
        modified: when, in nanoseconds since 1970.
        mode: permissions.
        target: of a link.
    """

    kind: str
    size: int = 0
    modified: int = 0
    mode: int = 0
    target: str = ""

    @classmethod
    def read(cls, facts: Any) -> Entry:
        """An entry from facts.

        Raises:
            ValueError: they make no sense.
        """
        kind, size, modified, mode, target = facts
        numbers = (size, modified, mode)
        if kind not in (FILE, DIRECTORY, LINK, OTHER) or not isinstance(target, str):
            raise ValueError(kind)
        if not all(type(number) is int for number in numbers) or size < 0 or mode & ~0o777:
            raise ValueError(numbers)
        if "\0" in target:
            raise ValueError(target)
        return cls(kind, size, modified, mode, target)

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.kind == DIRECTORY

    def has_content_of(self, entry: Entry) -> bool:
        """Whether, as far as can be seen without reading, it holds the same as one of either side.

        Args:
            entry: the other one.
        """
        if self.kind != entry.kind:
            return False
        if self.kind == FILE:
            return self.size == entry.size and same_time(self.modified, entry.modified)
        return self.target == entry.target

    def is_unchanged(self, before: Entry) -> bool:
        """Whether it holds what it held before.

        Args:
            before: the same path, on the same side.
        """
        if self.kind == FILE:
            return before[:3] == self[:3]
        return (self.kind, self.target) == (before.kind, before.target)


Entries = dict[str, Entry]
