"""A line with a delay: TCP connections that are passed on, each byte some time after it came."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from types import TracebackType


class Relay:
    """Listens on a port of 127.0.0.1, and passes on to an ssh server.

    Attributes:
        port: on which it listens.
    """

    def __init__(self, host: str, delay: float) -> None:
        """Begin to listen.

        Args:
            host: to whose port 22 connections lead.
            delay: seconds in each direction.
        """
        self._host, self._delay = host, delay
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def stall(self) -> None:
        """Pass nothing on from now on."""
        self._may_pass.clear()

    def go_on(self) -> None:
        """Pass everything on again, also what has come meanwhile."""
        self._may_pass.set()

    def __enter__(self) -> Relay:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End all connections."""
        self.go_on()
        for sock in (self._listener, *self._sockets):
            # The thread that waits for it wakes up.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection((self._host, 22))
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # As much as may be on its way on such a line.
                pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(64)
                self._start(self._read, source, pieces)
                self._start(self._write, target, pieces)

    def _read(self, source: socket.socket, pieces: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"more"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            pieces.put((time.monotonic() + self._delay, data))

    def _write(self, target: socket.socket, pieces: queue.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, data = pieces.get()
            # A line's delay is what this is there for.
            time.sleep(max(0.0, due - time.monotonic()))
            self._may_pass.wait()
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                # Nobody listens any more; what still comes is thrown away.
                if not data:
                    return
