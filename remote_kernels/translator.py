"""Between front ends and a kernel whose keys they do not know.

Messages of Jupyter are signed, and their sockets may be encrypted, with keys that stand in a
connection file. Where front ends have another file than the kernel (Jupyter writes one at each
start), or can make no use of what stands in it (an encrypted kernel is nothing for
``jupyter console --existing``), their messages are taken, looked at, signed anew and passed on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import zmq

from remote_kernels.connection_file import PORT_NAMES

# What ends the addresses of a message (the messaging protocol of jupyter_client).
_DELIMITER = b"<IDS|MSG>"
# Behind it: signature, header, parent header, metadata and content; then buffers.
_SIGNED = 4
# Messages that wait for a front end that does not read; libzmq's own is too few for a flood.
_MOST_WAITING = 20_000

# What comes on these is heeded.
_HEEDED = ("shell_port", "control_port")
_ROUTED = ("shell_port", "control_port", "stdin_port")
_Frames = list[bytes]


class Answer(NamedTuple):
    """What is answered in the place of a kernel.

    Attributes:
        kind: the type of the message, as in shutdown_reply.
        content: of it.
    """

    kind: str
    content: dict[str, Any]


#: Takes header and content of a message for the kernel. Gives an answer for one that is not to
#: reach it, or another content, or None.
Heed = Callable[[dict[str, Any], dict[str, Any]], Answer | dict[str, Any] | None]


class Keys:
    """How the messages of one connection file are signed and encrypted."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        """Read them.

        Args:
            info: content of a connection file.
        """
        self._key = str(info.get("key") or "").encode()
        scheme = str(info.get("signature_scheme") or "hmac-sha256")
        self._digest = scheme.removeprefix("hmac-")
        hashlib.new(self._digest)
        self._public = str(info.get("curve_publickey") or "").encode()
        self._secret = str(info.get("curve_secretkey") or "").encode()

    def signature(self, frames: _Frames) -> bytes:
        """That of header, parent header, metadata and content."""
        if not self._key:
            return b""
        signer = hmac.new(self._key, digestmod=self._digest)
        for frame in frames:
            signer.update(frame)
        return signer.hexdigest().encode()

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket be encrypted as the kernel's side of a connection."""
        if self._secret:
            socket.curve_server = True
            socket.curve_secretkey = self._secret

    def use(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket be encrypted as a front end's side."""
        if self._public:
            socket.curve_publickey = socket.curve_serverkey = self._public
            socket.curve_secretkey = self._secret


class Translator:
    """Sockets for front ends, and others to a kernel, in a thread of its own."""

    def __init__(
        self,
        near: Mapping[str, Any],
        far: Mapping[str, Any],
        place: str,
        heed: Heed | None = None,
    ) -> None:
        """Begin; front ends can connect when this returns.

        Args:
            near: the connection file of the front ends.
            far: that of the kernel.
            place: prefix of the unix sockets that lead to the kernel, each followed by a dash and
                its number in the order of :data:`~remote_kernels.connection_file.PORT_NAMES`.
            heed: is shown what comes for the kernel on shell and control. It is called in the
                thread.

        Raises:
            zmq.ZMQError: a socket cannot be opened.
            ValueError: a file names a signature that is not known here.
        """
        self._near_keys, self._far_keys, self._heed = Keys(near), Keys(far), heed
        self._context: zmq.Context[Any] = zmq.Context()
        self._pairs: dict[zmq.Socket[bytes], tuple[str, zmq.Socket[bytes], bool]] = {}
        # The kernel answers on stdin whom it knows by this name from shell.
        self._name = f"remote-kernels-{hashlib.sha256(place.encode()).hexdigest()[:16]}".encode()
        try:
            for number, port in enumerate(PORT_NAMES, 1):
                self._connect(port, _endpoint(near, port), f"ipc://{place}-{number}")
        except zmq.ZMQError:
            self.close()
            raise
        self._wake, ours = (self._context.socket(zmq.PAIR) for _ in range(2))
        self._wake.bind("inproc://end")
        ours.connect("inproc://end")
        self._end = ours
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close all sockets."""
        if hasattr(self, "_thread"):
            self._wake.send(b"")
            self._thread.join()
            self._wake.close(0)
        for socket in self._pairs:
            socket.close(0)
        self._context.term()

    def _connect(self, port: str, near: str, far: str) -> None:
        kinds = (zmq.XPUB, zmq.XSUB) if port == "iopub_port" else (zmq.ROUTER, zmq.DEALER)
        front, back = (self._context.socket(kind) for kind in kinds)
        self._pairs[front], self._pairs[back] = (port, back, True), (port, front, False)
        for socket in (front, back):
            socket.linger = 0
            socket.set_hwm(_MOST_WAITING)
            if near.startswith("tcp://["):
                socket.ipv6 = True
        if port == "iopub_port":
            # Each front end is greeted by a kernel that does so, and not only the first.
            front.setsockopt(zmq.XPUB_VERBOSE, 1)
        if port in _ROUTED:
            back.identity = self._name
        self._near_keys.serve(front)
        self._far_keys.use(back)
        front.bind(near)
        back.connect(far)

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in (*self._pairs, self._end):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._end in ready:
                self._end.close(0)
                return
            for socket in ready:
                self._take(socket)

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        """Pass on all that has come by a socket."""
        port, other, for_kernel = self._pairs[socket]
        with suppress(zmq.Again):
            for _ in range(100):
                frames = socket.recv_multipart(zmq.NOBLOCK)
                translated = self._translated(port, frames, for_kernel=for_kernel)
                if translated is not None:
                    # A front end that has gone is none to wait for.
                    with suppress(zmq.Again):
                        other.send_multipart(translated, zmq.NOBLOCK)

    def _translated(self, port: str, frames: _Frames, *, for_kernel: bool) -> _Frames | None:
        """A message with the signature of the other side; None if it is not to be passed on."""
        if port == "hb_port" or _DELIMITER not in frames:
            # Heartbeats, and who wants to hear of what.
            return frames
        at = frames.index(_DELIMITER) + 1
        signed = frames[at + 1 : at + 1 + _SIGNED]
        one, other = self._near_keys, self._far_keys
        if not for_kernel:
            one, other = other, one
        if len(signed) < _SIGNED or not hmac.compare_digest(one.signature(signed), frames[at]):
            return None
        if for_kernel and self._heed is not None and port in _HEEDED:
            instead = self._instead(signed)
            if isinstance(instead, Answer):
                self._answer(port, frames[:at], signed, instead)
                return None
            if instead is not None:
                signed[3] = json.dumps(instead).encode()
                frames[at + 4] = signed[3]
        return [*frames[:at], other.signature(signed), *frames[at + 1 :]]

    def _instead(self, signed: _Frames) -> Answer | dict[str, Any] | None:
        """What is answered in the kernel's place, or what it gets for a message's content."""
        assert self._heed is not None
        try:
            return self._heed(json.loads(signed[0]), json.loads(signed[3]))
        except (ValueError, AttributeError, TypeError):
            # What makes no sense is for the kernel to tell.
            return None

    def publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Publish an output as the kernel would; only in the thread, from what heeds a message.

        Args:
            kind: of the message.
            content: of it.
            parent: header of the message that it is to belong to.
        """
        frames = self._made(parent, kind, content)
        front = self._front("iopub_port")
        message = [kind.encode(), _DELIMITER, self._near_keys.signature(frames), *frames]
        with suppress(zmq.Again):
            front.send_multipart(message, zmq.NOBLOCK)

    def _front(self, port: str) -> zmq.Socket[bytes]:
        pairs = self._pairs.items()
        return next(socket for socket, (name, _, is_front) in pairs if is_front and name == port)

    @staticmethod
    def _made(parent: dict[str, Any], kind: str, content: dict[str, Any]) -> _Frames:
        """Header, parent header, metadata and content of a message of the kernel's."""
        header = {
            **parent,
            "msg_id": str(uuid.uuid4()),
            "msg_type": kind,
            "date": datetime.now(timezone.utc).isoformat(),
        }
        texts: tuple[dict[str, Any], ...] = (header, parent, {}, content)
        return [json.dumps(text).encode() for text in texts]

    def _answer(self, port: str, addresses: _Frames, signed: _Frames, answer: Answer) -> None:
        frames = self._made(json.loads(signed[0]), answer.kind, answer.content)
        message = [*addresses, self._near_keys.signature(frames), *frames]
        with suppress(zmq.Again):
            self._front(port).send_multipart(message, zmq.NOBLOCK)


def _endpoint(info: Mapping[str, Any], port: str) -> str:
    """Where front ends expect a socket."""
    ip, number = str(info.get("ip") or "127.0.0.1"), info[port]
    if info.get("transport") == "ipc":
        return f"ipc://{ip}-{number}"
    return f"tcp://[{ip}]:{number}" if ":" in ip else f"tcp://{ip}:{number}"
