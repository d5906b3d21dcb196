"""Front ends of a kernel that is not to end with them.

They have another connection file than the kernel, and some would end it when they end, so a
:class:`~remote_kernels.translator.Translator` is between. Here is what it lets through.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, suppress
from typing import Any

import zmq

from remote_kernels import errors
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.kept_life import KeptLife
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.translator import Answer, Translator

# Seconds in which an interrupt may turn out to be the beginning of an end.
_PRELUDE = 0.3
# What people type into IPython's front ends to leave them.
_LEAVES = frozenset({"exit", "quit", "exit()", "quit()"})
_OUTPUTS = frozenset({"stream", "display_data", "execute_result", "error"})


class FrontEnds:
    """Those of a person: the kernel does not hear that it is to end."""

    def __init__(self, kept: KeptLife) -> None:
        """Prepare.

        Args:
            kept: the life of the kernel.
        """
        self._kept = kept
        self._translator: Translator | None = None

    @property
    def can_connect(self) -> bool:
        """Whether the sockets for them are open."""
        return self._translator is not None

    def admit(self, near: dict[str, Any], far: dict[str, Any], stack: ExitStack) -> None:
        """Carry the kernel's sockets to a directory of ours, and let front ends go through there.

        Args:
            near: the connection file that front ends have.
            far: that of the kernel.
            stack: takes what is to be done at the end.

        Raises:
            ForwardError: the ports are taken.
        """
        place = PrivateDirectory()
        stack.callback(place.remove)
        inner: dict[str, Any] = {"transport": "ipc", "ip": f"{place.path}/k"}
        inner.update({port: number for number, port in enumerate(PORT_NAMES, 1)})
        stack.callback(self._kept.kernel.close)
        self._kept.kernel.listen(ConnectionFile(self._kept.life.connection.path, inner, ""))
        try:
            self._translator = Translator(near, far, str(inner["ip"]), self.heed)
        except (zmq.ZMQError, ValueError) as error:
            raise errors.ForwardError(
                "Jupyter's ports on this machine cannot be opened", said=[str(error)]
            ) from None
        stack.callback(self.close)

    def close(self) -> None:
        """Let no front end in any more."""
        translator, self._translator = self._translator, None
        if translator is not None:
            translator.close()

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """Keep front ends from ending the kernel when they end; called in another thread.

        Some ask for its end, and what is typed into a console to leave it ends IPython's kernel.
        """
        kind = header.get("msg_type")
        if kind == "shutdown_request":
            restart = bool(content.get("restart"))
            return Answer("shutdown_reply", {"status": "ok", "restart": restart})
        if kind == "execute_request" and str(content.get("code")).strip() in _LEAVES:
            return {**content, "code": "exit(keep_kernel=True)"}
        return None

    def publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Show them an output that is none of the kernel's; see :meth:`Translator.publish`."""
        if self._translator is not None:
            self._translator.publish(kind, content, parent)


class JupytersFrontEnds(FrontEnds):
    """Those of a Jupyter that takes the kernel for one that it has started itself.

    Its wish that the kernel ends is the end of the visit.
    """

    def __init__(self, kept: KeptLife) -> None:
        """Prepare; see :class:`FrontEnds`."""
        super().__init__(kept)
        self._leave = kept.from_thread(kept.terminate)
        self._leaves = False

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """See :class:`FrontEnds`."""
        instead = super().heed(header, content)
        if isinstance(instead, Answer) and not self._leaves:
            self._leaves = True
            self._leave()
        return instead

    def interrupt(self) -> None:
        """Interrupt the kernel, unless that is how Jupyter begins to end it."""

        def unless_it_leaves() -> None:
            if not self._leaves:
                self._kept.kernel.interrupt()

        self._kept.channel.loop.after(_PRELUDE, unless_it_leaves)


class KeepingFrontEnds(JupytersFrontEnds):
    """Those of a Jupyter whose kernel stays, to which it may come back.

    A restart is one, and what is typed reaches the kernel. The first cell shows what was missed.

    Attributes:
        restarts: Jupyter starts the kernel anew, so that this one is not to stay.
        are_back: they have come back to a kernel, whose keeper starts it anew in its place.
    """

    def __init__(self, kept: KeptLife) -> None:
        """Prepare; see :class:`FrontEnds`."""
        super().__init__(kept)
        self.restarts = self.are_back = False
        self._restart = kept.from_thread(self._restart_there)
        self._missed_text = bytearray()
        self._missed: list[dict[str, Any]] = []
        self._tell_shown = kept.from_thread(lambda: kept.channel.tell("SHOWN"))
        self._is_shown = False

    def on_missed(self, text: str) -> None:
        """Take what was published while nobody was there, piece by piece.

        Args:
            text: a piece in hexadecimal digits; empty behind the last one.
        """
        with suppress(ValueError):
            self._missed_text += bytes.fromhex(text)
            if text:
                return
            found, self._missed_text = json.loads(self._missed_text), bytearray()
            self._missed = [x for x in found if isinstance(x, dict)]

    def heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        """See :class:`FrontEnds`."""
        kind = header.get("msg_type")
        if kind == "execute_request":
            self._show_missed(header)
            return None
        if kind == "shutdown_request" and content.get("restart"):
            self.restarts = True
            if not self.are_back:
                return None
            if not self._leaves:
                self._leaves = True
                self._restart()
            return Answer("shutdown_reply", {"status": "ok", "restart": True})
        return super().heed(header, content)

    def _restart_there(self) -> None:
        """Have the kernel started anew, and leave: Jupyter's next launcher comes back to it."""
        self._kept.channel.tell("RESTART")
        self._kept.terminate()

    def _show_missed(self, header: dict[str, Any]) -> None:
        """Show what was missed among the outputs of the first cell.

        Until then it is kept over there, and what has come in between belongs to the next one.
        """
        if self.are_back and not self._is_shown:
            self._is_shown = True
            self._tell_shown()
        missed, self._missed = self._missed, []
        if not missed:
            return
        since = time.strftime("%H:%M on %Y-%m-%d", time.localtime(_moment(missed[0])))
        text = f"[printed while nobody was here, since {since}]\n"
        for kind, content in (
            ("stream", {"name": "stderr", "text": text}),
            *((str(each.get("kind")), each.get("content")) for each in missed),
            ("stream", {"name": "stderr", "text": "[now]\n"}),
        ):
            if kind in _OUTPUTS and isinstance(content, dict):
                self.publish(kind, content, header)


def _moment(output: dict[str, Any]) -> float:
    at = output.get("at")
    return float(at) if isinstance(at, (int, float)) and at > 0 else time.time()
