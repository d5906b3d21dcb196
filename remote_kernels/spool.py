"""Where output waits that has nowhere to go: a file without a name, of bounded size.

The far side runs this file, too: Python 3.6, the standard library alone.
"""

import os

from remote_kernels.channel import Spool

# What is written when it is just not full yet may go beyond.
_SLACK = 1 << 20


class Room:
    """How much all spools together may hold.

    Attributes:
        most: bytes.
        used: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0


class FileSpool(Spool):
    """A ring in a file that nobody else can open, and that is gone when we are."""

    def __init__(self, room: Room, directory: str) -> None:
        """Begin empty; the file is made when it is needed.

        Args:
            room: shared by all spools.
            directory: in which the file is made.
        """
        self._room = room
        self._directory = directory
        self._size = room.most + _SLACK
        self._file = -1
        self._first = self._behind = 0  # of the bytes in the file, counted from the beginning
        self._rest = bytearray()  # what a full disk did not take

    @property
    def full(self) -> bool:
        """Whether no more should be put here."""
        return self._room.used >= self._room.most or bool(self._rest)

    def __len__(self) -> int:
        return self._behind - self._first + len(self._rest)

    def put(self, data: bytes) -> None:
        """Take bytes behind those that are there, whether it is full or not."""
        self._room.used += len(data)
        written = 0 if self._rest else self._write(memoryview(data))
        self._rest += data[written:]

    def take(self, most: int) -> bytes:
        """Give the first bytes back."""
        if self._first == self._behind:
            data = bytes(self._rest[:most])
            del self._rest[:most]
        else:
            place = self._first % self._size
            most = min(most, self._behind - self._first, self._size - place)
            data = os.pread(self._file, most, place)
            self._first += len(data)
            if self._first == self._behind:
                self._empty_file()
        self._room.used -= len(data)
        return data

    def clear(self) -> None:
        """Forget all, the file as well."""
        self._room.used -= len(self)
        self._rest = bytearray()
        self._first = self._behind = 0
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: memoryview) -> int:
        """Write to the file what it takes; how many bytes that were."""
        done = 0
        try:
            if self._file < 0:
                self._file = _nameless_file(self._directory)
            while done < len(data) and len(self) < self._size:
                place = self._behind % self._size
                most = min(self._size - place, self._size - (self._behind - self._first))
                count = os.pwrite(self._file, data[done : done + most], place)
                self._behind += count
                done += count
        except OSError:
            # The disk is full, or a quota. What is left stays in memory, and no more is taken.
            pass
        return done

    def _empty_file(self) -> None:
        self._first = self._behind = 0
        os.ftruncate(self._file, 0)


def _nameless_file(directory: str) -> int:
    path = os.path.join(directory, "spool-" + os.urandom(6).hex())
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return file
