"""Between front ends and a kernel with other keys: signatures, encryption, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from remote_kernels.translator import Answer, Keys, Translator

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
KINDS = (zmq.ROUTER, zmq.XPUB, zmq.ROUTER, zmq.ROUTER, zmq.REP)


def curve() -> dict[str, str]:
    public, secret = zmq.curve_keypair()
    return {"curve_publickey": public.decode(), "curve_secretkey": secret.decode()}


class Both:
    """A kernel's sockets, a translator, and a front end's sockets."""

    def __init__(self, directory: Path, near: dict[str, str], far: dict[str, str]) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        numbers = {port: number for number, port in enumerate(PORTS, 1)}
        ipc = {"transport": "ipc", **numbers}
        self.near = {**ipc, "ip": f"{directory}/near", "key": "ours", **near}
        self.far = {**ipc, "ip": f"{directory}/far", "key": "theirs", **far}
        self.kernel = {
            port: self._socket(kind, far) for port, kind in zip(PORTS, KINDS, strict=True)
        }
        for port, kernel in self.kernel.items():
            kernel.bind(f"ipc://{directory}/far-{numbers[port]}")
        self.heeded: list[dict[str, Any]] = []
        self.translator = Translator(self.near, self.far, f"{directory}/far", self._heed)
        self.front = {
            port: self._socket(kind, {})
            for port, kind in zip(
                PORTS, (zmq.DEALER, zmq.SUB, zmq.DEALER, zmq.DEALER, zmq.REQ), strict=True
            )
        }
        for port, front in self.front.items():
            Keys(self.near).use(front)
            if port == "iopub_port":
                front.subscribe(b"")
            elif port != "hb_port":
                front.identity = b"front end"
            front.connect(f"ipc://{directory}/near-{numbers[port]}")

    def _socket(self, kind: int, keys: dict[str, str]) -> zmq.Socket[bytes]:
        found: zmq.Socket[bytes] = self.context.socket(kind)
        found.setsockopt(zmq.RCVTIMEO, 10_000)
        found.linger = 0
        if keys:
            Keys(keys).serve(found)
        return found

    def _heed(
        self, header: dict[str, Any], content: dict[str, Any]
    ) -> Answer | dict[str, Any] | None:
        self.heeded.append(header)
        if header["msg_type"] == "shutdown_request":
            return Answer("shutdown_reply", {"status": "ok"})
        if header["msg_type"] == "execute_request":
            self.translator.publish("stream", {"text": "before"}, header)
            return {**content, "code": "another"}
        return None

    def close(self) -> None:
        self.translator.close()
        for each in (*self.kernel.values(), *self.front.values()):
            each.close(0)
        self.context.term()


@pytest.fixture(params=["plain", "near", "far", "both"])
def both(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Both]:
    """With encryption on either side, on both or on none."""
    near = curve() if request.param in ("near", "both") else {}
    far = curve() if request.param in ("far", "both") else {}
    found = Both(tmp_path, near, far)
    yield found
    found.close()


def signed(keys: dict[str, Any], kind: str, **content: Any) -> list[bytes]:
    header = {"msg_type": kind, "msg_id": "1", "session": "s"}
    frames = [json.dumps(x).encode() for x in (header, {}, {}, content)]
    return [b"<IDS|MSG>", Keys(keys).signature(frames), *frames]


def test_messages_are_signed_anew_in_both_directions(both: Both) -> None:
    sent = signed(both.near, "comm_info_request", a="ü")
    both.front["shell_port"].send_multipart([*sent, b"buffer"])
    addresses_and_message = both.kernel["shell_port"].recv_multipart()
    at = addresses_and_message.index(b"<IDS|MSG>")
    assert addresses_and_message[at:] == [*signed(both.far, "comm_info_request", a="ü"), b"buffer"]
    reply = [*addresses_and_message[:at], *signed(both.far, "comm_info_reply")]
    both.kernel["shell_port"].send_multipart(reply)
    assert both.front["shell_port"].recv_multipart() == signed(both.near, "comm_info_reply")
    # What the kernel asks for goes to whom has caused it, on another socket.
    ask = [*addresses_and_message[:at], *signed(both.far, "input_request")]
    both.front["stdin_port"].send_multipart(signed(both.near, "hello"))
    both.kernel["stdin_port"].recv_multipart()
    both.kernel["stdin_port"].send_multipart(ask)
    assert both.front["stdin_port"].recv_multipart() == signed(both.near, "input_request")


def test_what_is_published_and_the_heartbeat(both: Both) -> None:
    assert both.kernel["iopub_port"].recv() == b"\x01"
    both.kernel["iopub_port"].send_multipart([b"topic", *signed(both.far, "status")])
    assert both.front["iopub_port"].recv_multipart() == [b"topic", *signed(both.near, "status")]
    both.front["hb_port"].send(b"ping")
    assert both.kernel["hb_port"].recv() == b"ping"
    both.kernel["hb_port"].send(b"ping")
    assert both.front["hb_port"].recv() == b"ping"


def test_what_is_not_signed_is_not_passed_on(both: Both) -> None:
    forged = signed({"key": "guessed"}, "comm_info_request")
    both.front["shell_port"].send_multipart(forged)
    both.front["shell_port"].send_multipart(signed(both.near, "kernel_info_request"))
    (header,) = [x for x in both.kernel["shell_port"].recv_multipart() if b"msg_type" in x]
    assert b"kernel_info_request" in header
    both.kernel["iopub_port"].recv()
    both.kernel["iopub_port"].send_multipart([b"", *signed({"key": "guessed"}, "status")])
    both.kernel["iopub_port"].send_multipart([b"", *signed(both.far, "stream")])
    assert b"stream" in both.front["iopub_port"].recv_multipart()[3]


def test_what_is_answered_does_not_reach_the_kernel(both: Both) -> None:
    for port in ("control_port", "shell_port"):
        both.front[port].send_multipart(signed(both.near, "shutdown_request"))
        _, signature, *frames = both.front[port].recv_multipart()
        assert Keys(both.near).signature(frames) == signature
        assert json.loads(frames[0])["msg_type"] == "shutdown_reply"
        assert json.loads(frames[1])["msg_id"] == "1"
        assert not both.kernel[port].poll(50)


def test_a_message_with_another_content(both: Both) -> None:
    both.kernel["iopub_port"].recv()
    both.front["shell_port"].send_multipart(signed(both.near, "execute_request", code="x", y=1))
    *_, content = both.kernel["shell_port"].recv_multipart()
    assert json.loads(content) == {"code": "another", "y": 1}
    _, _, signature, *frames = both.front["iopub_port"].recv_multipart()
    assert Keys(both.near).signature(frames) == signature
    assert json.loads(frames[3]) == {"text": "before"}


def test_a_message_that_makes_no_sense_is_the_kernel_s(both: Both) -> None:
    frames = [b"{", b"", b"", b""]
    message = [b"<IDS|MSG>", Keys(both.near).signature(frames), *frames]
    both.front["shell_port"].send_multipart(message)
    assert both.kernel["shell_port"].recv_multipart()[-4:] == frames


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    taken = context.socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    near = {"transport": "tcp", "ip": "127.0.0.1", **dict.fromkeys(PORTS, port)}
    with pytest.raises(zmq.ZMQError):
        Translator(near, near, f"{tmp_path}/far")
    taken.close(0)
    context.term()
