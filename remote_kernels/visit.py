"""A visit to a kernel that somebody else has started: its sockets here, and nothing of its end.

The keeper over there (:mod:`~remote_kernels.visiting_keeper`) finds the kernel and tells what its
connection file says.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any, ClassVar, NamedTuple

from remote_kernels.front_ends import FrontEnds, JupytersFrontEnds, KeepingFrontEnds
from remote_kernels.kept_kernels import KeptOrder
from remote_kernels.kept_life import KeptLife
from remote_kernels.life import Life, nonsense, parted
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin
from remote_kernels.visiting_keeper import VisitOrder


class Visited(NamedTuple):
    """The kernel that is visited.

    Attributes:
        id: what ``remote-kernels ps`` calls it by.
        name: of the kernel.
        file: path of its connection file over there.
        pid: of its process over there; 0 if that is not known.
        info: content of its connection file.
    """

    id: str
    name: str
    file: str
    pid: int
    info: dict[str, Any]


class Visit(KeptLife):
    """One visit, from the answer of its session until it is left or the kernel has ended.

    Attributes:
        visited: the kernel; None until it was found.
        front_ends: that use it here.
    """

    kind_of_front_ends: ClassVar[type[FrontEnds]] = FrontEnds
    front_ends: FrontEnds

    def __init__(
        self, life: Life, place: PrivateDirectory, held: VisitOrder | KeptOrder, hop: bytes = b""
    ) -> None:
        """Prepare; see :class:`KeptLife`."""
        super().__init__(life, place, held, hop)
        self.front_ends = self.kind_of_front_ends(self)
        self.visited: Visited | None = None

    def begin(self, login: tuple[PipeSession, SharedLogin | None] | None, stack: ExitStack) -> None:
        """Ask for a keeper; ports are opened when the kernel was found."""
        assert login is not None
        self._stack = stack
        self.channel.begin(*login, stack)

    def terminate(self) -> None:
        """Leave; the kernel stays as it is."""
        if self.visited is None:
            self.channel.end()
        else:
            super().terminate()

    def on_message(self, line: str) -> None:
        """See :class:`KeptLife`."""
        word, _, rest = line.partition(" ")
        if word == "VISIT":
            # In it stands the kernel's key, which is for no log.
            self._on_visited(_visited(rest))
        else:
            super().on_message(line)

    def _on_visited(self, visited: Visited) -> None:
        self.life.log(f"far side: VISIT {visited.id} {visited.pid} {visited.file}")
        self.life.event(f"COPY {visited.file}")
        self.visited = visited
        self.front_ends.admit(self.file_for_front_ends(visited), visited.info, self._stack)

    def file_for_front_ends(self, visited: Visited) -> dict[str, Any]:
        """The content of the connection file that front ends have.

        Args:
            visited: the kernel.
        """
        return self.life.connection.info


class KernelVisit(Visit):
    """A visit by a kernelspec: Jupyter takes the kernel for one that it has started itself."""

    kind_of_front_ends = JupytersFrontEnds
    front_ends: JupytersFrontEnds

    def interrupt(self) -> None:
        """See :class:`KeptLife`."""
        self.front_ends.interrupt()


class StayingKernel(KernelVisit):
    """A kernel that stays when Jupyter ends it: it is started, or come back to."""

    kind_of_front_ends = KeepingFrontEnds
    front_ends: KeepingFrontEnds

    def on_message(self, line: str) -> None:
        """See :class:`KeptLife`."""
        word, _, rest = line.partition(" ")
        if word == "MISSED":
            self.front_ends.on_missed(rest)
            return
        if word == "PARTED":
            self.channel.fail(parted(self.life.kind))
        super().on_message(line)
        if word == "START" and not self.front_ends.can_connect:
            # A new one, with the file that Jupyter wrote.
            info = self.life.connection.info
            self.front_ends.admit(info, info, self._stack)

    def _on_visited(self, visited: Visited) -> None:
        self.front_ends.are_back = True
        super()._on_visited(visited)

    def terminate(self) -> None:
        """Leave; the kernel stays, unless Jupyter starts it anew. See :class:`KeptLife`."""
        if self.visited is None and self.life.stage == "up" and not self.front_ends.restarts:
            self.part()
        elif self.visited is None and self.life.stage != "login":
            KeptLife.terminate(self)
        else:
            super().terminate()


def _visited(text: str) -> Visited:
    """The kernel that the keeper tells of.

    Raises:
        ConnectionLostError: that makes no sense.
    """
    try:
        told = json.loads(bytes.fromhex(text))
        info = dict(told["info"])
        found = Visited(
            str(told["id"]), str(told["name"]), str(told["file"]), int(told["pid"]), info
        )
    except (ValueError, LookupError, TypeError):
        raise nonsense("of a kernel to visit") from None
    return found
