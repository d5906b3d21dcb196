"""What a kernel publishes, as it is heard without ZeroMQ's library; the publisher has that."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from bed.waiting import wait_until
from remote_kernels.missed import Missed
from remote_kernels.zmtp import GREETING, Subscriber


@pytest.fixture(params=[zmq.PUB, zmq.XPUB])
def publisher(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[zmq.Socket[bytes]]:
    """A socket as kernels have it, of ipykernel before version 7 and from there on."""
    context: zmq.Context[Any] = zmq.Context()
    found: zmq.Socket[bytes] = context.socket(request.param)
    found.bind(f"ipc://{tmp_path}/publisher")
    yield found
    found.close(0)
    context.term()


class Heard:
    """Somebody who listens."""

    def __init__(self, path: Path, piece: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(0.05)
        self._socket.connect(str(path / "publisher"))
        self._socket.sendall(GREETING)
        self._piece = piece
        self._subscriber = Subscriber()
        self.messages: list[list[bytes]] = []

    def take(self) -> None:
        """Take what comes next, if something does."""
        try:
            data = self._socket.recv(self._piece)
        except TimeoutError:
            return
        messages, answer = self._subscriber.take(data)
        self.messages += messages
        if answer:
            self._socket.sendall(answer)

    def all_of(self, publisher: zmq.Socket[bytes], sent: list[list[bytes]]) -> list[list[bytes]]:
        """What is heard of messages, once it is known that all that is published is heard."""

        def has_begun() -> bool:
            publisher.send_multipart([b"first"])
            self.take()
            return bool(self.messages)

        wait_until(has_begun, 20, "a first message")
        for message in [*sent, [b"last"]]:
            publisher.send_multipart(message)

        def has_ended() -> bool:
            self.take()
            return self.messages[-1] == [b"last"]

        # In pieces of one byte, that takes as many turns.
        deadline = time.monotonic() + 30
        while not has_ended():
            assert time.monotonic() < deadline, self.messages
        self._socket.close()
        return [message for message in self.messages[:-1] if message != [b"first"]]


@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_all_that_is_published_is_heard(
    publisher: zmq.Socket[bytes], tmp_path: Path, piece: int
) -> None:
    sent = [[b"", b"x"], [b"y" * 255, b"z" * 256, b""], [b"w" * 7000]]
    assert Heard(tmp_path, piece).all_of(publisher, sent) == sent


def test_what_is_too_large_is_left_out(publisher: zmq.Socket[bytes], tmp_path: Path) -> None:
    sent = [[b"a", b"x" * (2 << 20), b"b"], [b"c"]]
    assert Heard(tmp_path, 65536).all_of(publisher, sent) == [[b"c"]]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_anything_may_come(pieces: list[bytes]) -> None:
    subscriber = Subscriber()
    for piece in [GREETING, *pieces]:
        messages, _ = subscriber.take(piece)
        assert all(isinstance(part, bytes) for message in messages for part in message)


# --- what is kept of it ---------------------------------------------------------------------------


CELL = {"msg_type": "execute_request"}


def message(kind: str, parent: Any = CELL, **content: Any) -> list[bytes]:
    texts = ({"msg_type": kind}, parent, {}, content)
    return [b"topic", b"<IDS|MSG>", b"", *(json.dumps(text).encode() for text in texts)]


def kept(missed: Missed) -> list[tuple[str, Any]]:
    return [(x["kind"], x["content"]) for x in json.loads(missed.as_json())]


def test_outputs_are_kept_and_nothing_else() -> None:
    missed = Missed()
    for parts in (
        message("status", execution_state="busy"),
        message("stream", name="stdout", text="a"),
        message("error", ename="E", traceback=[]),
        # Of a kernel that starts.
        message("stream", parent={}, name="stderr", text="warning"),
        message("stream", parent={"msg_type": "kernel_info_request"}, name="stderr", text="x"),
        message("stream", parent=[], name="stderr", text="x"),
        [b"nonsense"],
        [b"<IDS|MSG>", b"", b"[]", b"", b"", b""],
        [b"<IDS|MSG>", b"", b"\xff", b"", b"", b"{}"],
    ):
        missed.note(parts)
    assert [kind for kind, _ in kept(missed)] == ["stream", "error"]


def test_the_oldest_goes_first() -> None:
    missed = Missed()
    for number in range(6):
        missed.note(message("stream", name="stdout", text=f"{number}" * 300_000))
    found = kept(missed)
    assert found[0][1]["text"] == "[3 outputs before these were dropped]\n"
    assert [content["text"][0] for _, content in found[1:]] == ["3", "4", "5"]
