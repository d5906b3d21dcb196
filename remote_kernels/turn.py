"""Whose turn it is, among all our processes of a person on this machine."""

from __future__ import annotations

import fcntl
import os


class Turn:
    """A turn that one process at a time has: an flock(2) on a file that is there anyway.

    It ends with the process that has it, however that ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name it.

        Args:
            path: of a file, a directory or a terminal; everybody who names the same takes turns.
        """
        self._path = path
        self._descriptor = -1

    def take(self) -> bool:
        """Take the turn if nobody else has it.

        Returns:
            Whether it is ours, now or since before.
        """
        if self._descriptor >= 0:
            return True
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOCTTY)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give()
            return False
        except OSError:
            # It cannot be opened, or its file system has no locks (ENOLCK): everybody goes at once.
            pass
        return True

    def give(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
