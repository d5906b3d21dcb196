"""The keeper of the way to a Jupyter server that runs already: it carries its one socket.

It never ends the server. Python 3.6, the standard library alone; see
:mod:`~remote_kernels.keeper`.
"""

import os

from remote_kernels.keeper import Order
from remote_kernels.processes import lives
from remote_kernels.socket_keeper import SERVER_SOCKETS, SocketKeeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from remote_kernels.socket_keeper import Address

# Seconds between two looks whether the server lives.
_LOOK_EVERY = 1.0


class ServerOrder:
    """Which server it is.

    Attributes:
        address: where it listens.
        pid: its process number.
    """

    def __init__(self, address: "Address", pid: int) -> None:
        # JSON knows no tuples.
        self.address = address if isinstance(address, str) else (address[0], address[1])
        self.pid = pid


class ServerKeeper(SocketKeeper):
    """The socket of a server, and what is between it and the channel."""

    def __init__(self, order: Order, guard: int, parent: int) -> None:
        """Prepare; see :class:`Keeper`."""
        server = order.held
        assert isinstance(server, ServerOrder)
        # What is carried ends with its launcher.
        order.keeps = False
        super().__init__(order, guard, parent, 0, SERVER_SOCKETS)
        self._server = server

    def begin(self) -> None:
        """Carry what is opened to the server."""
        self.tell("HELLO", os.uname().nodename)
        self.carry_to([self._server.address])
        self._look_after_it()

    def _look_after_it(self) -> None:
        if not lives(self._server.pid):
            self._tell_end()
        if not self.told_end:
            self.loop.after(_LOOK_EVERY, self._look_after_it)

    def _tell_end(self) -> None:
        if not self.told_end:
            self.told_end = True
            self.output.end()
            self.tell("EXIT", "0")

    def status(self) -> "dict[str, object]":
        """See :class:`Keeper`; it is the way to a server, and none itself."""
        return {**super().status(), "visits": str(self._server.address)}

    def before_waiting(self) -> None:
        """See :class:`Keeper`."""

    def on_child(self) -> None:
        """See :class:`Keeper`; there is none."""

    def on_sigterm(self) -> None:
        """Leave; the server stays."""
        self._tell_end()

    def finish(self) -> None:
        """See :class:`Keeper`."""
        self.over = True

    def clean_up(self) -> None:
        """See :class:`Keeper`; nothing here is ours."""
