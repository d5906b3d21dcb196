"""What both sides had agreed on when they were made alike, so that it is known who has changed it.

It is a file for each pair of directories, in the platform's directory for such things, that only
the user can read. It says what is agreed and nothing else: what a sync that was cut off has not
done stands in it as it was before.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import platformdirs

from remote_kernels.errors import RemoteKernelsError
from remote_kernels.sync.entry import HERE, Entry, Side

_VERSION = 1


class Both(NamedTuple):
    """A path on both sides when they agreed.

    Attributes:
        here: as it was here.
        there: as it was over there; times may differ, and modes where a file system has none.
    """

    here: Entry
    there: Entry

    def of(self, side: Side) -> Entry:
        """As it was on one of them."""
        return self.here if side == HERE else self.there


def directory() -> Path:
    """Where the files are."""
    return platformdirs.user_state_path("remote-kernels", appauthor=False) / "sync"


class Agreed:
    """What two directories had agreed on.

    Attributes:
        name: of the pair, in letters and digits.
        paths: what is known of each; may be changed, and is written by :meth:`write`.
    """

    def __init__(self, host: str, here: str, there: str) -> None:
        """Read it.

        Args:
            host: with the way there, in words.
            here: absolute path of the directory on this side.
            there: the same over there.

        Raises:
            RemoteKernelsError: it is there, and cannot be read.
        """
        self._pair = {"host": host, "here": here, "there": there}
        words = json.dumps([os.uname().nodename, host, here, there])
        self.name = hashlib.blake2b(words.encode("ascii"), digest_size=8).hexdigest()
        self._path = directory() / f"{self.name}.json"
        self.paths: dict[str, Both] = {}
        self._text = ""
        try:
            self._text = self._path.read_text("ascii")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(str(error.strerror)) from None
        try:
            found = json.loads(self._text)
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}")
            for path, (first, second) in found["agreed"].items():
                self.paths[path] = Both(Entry(*first), Entry(*second))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._unreadable("it is broken") from None

    def _unreadable(self, why: str) -> RemoteKernelsError:
        return RemoteKernelsError(
            f"what both sides had agreed on cannot be read from {self._path}: {why}",
            advice="remove it: without it nothing is deleted, and what differs is in conflict",
        )

    def write(self) -> None:
        """Write it if there is something new, whole or not at all.

        Raises:
            RemoteKernelsError: it cannot be written.
        """
        known = sorted(self.paths.items())
        agreed = {path: [both.here, both.there] for path, both in known}
        text = json.dumps({"version": _VERSION, **self._pair, "agreed": agreed})
        if text == self._text:
            return
        part = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise RemoteKernelsError(
                f"cannot write what both sides have agreed on to {self._path}: {error.strerror}",
                advice="the files are where they belong; without this, the next sync knows less",
            ) from None
