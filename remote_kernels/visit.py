"""A visit to a kernel that somebody else has started: its sockets here, and nothing of its end.

The keeper over there (:mod:`~remote_kernels.visiting_keeper`) finds the kernel and tells what its
connection file says. Front ends have another file, and some would end the kernel when they end, so
a :class:`~remote_kernels.translator.Translator` is between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import zmq

from remote_kernels import errors
from remote_kernels.channel import TOKEN_SIZE
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.interfaces.base import spool_of
from remote_kernels.keeper_order import kept_as, kernel_order, order_for
from remote_kernels.kept_channel import KeptChannel
from remote_kernels.kept_kernel import KeptKernel
from remote_kernels.kept_kernels import KeptOrder
from remote_kernels.kept_life import KeptLife
from remote_kernels.life import Life, nonsense
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin
from remote_kernels.translator import Answer, Translator
from remote_kernels.visiting_keeper import VisitOrder

# Seconds in which an interrupt may turn out to be the beginning of an end.
_PRELUDE = 0.3
# What people type into IPython's front ends to leave them.
_LEAVES = frozenset({"exit", "quit", "exit()", "quit()"})


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
        held: VisitOrder | KeptOrder,
        met: Callable[[Visited], dict[str, Any]],
        hop: bytes = b"",
    ) -> None:
        """Prepare; see :class:`KeptLife`.

        Args:
            life: of the kernel; its connection file says where front ends connect.
            place: for ssh's configuration and sockets.
            held: which kernel is wanted.
            met: takes the kernel that was found; gives the connection file that front ends have.
            hop: see :class:`~remote_kernels.kept_channel.KeptChannel`.
        """
        self.life = life
        order = order_for(life, held, os.urandom(TOKEN_SIZE))
        self.channel = KeptChannel(life, place, order, hop)
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
        self.translator: Translator | None = None

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
        self._translate(self._met(visited), visited.info)

    def _translate(self, near: dict[str, Any], far: dict[str, Any]) -> None:
        """Carry the sockets to a directory of ours, and let front ends go through a translator."""
        place = PrivateDirectory()
        self._stack.callback(place.remove)
        inner: dict[str, Any] = {"transport": "ipc", "ip": f"{place.path}/k"}
        inner.update({port: number for number, port in enumerate(PORT_NAMES, 1)})
        self._stack.callback(self.kernel.close)
        self.kernel.listen(ConnectionFile(self.life.connection.path, inner, ""))
        try:
            translator = Translator(near, far, str(inner["ip"]), self.heed)
        except (zmq.ZMQError, ValueError) as error:
            raise errors.ForwardError(
                "Jupyter's ports on this machine cannot be opened", said=[str(error)]
            ) from None
        self._stack.callback(translator.close)
        self.translator = translator

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """Keep front ends from ending the kernel when they end; called in another thread.

        Some ask for its end, and what is typed into a console to leave it ends IPython's kernel.
        """
        kind = header.get("msg_type")
        if kind == "shutdown_request":
            return Answer(
                "shutdown_reply", {"status": "ok", "restart": bool(content.get("restart"))}
            )
        if kind == "execute_request" and str(content.get("code")).strip() in _LEAVES:
            return {**content, "code": "exit(keep_kernel=True)"}
        return None


class KernelVisit(Visit):
    """A visit by a kernelspec: Jupyter takes the kernel for one that it has started itself."""

    def __init__(self, life: Life, place: PrivateDirectory) -> None:
        """Prepare; see :class:`KeptLife`."""
        super().__init__(life, place, self._wanted(life), lambda _: life.connection.info)
        self._leaves, self._wake = False, -1

    def _wanted(self, life: Life) -> VisitOrder | KeptOrder:
        return VisitOrder(life.options.existing or "", spool_of(life.options))

    def begin(self, login: tuple[PipeSession, SharedLogin | None] | None, stack: ExitStack) -> None:
        """See :class:`Visit`."""
        super().begin(login, stack)
        read, self._wake = os.pipe()

        def leave() -> None:
            self.channel.loop.watch(read)
            self.terminate()

        self.channel.loop.watch(read, leave)

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """See :class:`Visit`; Jupyter's wish that the kernel ends is the end of the visit."""
        instead = super().heed(header, content)
        if isinstance(instead, Answer) and not self._leaves:
            self._leaves = True
            os.write(self._wake, b"-")
        return instead

    def interrupt(self) -> None:
        """See :class:`KeptLife`. Before it wants a kernel to end, Jupyter interrupts it."""

        def unless_it_leaves() -> None:
            if not self._leaves:
                self.kernel.interrupt()

        self.channel.loop.after(_PRELUDE, unless_it_leaves)


class StayingKernel(KernelVisit):
    """A kernel that stays when Jupyter ends it: it is started, or come back to."""

    def __init__(self, life: Life, place: PrivateDirectory) -> None:
        """Prepare; see :class:`KeptLife`."""
        super().__init__(life, place)
        self._missed_text = bytearray()
        self._missed: list[dict[str, Any]] = []

    def _wanted(self, life: Life) -> VisitOrder | KeptOrder:
        return KeptOrder(kept_as(life), vars(kernel_order(life)))

    def _on_message(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "MISSED":
            self._on_missed(rest)
            return
        super()._on_message(line)
        if word == "START" and self.translator is None:
            # A new one, with the file that Jupyter wrote.
            info = self.life.connection.info
            self._translate(info, info)

    def _on_missed(self, text: str) -> None:
        """Take what was published while nobody was there, piece by piece."""
        with suppress(ValueError):
            self._missed_text += bytes.fromhex(text)
            if not text:
                self._missed = [x for x in json.loads(self._missed_text) if isinstance(x, dict)]

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """See :class:`KernelVisit`; a restart is one, and what is typed reaches the kernel."""
        kind = header.get("msg_type")
        if kind == "execute_request":
            self._show_missed(header)
            return None
        if kind == "shutdown_request" and content.get("restart"):
            return None
        return super().heed(header, content)

    def _show_missed(self, header: dict[str, Any]) -> None:
        """Show what was missed among the outputs of the first cell."""
        missed, self._missed = self._missed, []
        if not missed or self.translator is None:
            return
        since = time.strftime("%H:%M on %Y-%m-%d", time.localtime(_moment(missed[0])))
        text = f"[printed while nobody was here, since {since}]\n"
        for kind, content in (
            ("stream", {"name": "stderr", "text": text}),
            *((str(each.get("kind")), each.get("content")) for each in missed),
            ("stream", {"name": "stderr", "text": "[now]\n"}),
        ):
            if kind in _OUTPUTS and isinstance(content, dict):
                self.translator.publish(kind, content, header)

    def terminate(self) -> None:
        """Leave; the kernel stays. See :class:`KeptLife`."""
        if self.visited is None and self.life.stage == "up":
            self.life.was_left = True
            self.channel.part()
        elif self.visited is None and self.life.stage != "login":
            KeptLife.terminate(self)
        else:
            super().terminate()


_OUTPUTS = frozenset({"stream", "display_data", "execute_result", "error"})


def _moment(output: dict[str, Any]) -> float:
    at = output.get("at")
    return float(at) if isinstance(at, (int, float)) and at > 0 else time.time()


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
