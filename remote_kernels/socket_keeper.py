"""What keepers of sockets have in common: they carry them over the channel.

Python 3.6, the standard library alone; see :mod:`~remote_kernels.keeper`.
"""

import os
import socket
import time

from remote_kernels.carrier import Connection, numbers
from remote_kernels.channel import MOST_NUMBERS, Spool, Stream
from remote_kernels.keeper import CONNECT_PATIENCE, OUTPUT, Keeper, Order
from remote_kernels.spool import FileSpool, Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: A path, or IP and port.
    Address = str | tuple[str, int]
    #: Makes a socket of a family.
    Make = Callable[[int], socket.socket]

#: The kernel's sockets in the order of their urgency.
SOCKETS = ("control_port", "stdin_port", "shell_port", "hb_port", "iopub_port")
#: The ranks of their streams, which are more urgent than what the kernel prints.
SOCKETS_RANK = 1
OUTPUT_RANK = SOCKETS_RANK + len(SOCKETS)

#: The number of the socket on which it publishes.
IOPUB = SOCKETS.index("iopub_port")
#: What a Jupyter server has in their place.
SERVER_SOCKETS = ("port",)
# Bytes of a unix socket's path.
_LONGEST_PATH = 107
# While the kernel starts.
_LISTENS_YET = 0.01


class SocketKeeper(Keeper):
    """The sockets of a kernel or a server, and what is between them and the channel.

    The class below says where they are: :meth:`carry_to`.

    Attributes:
        room: for output that waits for a launcher that was lost.
        output: what the kernel prints.
        connections: to its sockets, by the numbers of their streams.
    """

    def __init__(
        self,
        order: Order,
        guard: int,
        parent: int,
        spool: int,
        sockets: "Sequence[str]" = SOCKETS,
    ) -> None:
        """Prepare; see :class:`Keeper`.

        Args:
            order: what is to be done.
            guard: descriptor of the pipe to the guard.
            parent: process number of what has started us.
            spool: bytes of output that may wait.
            sockets: names of those that are carried, in the order of their urgency.
        """
        super().__init__(order, guard, parent)
        self._is_kernel = sockets == SOCKETS
        self.room = Room(spool)
        self.output = self.channel.open(OUTPUT, OUTPUT_RANK, self._spool())
        self.connections: dict[int, Connection | _Waiting] = {}
        self._addresses: Sequence[Address] = ()
        self._make: Make = socket.socket
        self._listening = [False] * len(sockets)
        self._began = 0.0

    def _spool(self) -> Spool:
        # A kernel would drop what is not taken; a server waits with it.
        return FileSpool(self.room, self.directory) if self._is_kernel else Spool()

    def on_words(self, words: "list[str]") -> None:
        """Take what the launcher says."""
        if words[:1] == ["OPEN"]:
            self._open(*numbers(words[1:], MOST_NUMBERS, len(self._listening)))
        elif words in (["INT"], ["STOP"], ["RESTART"]):
            self.on_wish(words[0])
        elif words == ["TERM"]:
            self.on_sigterm()
        else:
            super().on_words(words)

    def carry_to(self, addresses: "Sequence[Address]", make: "Make" = socket.socket) -> None:
        """Carry what is opened to these sockets, as soon as they are there.

        Args:
            addresses: of all of them, in the order of their names.
            make: makes a socket that reaches an IP.
        """
        self._addresses, self._make = addresses, make
        self._listening = [False] * len(addresses)
        self._began = time.monotonic()
        self._look_for_sockets(addresses)

    def close_connections(self) -> None:
        """Close those that are open, as a kernel does that ends."""
        for connection in list(self.connections.values()):
            if isinstance(connection, Connection):
                connection.close()

    def seen(self, data: bytes) -> None:
        """Be shown what the kernel publishes."""

    def _look_for_sockets(self, addresses: "Sequence[Address]") -> None:
        """While the kernel starts: see which of its sockets are there."""
        if self.told_end or self._addresses is not addresses:
            return
        for index, listens in enumerate(self._listening):
            if not listens:
                connection = connected(addresses[index], self._make)
                if connection is not None:
                    connection.close()
                    self._listening[index] = True
        for waiting in list(self.connections.values()):
            if isinstance(waiting, _Waiting) and self._listening[waiting.index]:
                self._connect(waiting)
        if all(self._listening):
            self.is_up = True
            self.tell("UP")
            return
        soon = time.monotonic() - self._began < 100 * _LISTENS_YET
        wait = _LISTENS_YET if soon else 5 * _LISTENS_YET
        self.loop.after(wait, lambda: self._look_for_sockets(addresses))

    def _open(self, number: int, index: int) -> None:
        """Carry a connection that somebody has made to one of the sockets."""
        stream = self.channel.open(number, SOCKETS_RANK + index, self._spool())
        waiting = _Waiting(stream, index)
        self.connections[number] = waiting
        if self._listening[index]:
            self._connect(waiting)

    def _connect(self, waiting: "_Waiting") -> None:
        stream = waiting.stream
        del self.connections[stream.number]
        found = connected(self._addresses[waiting.index], self._make)
        if found is None or stream.peer_ended:
            stream.cut()
            return

        def closed() -> None:
            self.connections.pop(stream.number, None)

        seen = self.seen if self._is_kernel and waiting.index == IOPUB else None
        connection = Connection(self.loop, found.detach(), stream, closed, seen)
        self.connections[stream.number] = connection
        connection.deliver_first(waiting.data)


class _Waiting:
    """What arrives for a socket that is not there yet."""

    def __init__(self, stream: Stream, index: int) -> None:
        self.stream = stream
        self.index = index
        self.data = bytearray()
        stream.receiver = self._keep

    def _keep(self, data: memoryview) -> None:
        self.data += data


def connected(address: "Address", make: "Make" = socket.socket) -> "socket.socket | None":
    """A connection to a socket of the kernel; None if nobody listens there.

    Args:
        address: of the socket.
        make: makes a socket that reaches an IP.
    """
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
    else:
        try:
            connection = make(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        except OSError:
            # What it would be made in has gone.
            return None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(CONNECT_PATIENCE)
    try:
        if isinstance(address, str):
            _connect_to_path(connection, address)
        else:
            connection.connect(address)
    except OSError:
        connection.close()
        return None
    return connection


def _connect_to_path(connection: socket.socket, path: str) -> None:
    """Connect to a unix socket, whose path may be longer than one of those may be (unix(7))."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        connection.connect(path)
        return
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
