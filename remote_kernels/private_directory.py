"""A directory of our own for the moments in which a connection is made."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from remote_kernels.errors import RemoteKernelsError


def base_directory() -> Path:
    """Where such directories are made: the user's runtime directory, or /tmp.

    In a directory of somebody else's that is not sticky, ours could be put aside.
    """
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    with suppress(OSError):
        status = base.stat()
        own = status.st_uid == os.getuid() and not status.st_mode & 0o022
        if own and os.access(base, os.W_OK | os.X_OK):
            return base
    return Path("/tmp")


class PrivateDirectory:
    """A new directory with mode 0700, in the user's runtime directory or in /tmp.

    Attributes:
        path: of the directory. Short, since a socket's path has to fit in 104 bytes on macOS.
    """

    def __init__(self) -> None:
        # A name that nobody can guess, and mkdir fails where there is anything of that name.
        self.path = base_directory() / f"rk-{os.getpid()}-{os.urandom(5).hex()}"
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise RemoteKernelsError(
                f"cannot make the directory {self.path}: {error.strerror}",
                advice="check space and permissions there, or set XDG_RUNTIME_DIR",
            ) from None

    def remove_stale(self) -> None:
        """Remove what launchers have left that were killed before they could."""
        for path in _stale(self.path.parent):
            shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Remove it with all that is in it; doing it twice does no harm."""
        shutil.rmtree(self.path, ignore_errors=True)


def stale_directories() -> Iterator[Path]:
    """What launchers have left that were killed, wherever that may be."""
    # They may have been started where the environment was another one, as by a service.
    places = (base_directory(), Path(f"/run/user/{os.getuid()}"), Path("/tmp"))
    for base in dict.fromkeys(places):
        yield from _stale(base)


def _stale(base: Path) -> Iterator[Path]:
    for path in sorted(base.glob("rk-*-*")):
        pid = path.name.split("-")[1]
        try:
            status = path.lstat()
        except FileNotFoundError:
            # Its launcher lives, and has just removed it.
            continue
        own = status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
        if own and pid.isdecimal() and not _alive(int(pid)):
            yield path


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
