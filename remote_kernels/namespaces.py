"""Sockets in the network of a container, in which a process of the user's is.

What listens there on 127.0.0.1, nobody outside can reach. But a socket belongs to the network in
which it was made, whoever uses it: a child of ours goes there, makes one, and hands it over. Python
3.6, the standard library alone.
"""

import os
import socket
import struct

# Asks a namespace for the user namespace that owns it; see ioctl_ns(2).
_NS_GET_USERNS = 0xB701
_DESCRIPTOR = struct.Struct("@i")
# Of why there is no socket, in bytes.
_LONGEST = 500


def has_own_network(pid: int) -> bool:
    """Whether a process is in another network namespace than we are, as far as can be seen.

    Args:
        pid: its number.
    """
    try:
        return not os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
    except OSError:
        return False


def socket_inside(pid: int, family: int) -> socket.socket:
    """A socket in the network of a process.

    Args:
        pid: its number.
        family: of the socket.

    Raises:
        OSError: we may not enter that network, or the process has gone.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            _hand_over(theirs, pid, family)
        theirs.close()
        said, handed, _, _ = ours.recvmsg(_LONGEST, socket.CMSG_SPACE(_DESCRIPTOR.size))
        os.waitpid(child, 0)
    if not handed:
        raise OSError(said.decode("utf-8", "replace"))
    (descriptor,) = _DESCRIPTOR.unpack(handed[0][2])
    return socket.socket(family, socket.SOCK_STREAM, 0, descriptor)


def _hand_over(to: socket.socket, pid: int, family: int) -> None:
    """In a child, whose one thread may change its namespaces; does not return."""
    try:
        # Not needed but here.
        import fcntl

        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        # That of the process itself may lie further inside, and give no right to its network.
        owner = fcntl.ioctl(network, _NS_GET_USERNS)
        if not os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user")):
            _enter(owner)
        _enter(network)
        with socket.socket(family) as made:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(made.fileno()))
            to.sendmsg([b"-"], [rights])
    except Exception as error:
        to.send(str(getattr(error, "strerror", None) or error).encode()[:_LONGEST])
    finally:
        os._exit(0)


def _enter(namespace: int) -> None:
    """Call setns(2), which Python itself has from 3.12 on."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
