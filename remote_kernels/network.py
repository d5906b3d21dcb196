"""Changes of this machine's network, as something to wait for (rtnetlink(7), route(4))."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

# Of rtnetlink: links, and the addresses and routes of both families.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


class NetworkChanges:
    """A socket that can be read when an interface, an address or a route came or went."""

    def __init__(self) -> None:
        """Begin to listen; where the system does not tell, nothing is ever heard."""
        self._socket: socket.socket | None = None
        with suppress(OSError):
            if sys.platform == "linux":
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
                self._socket.bind((0, _GROUPS))
            elif hasattr(socket, "AF_ROUTE"):
                self._socket = socket.socket(socket.AF_ROUTE, socket.SOCK_RAW, 0)
            if self._socket is not None:
                self._socket.setblocking(False)

    @property
    def descriptor(self) -> int:
        """To wait for; -1 where there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def take(self) -> None:
        """Forget what has been heard."""
        assert self._socket is not None
        with suppress(OSError):
            while self._socket.recv(1 << 16):
                pass

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
