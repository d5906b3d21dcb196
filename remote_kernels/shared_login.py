"""One ssh connection for all kernels of a host: where its socket is, and whose turn to make it."""

from __future__ import annotations

import json
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from remote_kernels.turn import Turn

# A path of a socket has 104 bytes at most on macOS. Ours has 50 behind the directory, and ssh makes
# it under a name that is 17 longer first.
_LONGEST_DIRECTORY = 36
# What ssh makes of %C, and our name; behind it the one who has put it aside. One that ssh has only
# begun to make has a dot, and is left.
_SOCKET = re.compile("[0-9a-f]{40}-[0-9a-f]{8}(-[0-9]+)?")
# For somebody else's login; who waits longer logs in alone.
_PATIENCE, _LOOK_AGAIN = 3.0, 0.02


class SharedLogin:
    """The connection that all kernels of a way share.

    Attributes:
        socket: its path, for ssh's ControlPath.
        pattern: for the path of what ssh makes of that.
        existed: somebody had logged in when we began.
    """

    def __init__(self, way: object, directory: Path) -> None:
        """Use a connection that is there, or be the one that makes it; waits a little for others.

        Args:
            way: whose representation is another for another way.
            directory: for the socket.
        """
        name = _name_of(way)
        self.socket, self.pattern = socket_for(way, directory), f"{directory}/*-{name}"
        self._directory, self._name = directory, name
        self._turn = Turn(directory)
        self._made: tuple[Path, int] | None = None
        deadline = time.monotonic() + _PATIENCE
        while not (existed := any(directory.glob(f"*-{name}"))) and not self._turn.take():
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_AGAIN)
        self.existed = existed

    def logged_in(self) -> None:
        """Remember which connection it is, and let others log in."""
        for path in self._directory.glob(f"*-{self._name}"):
            self._made = (path, path.lstat().st_ino)
        self.give_turn()

    def abandon(self) -> Path | None:
        """Let nobody begin with the connection, which hangs.

        Returns:
            Its socket under another name; None if somebody has done so before.
        """
        if self._made is None:
            return None
        path, number = self._made
        hanging = path.with_name(f"{path.name}-{os.getpid()}")
        with suppress(FileNotFoundError):
            # Others may have noticed before, and made a new one.
            if path.lstat().st_ino == number:
                return path.rename(hanging)
        return None

    def take_for(self, directory: Path) -> bool:
        """Let nobody else use the connection, which ends with its first session.

        Args:
            directory: private, for its socket.

        Returns:
            Whether nobody else can have begun to use it, or the user's configuration wants it so.
        """
        paths = list(self._directory.glob(f"*-{self._name}"))
        if paths and self.existed:
            return False
        for path in paths:
            path.rename(directory / "socket")
        self.give_turn()
        return True

    def give_turn(self) -> None:
        """Let others log in; to be called when our own login has come to an end."""
        self._turn.give()


class KeptLogin(NamedTuple):
    """A login that ``remote-kernels login`` has made, for all kernels of a way.

    Its note stays when the login has ended, so that a launcher can say that it has.

    Attributes:
        host: that was logged in to, as the person wrote it.
        gateways: that it goes through, the nearest first.
        since: when, in seconds as time.time() tells.
        until: when it is to end.
        socket: path of the connection's socket.
        note: path of the file that holds all this.
    """

    host: str
    gateways: tuple[str, ...]
    since: float
    until: float
    socket: str
    note: Path

    @classmethod
    def read(cls, way: object, directory: Path) -> KeptLogin | None:
        """The last one that was made for a way; None if there was none.

        Args:
            way: see :class:`SharedLogin`.
            directory: see :class:`SharedLogin`.
        """
        return cls._read(cls.note_for(way, directory))

    @classmethod
    def all_in(cls, directory: Path) -> Iterator[KeptLogin]:
        """Every one that was made, the oldest first."""
        found = map(cls._read, directory.glob("rk-*.login"))
        yield from sorted((kept for kept in found if kept), key=lambda kept: kept.since)

    @classmethod
    def _read(cls, note: Path) -> KeptLogin | None:
        try:
            kept = cls(**json.loads(note.read_text("utf-8")), note=note)
        except (OSError, ValueError, TypeError):
            return None
        return kept._replace(gateways=tuple(kept.gateways))

    @staticmethod
    def note_for(way: object, directory: Path) -> Path:
        """Where the note of a way lies."""
        return directory / f"rk-{_name_of(way)}.login"

    def write(self) -> None:
        """Write the note, whole or not at all."""
        values = self._asdict()
        del values["note"]
        part = self.note.with_suffix(f".{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(values, file)
        part.rename(self.note)

    @property
    def has_run_out(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.until

    def ended(self) -> str:
        """How it has ended, for a person."""
        if self.has_run_out:
            return f"the login to {self.host} has run out {at(self.until)}"
        return f"the login to {self.host} {at(self.since)} was lost"

    @property
    def is_open(self) -> bool:
        """Whether its connection can be used."""
        return os.path.exists(self.socket)


def socket_for(way: object, directory: Path) -> str:
    """The path of a way's socket, for ssh's ControlPath.

    Args:
        way: see :class:`SharedLogin`.
        directory: for the socket.
    """
    return f"{directory}/%C-{_name_of(way)}"


def sockets_in(directory: Path) -> Iterator[Path]:
    """All sockets of connections that kernels share, also of those that have died.

    Args:
        directory: see :class:`SharedLogin`.
    """
    for path in sorted(directory.glob("*-*")):
        if _SOCKET.fullmatch(path.name) and path.is_socket():
            yield path


def at(moment: float) -> str:
    """A moment for a person: the time of day, and the day where it is another one."""
    then = time.localtime(moment)
    same_day = then[:3] == time.localtime()[:3]
    return time.strftime("at %H:%M" if same_day else "at %H:%M on %Y-%m-%d", then)


def _name_of(way: object) -> str:
    # ssh's own %C knows nothing of gateways before version 9.7, nor of another program.
    return f"{zlib.crc32(repr(way).encode('utf-8', 'surrogateescape')):08x}"


def place_for_sockets() -> Path | None:
    """A directory of ours in which nobody else can put a socket, and sockets can be; None if none.

    Jupyter started by a service or in a container often has no runtime directory.
    """
    named = [
        os.environ.get("XDG_RUNTIME_DIR"),
        # So that a Jupyter which a service has started finds what a login in a terminal has made.
        f"/run/user/{os.getuid()}",
        os.environ.get("TMPDIR"),
    ]
    for place in [Path(name) for name in named if name]:
        if _is_private(place):
            return place
    ssh = Path(os.environ.get("HOME") or "/", ".ssh")
    return ssh if _is_private(ssh) and _takes_sockets(ssh) else None


def _is_private(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    own = status.st_uid == os.getuid() and not status.st_mode & 0o077
    return own and stat.S_ISDIR(status.st_mode) and len(str(directory)) <= _LONGEST_DIRECTORY


def _takes_sockets(directory: Path) -> bool:
    """Whether its file system knows sockets; a home on a file server may not."""
    import socket

    path = directory / f"rk-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True
