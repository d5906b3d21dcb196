"""A kernel or server with a keeper, as the launcher has it: its sockets, its words and its end."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from remote_kernels import errors
from remote_kernels.carrier import Connection, Loop, take_lines
from remote_kernels.channel import Channel, ChannelError
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.keeper import FIRST_SOCKET, OUTPUT
from remote_kernels.life import Life
from remote_kernels.socket_keeper import OUTPUT_RANK, SOCKETS, SOCKETS_RANK

# Seconds: ipykernel (6) listens before it can be interrupted.
_BEGUN = 0.2
# For the start-up files of the login shell.
_SHELL_PATIENCE = 120.0


class KeptKernel:
    """One kernel at the other end of a channel."""

    def __init__(
        self,
        life: Life,
        loop: Loop,
        channel: Channel,
        *,
        tell: Callable[..., None],
        ended: Callable[[], None],
        failed: Callable[[RemoteKernelsError], None],
        is_away: Callable[[], bool],
    ) -> None:
        """Prepare.

        Args:
            life: of the kernel.
            loop: to wait in.
            channel: to its keeper.
            tell: says words to the keeper.
            ended: called when the kernel has ended and all its words are here; maybe repeatedly.
            failed: called when it cannot be started.
            is_away: whether nothing can be heard of it.
        """
        self.life = life
        self._loop, self._channel, self._tell, self._ended = loop, channel, tell, ended
        self._failed, self._is_away = failed, is_away
        self._output = channel.open(OUTPUT, OUTPUT_RANK)
        take_lines(self._output, self._on_output)
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, Connection] = {}
        self._number = FIRST_SOCKET
        self._up_at = 0.0

    def interrupt(self) -> None:
        """Pass an interrupt on."""
        if self.life.stage == "up" and time.monotonic() - self._up_at >= _BEGUN:
            self.life.log("interrupt")
            self._tell("INT")
        else:
            # A kernel that does not listen yet runs no cell, and an interrupt would end it.
            self.life.log("interrupt: nothing runs yet")

    def terminate(self) -> None:
        """Let it end in order, and soon."""
        self._tell("TERM")

    def on_message(self, line: str) -> None:
        """Take what the keeper says."""
        self.life.log(f"far side: {line}")
        if line == "UP":
            self._up_at = time.monotonic()
        elif line == "PAUSED":
            self.life.warn(
                "remote-kernels: the kernel pauses, since so much of its output waits for the line "
                "(--spool)"
            )
        elif line == "GOES ON":
            self.life.warn("remote-kernels: the kernel goes on")
        self.life.event(line)
        if line.startswith("COPY "):
            self._loop.after(_SHELL_PATIENCE, self._on_silent_shell)
        self._look_for_end()

    def _on_silent_shell(self) -> None:
        """A start-up file may wait for what never comes."""
        if self.life.stage != "shell" or self.life.far_status is not None:
            return
        if self._is_away():
            self._loop.after(_SHELL_PATIENCE, self._on_silent_shell)
            return
        sentence = (
            f"the login shell over there did not run our command within {_SHELL_PATIENCE:.0f} s"
        )
        self._failed(errors.ShellError(sentence, said=self.life.said))

    def _on_output(self, line: str) -> None:
        _, event = self.life.line(line)
        if event:
            self.life.event(event)
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self.life.far_status is not None and self._output.peer_ended:
            self._ended()

    # --- the sockets ----------------------------------------------------------------------------

    def listen(
        self, connection: ConnectionFile | None = None, sockets: Sequence[str] = SOCKETS
    ) -> None:
        """Open the sockets that Jupyter, or a browser, connects to.

        Args:
            connection: where they are to be; None for those of the life.
            sockets: their names, in the order of their urgency.

        Raises:
            ForwardError: somebody else has one of them.
        """
        connection = connection or self.life.connection
        info = connection.info
        for index, name in enumerate(sockets):
            endpoint = connection.local_endpoint(name)
            try:
                listener = _listening(str(info.get("ip") or "127.0.0.1"), endpoint, info[name])
            except OSError as error:
                raise errors.ForwardError(
                    "Jupyter's ports on this machine cannot be opened",
                    said=[f"{endpoint}: {error.strerror}"],
                    advice="look for another program that holds these ports (ss -tlnp); "
                    "start the kernel again for new ones",
                ) from None
            self._listeners.append(listener)
            self._watch_listener(listener, index)

    def _watch_listener(self, listener: socket.socket, index: int) -> None:
        def accept() -> None:
            try:
                connection = listener.accept()[0]
            except OSError:
                # It has gone again, or there are no descriptors left.
                return
            self._carry(connection, index)

        self._loop.watch(listener.fileno(), accept)

    def _carry(self, near: socket.socket, index: int) -> None:
        """Carry a connection that Jupyter has made to one of the sockets."""
        number = self._number
        self._number += 1
        if near.family != socket.AF_UNIX:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream = self._channel.open(number, SOCKETS_RANK + index)
        except ChannelError:
            near.close()
            return
        self._tell("OPEN", str(number), str(index))

        def closed() -> None:
            self._connections.pop(number, None)

        self._connections[number] = Connection(self._loop, near.detach(), stream, closed)

    def close(self) -> None:
        """Leave nothing of ours on this machine."""
        for connection in list(self._connections.values()):
            connection.close()
        for listener in self._listeners:
            self._loop.watch(listener.fileno())
            _close_listener(listener)
        self._listeners = []


def _listening(ip: str, endpoint: str, port: int) -> socket.socket:
    """A socket that listens where Jupyter expects one of the kernel's."""
    if endpoint == f"{ip}-{port}":
        with suppress(OSError):
            if stat.S_ISSOCK(os.stat(endpoint).st_mode):
                os.unlink(endpoint)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(endpoint)
        finally:
            os.umask(before)
        listener.listen()
    else:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        listener = socket.create_server((ip, port), family=family)
    listener.setblocking(False)
    return listener


def _close_listener(listener: socket.socket) -> None:
    if listener.family == socket.AF_UNIX:
        with suppress(OSError):
            os.unlink(listener.getsockname())
    listener.close()
