"""A job held for a moment after its kernel has ended, in case that Jupyter restarts the kernel.

Jupyter does not say whether it ends a kernel for good: it starts the launcher anew with the same
connection file, or removes that file. So a process of ours stays behind, holds the terminal of the
session, and gives it to the launcher that comes; if none does, it gives the job back.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2s
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels.private_directory import PrivateDirectory, base_directory

#: Jupyter's restarter looks after a kernel every 3 s.
PATIENCE = 8.0
#: For a job that is given back.
RELEASE_PATIENCE = 10.0
_ANSWER_PATIENCE = 2.0
_LARGEST = 1 << 16


class Held(NamedTuple):
    """What a launcher needs to go on with a session.

    Attributes:
        mark: begins each line that our programs over there say.
        node: the name of the node.
        job: the job's id; empty if it is not known.
        near: the endpoints that Jupyter connects to.
        far_ports: the node's ports to which these are carried by forwards.
        token: of the channel to the keeper on the login host, in hexadecimal digits.
        place: of that keeper: its host, and the path of its socket.
        positions: of that channel, by the streams' numbers; see :meth:`Stream.restore`.
    """

    mark: str
    node: str
    job: str
    near: Sequence[str]
    far_ports: Sequence[int] = ()
    token: str = ""
    place: Sequence[str] = ()
    positions: Mapping[str, Sequence[int]] = {}

    @property
    def kind(self) -> str:
        """What tells apart what can be gone on with in different ways."""
        return "kept" if self.token else "held"


class Holder(NamedTuple):
    """The process that stays behind.

    Attributes:
        held: for the launcher that comes.
        descriptors: the session's; all are handed over.
        connection_file: that Jupyter wrote; when it goes, nobody comes.
        release: gives the job back.
        log: takes what becomes of it.
        terminal: descriptor of which what the session says is to be thrown away; None: it can wait.
    """

    held: Held
    descriptors: Sequence[int]
    connection_file: Path
    release: Callable[[], None]
    log: Callable[[str], None]
    terminal: int | None = None

    def stay_behind(self) -> None:
        """Leave the process behind, and return when it holds the session."""
        ready, tell = os.pipe()
        if os.fork():
            os.close(tell)
            os.read(ready, 1)
            os.close(ready)
            return
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            self._hold(tell)
        finally:
            os._exit(0)

    def _hold(self, tell: int) -> None:
        """Wait for a launcher, and give the job back if none comes.

        Args:
            tell: descriptor to close when one may come.
        """
        place = PrivateDirectory()
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place.path / _name(self.held.kind, self.connection_file)))
                listener.listen()
                os.close(tell)
                taken = self._wait(listener)
        finally:
            place.remove()
        if not taken:
            self.log("giving the job back")
            self.release()

    def _wait(self, listener: socket.socket) -> bool:
        """Whether a launcher has taken the session over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.connection_file.exists():
            watched: list[Any] = [listener, *([] if self.terminal is None else [self.terminal])]
            ready = select.select(watched, [], [], 0.2)[0]
            if listener in ready:
                return self._hand_over(listener)
            if ready and self.terminal is not None and not drain(self.terminal):
                return False
        return False

    def _hand_over(self, listener: socket.socket) -> bool:
        with listener.accept()[0] as launcher:
            launcher.settimeout(_ANSWER_PATIENCE)
            near = json.loads(launcher.recv(_LARGEST))
            if near != list(self.held.near):
                self.log("the restarted kernel has other ports: the job cannot be used for it")
                return False
            text = json.dumps(self.held._asdict()).encode()
            socket.send_fds(launcher, [text], list(self.descriptors))
            # Its answer: what has been sent is lost if nobody takes it.
            return launcher.recv(1) != b""


def drain(terminal: int) -> bool:
    """Throw away what a session says; whether it is still there."""
    try:
        return os.read(terminal, _LARGEST) != b""
    except OSError:
        return False


def release(terminal: int, others: Sequence[int], word: bytes) -> None:
    """End a session.

    Args:
        terminal: of it.
        others: descriptors of what goes through it, which have to be closed before.
        word: that ends it.
    """
    for descriptor in others:
        os.close(descriptor)
    try:
        os.write(terminal, word)
    except OSError:
        return
    deadline = time.monotonic() + RELEASE_PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0] and not drain(terminal):
            return


def take_over(
    kind: str, connection_file: Path, near: Sequence[str]
) -> tuple[Held, list[int]] | None:
    """The session of the kernel that was described by this connection file before.

    Args:
        kind: of :class:`Held`.
        connection_file: that Jupyter wrote.
        near: the endpoints that Jupyter connects to.

    Returns:
        What to go on with, and the descriptors; None if nothing is held, or for other endpoints.
    """
    for path in base_directory().glob(f"rk-*-*/{_name(kind, connection_file)}"):
        status = path.parent.lstat()
        # In /tmp anybody can make such a directory, and we are about to send a key.
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            continue
        try:
            with socket.socket(socket.AF_UNIX) as holder:
                holder.settimeout(_ANSWER_PATIENCE)
                holder.connect(str(path))
                holder.sendall(json.dumps(list(near)).encode())
                text, descriptors, _, _ = socket.recv_fds(holder, _LARGEST, 4)
                if descriptors:
                    holder.sendall(b"!")
                    return Held(**json.loads(text)), descriptors
        except OSError:
            # It has just given up.
            continue
    return None


def _name(kind: str, connection_file: Path) -> str:
    digest = blake2s(os.fsencode(connection_file.absolute()), digest_size=8)
    return f"{kind}-{digest.hexdigest()}"
