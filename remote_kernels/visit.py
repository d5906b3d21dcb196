"""A visit to a kernel that somebody else has started: its sockets here, and nothing of its end.

The keeper over there (:mod:`~remote_kernels.visiting_keeper`) finds the kernel and tells what its
connection file says. Where front ends have another file, or cannot use what stands in it, a
:class:`~remote_kernels.translator.Translator` is between.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from remote_kernels import errors
from remote_kernels.channel import TOKEN_SIZE
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.interfaces.base import spool_of
from remote_kernels.keeper_order import order_for
from remote_kernels.kept_channel import KeptChannel
from remote_kernels.kept_kernel import KeptKernel
from remote_kernels.kept_life import KeptLife
from remote_kernels.life import Life, nonsense
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
    """One visit, from the answer of its session until it is left or the kernel has ended."""

    def __init__(
        self,
        life: Life,
        place: PrivateDirectory,
        selector: str,
        met: Callable[[Visited], dict[str, Any] | None],
    ) -> None:
        """Prepare; see :class:`KeptLife`.

        Args:
            life: of the kernel; its connection file says where front ends connect.
            place: for ssh's configuration and sockets.
            selector: of the kernel over there; empty for the newest.
            met: takes the kernel that was found; gives the connection file that front ends have in
                place of the kernel's, if it is to be another, and else None.
        """
        self.life = life
        order = order_for(
            life, VisitOrder(selector, spool_of(life.options)), os.urandom(TOKEN_SIZE)
        )
        self.channel = KeptChannel(life, place, order)
        self.kernel = KeptKernel(
            *(life, self.channel.loop, self.channel.channel),
            tell=self.channel.tell,
            ended=self.channel.leave,
            failed=self.channel.fail,
            is_away=lambda: self.channel.is_away,
        )
        self.channel.on_message = self._on_message
        self._met = met
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

    def _on_message(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "VISIT":
            # In it stands the kernel's key, which is for no log.
            self._on_visited(_visited(rest))
        else:
            self.kernel.on_message(line)

    def _on_visited(self, visited: Visited) -> None:
        self.life.log(f"far side: VISIT {visited.id} {visited.pid} {visited.file}")
        self.life.event(f"COPY {visited.file}")
        self.visited = visited
        near = self._met(visited)
        if near is None:
            self._stack.callback(self.kernel.close)
            self.kernel.listen()
        else:
            self._translate(near, visited.info)

    def _translate(self, near: dict[str, Any], far: dict[str, Any]) -> None:
        """Carry the sockets to a directory of ours, and let front ends go through a translator."""
        import zmq

        from remote_kernels.translator import Translator

        place = PrivateDirectory()
        self._stack.callback(place.remove)
        inner: dict[str, Any] = {"transport": "ipc", "ip": f"{place.path}/k"}
        inner.update({port: number for number, port in enumerate(PORT_NAMES, 1)})
        self._stack.callback(self.kernel.close)
        self.kernel.listen(ConnectionFile(self.life.connection.path, inner, ""))
        try:
            translator = Translator(near, far, str(inner["ip"]), self.pass_on)
        except (zmq.ZMQError, ValueError) as error:
            raise errors.ForwardError(
                "Jupyter's ports on this machine cannot be opened", said=[str(error)]
            ) from None
        self._stack.callback(translator.close)

    def pass_on(self, port: str, frames: list[bytes]) -> bool:
        """Whether a message for the kernel is to reach it; called in another thread."""
        return True


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
