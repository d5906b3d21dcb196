"""What is noted of the reverse tunnels of this machine, and whose turn it is to hold one."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs

from remote_kernels.turn import Turn

#: How a tunnel stands.
CONNECTED, AWAY, ENDED = "connected", "away", "ended"
# For who only looks whether somebody has the turn.
_PATIENCE, _LOOK_AGAIN = 1.0, 0.02


class TunnelNote(NamedTuple):
    """What is known of a tunnel. It stays when the tunnel has ended, so that its port stays, too.

    Attributes:
        server: as the person wrote it.
        gateways: on the way there, the nearest first.
        address: of the server, as ssh has it: user, name, and port unless that is 22.
        port: over there.
        to: port on this machine.
        pid: of the process that holds it.
        began: when that was started, in seconds since 1970.
        state: CONNECTED, AWAY or ENDED.
        since: when it came to be so.
        connects: how often the tunnel was made.
        why: it is not connected.
    """

    server: str
    gateways: tuple[str, ...]
    address: str
    port: int
    to: int
    pid: int = 0
    began: float = 0.0
    state: str = ENDED
    since: float = 0.0
    connects: int = 0
    why: str = ""

    @classmethod
    def read(cls, address: str) -> TunnelNote | None:
        """What is known of the tunnel to a server; None if nothing.

        Args:
            address: see above.
        """
        return cls._read(_path(address))

    @classmethod
    def all(cls) -> Iterator[TunnelNote]:
        """All that are known."""
        for path in sorted(_directory().glob("*.json")):
            if note := cls._read(path):
                yield note

    @classmethod
    def _read(cls, path: Path) -> TunnelNote | None:
        try:
            note = cls(**json.loads(path.read_text("utf-8")))
            return note._replace(gateways=tuple(note.gateways))
        except (OSError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """Note it, whole or not at all."""
        path = _path(self.address)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._asdict(), file)
        part.replace(path)

    def is_held(self) -> bool:
        """Whether a process holds the tunnel."""
        turn = TunnelTurn(self.address)
        try:
            return not turn.take(patience=0.0)
        finally:
            turn.give()


class TunnelTurn:
    """The right to hold the tunnel to a server, which one process has at a time."""

    def __init__(self, address: str) -> None:
        """Name it.

        Args:
            address: of the server; see :class:`TunnelNote`.
        """
        self._path = _path(address).with_suffix(".lock")
        self._turn = Turn(self._path)

    def take(self, *, patience: float = _PATIENCE) -> bool:
        """Take the turn.

        Args:
            patience: seconds, for somebody who only looks.

        Returns:
            Whether it is ours.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        deadline = time.monotonic() + patience
        while not self._turn.take():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN)
        return True

    def give(self) -> None:
        """Let others have it."""
        self._turn.give()


def name_of(address: str) -> str:
    """A name for the tunnel to a server, fit for a file and a unit, which no other server has.

    Args:
        address: see :class:`TunnelNote`.
    """
    words = {"@": "_at_", ":": "_port_"}
    return re.sub(
        r"[^A-Za-z0-9.-]", lambda found: words.get(found[0], f"_{ord(found[0]):x}_"), address
    )


def _directory() -> Path:
    return platformdirs.user_state_path("remote-kernels", appauthor=False) / "reverse"


def _path(address: str) -> Path:
    return _directory() / f"{name_of(address)}.json"
