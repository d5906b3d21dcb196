"""``remote-kernels reverse``: a port of a server leads to this machine's sshd, and stays so."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import select
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from remote_kernels import errors
from remote_kernels.asleep import SleepWatch
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.hosts import Host
from remote_kernels.network import NetworkChanges
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.questions import Answerer, find_answerer
from remote_kernels.shared_login import at
from remote_kernels.shell_errand import ShellErrand
from remote_kernels.ssh_connection import forward_back, settings_of
from remote_kernels.tunnel_notes import AWAY, CONNECTED, ENDED, TunnelNote, TunnelTurn
from remote_kernels.tunnel_script import (
    CLEARED,
    EXPOSED,
    FREE,
    HELD,
    LOOK,
    OPEN,
    OPENED,
    PING,
    PONG,
    TAKEN,
    UNSEEN,
    tunnel_program,
)
from remote_kernels.way import Way
from remote_kernels.way_back import PAUSES

#: Of this machine's sshd.
SSH_PORT = 22
# Between the ports that are root's or well known and those that Linux gives to whoever asks for any
# (ip_local_port_range).
_FIRST_PORT, _PORTS = 10240, 20000
# Nobody else goes over this connection, and its end is noticed whatever the person's configuration
# says. With VERBOSE ssh says that it has logged in.
_LASTING = (
    *("RemoteCommand=none", "ClearAllForwardings=yes", "LogLevel=VERBOSE"),
    *("ControlMaster=yes", "ControlPersist=no", "ExitOnForwardFailure=yes"),
    *("ServerAliveInterval=15", "ServerAliveCountMax=3"),
)
# Seconds for each machine on the way to accept a connection, once it has.
_AGAIN_TIMEOUT = 10
# A tunnel that stood for so long may be tried again at once when it is lost.
_STOOD = 60.0
# Where only a person can help.
_REFUSED_PAUSE, _PORT_PAUSE = 300.0, 60.0
# So often it is looked whether this machine has slept.
_BEAT = 5.0
# For the server to say that it is there.
_PATIENCE = 5.0
# A network that changes says so several times, and is not of use in the first moment.
_SETTLED = 0.3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Tunnel(NamedTuple):
    """A tunnel that is to be held.

    Attributes:
        way: to the server.
        address: of the server; see :class:`~remote_kernels.tunnel_notes.TunnelNote`.
        port: over there.
        to: port on this machine.
    """

    way: Way
    address: str
    port: int
    to: int

    @classmethod
    def wanted(cls, way: Way, port: int | None, to: int | None) -> Tunnel:
        """The tunnel to a server, as it was before where nothing else is said.

        Args:
            way: to the server.
            port: over there; None for the one that it had, or one that stays the same.
            to: port on this machine; None likewise.
        """
        address = address_of(way)
        before = TunnelNote.read(address)
        if before is not None:
            port, to = port or before.port, to or before.to
        return cls(way, address, port or usual_port(address), to or SSH_PORT)

    def note(self) -> TunnelNote:
        """What is known of it at the start."""
        gateways = tuple(map(str, self.way.gateways))
        return TunnelNote(str(self.way.host), gateways, self.address, self.port, self.to)


def address_of(way: Way) -> str:
    """The server as others have to write it: user, name, and port unless that is 22.

    Args:
        way: to the server, which may have another name in ssh's configuration.
    """
    settings = {key: values[0] for key, values in settings_of(way.plain_command()).items()}
    name = settings.get("hostname", way.host.name)
    port = settings.get("port", str(way.host.port or 22))
    user = settings.get("user", way.host.user)
    return str(Host(name, user, None if port == "22" else int(port)))


def box_id() -> str:
    """A word that tells this machine and its user from all others.

    The machine's own number is no secret, but not for everybody either; see machine-id(5).
    """
    try:
        number = Path("/etc/machine-id").read_text().strip()
    except OSError:
        number = ""
    text = f"remote-kernels reverse {number or uuid.getnode()} {platform.node()} {os.getuid()}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def usual_port(address: str) -> int:
    """A port that is always the same for this machine, its user and a server.

    Args:
        address: of the server.
    """
    digest = hashlib.sha256(f"{box_id()} {address}".encode()).digest()
    return _FIRST_PORT + int.from_bytes(digest[:4], "big") % _PORTS


# --- this machine's sshd --------------------------------------------------------------------------

# How an ssh server is had, by what os-release(5) tells of the system.
_PACKAGES = {
    "debian": "sudo apt install openssh-server",
    "fedora": "sudo dnf install openssh-server && sudo systemctl enable --now sshd",
    "rhel": "sudo dnf install openssh-server && sudo systemctl enable --now sshd",
    "suse": "sudo zypper install openssh-server && sudo systemctl enable --now sshd",
    "arch": "sudo pacman -S openssh && sudo systemctl enable --now sshd",
    "alpine": "sudo apk add openssh-server && sudo rc-update add sshd && sudo service sshd start",
    "darwin": "sudo systemsetup -setremotelogin on",
}


def look_for_sshd(port: int) -> None:
    """See whether an ssh server answers on this machine.

    Args:
        port: of it.

    Raises:
        NoSshServerError: none does.
    """
    try:
        with socket.create_connection(("localhost", port), timeout=_PATIENCE) as connection:
            said = connection.recv(255)
    except OSError as error:
        raise errors.NoSshServerError(
            f"no ssh server answers at port {port} of this machine: {error.strerror or error}",
            advice=f"start it, or install one: {_how_to_install()}\n"
            "if it listens at another port: --to PORT",
        ) from None
    # Other lines may come first (RFC 4253, 4.2).
    if said and b"SSH-" not in said:
        raise errors.NoSshServerError(
            f"what answers at port {port} of this machine is no ssh server",
            advice="name its port with --to PORT",
        )


def _how_to_install() -> str:
    if sys.platform == "darwin":
        return _PACKAGES["darwin"]
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    kinds = [about.get("ID", ""), *about.get("ID_LIKE", "").split()]
    return next((_PACKAGES[kind] for kind in kinds if kind in _PACKAGES), "openssh-server")


# --- one connection -------------------------------------------------------------------------------


class TunnelLine:
    """A connection with the tunnel in it. Use it in a ``with`` block.

    Attributes:
        asked: a person had to answer what ssh asked.
        cleared: since when a dead tunnel of ours held the port, which was ended; 0 for none.
        is_seen: that nobody else can connect was seen.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        log: Callable[[str], None],
        *,
        answerer: Answerer,
        options: tuple[str, ...] = (),
        **how: Any,
    ) -> None:
        """Prepare.

        Args:
            tunnel: that is to be in it.
            log: takes ASKING, and ASKED when that has come to an end.
            answerer: of what ssh asks.
            options: for ssh beside the usual ones.
            how: see :func:`~remote_kernels.way_in.write_config`.
        """
        self._tunnel, self._log, self._answerer = tunnel, log, answerer
        self._options, self._how = options, how
        self._stack = ExitStack()
        self.asked = False
        self.is_seen = True
        self.cleared = 0.0

    def __enter__(self) -> TunnelLine:
        look_for_sshd(self._tunnel.to)
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *ended: Any) -> None:
        # A signal must not disturb it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._stack.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait(self, seconds: float, *others: int) -> set[int]:
        """Wait, while the tunnel stands; see :meth:`ShellErrand.wait`."""
        return self._errand.wait(seconds, *others)

    def ask(self) -> None:
        """See whether the server is there.

        Raises:
            ConnectionLostError: it says nothing.
        """
        self._ask(PING, {PONG}, _PATIENCE)

    def _open(self) -> None:
        place = PrivateDirectory()
        self._stack.callback(place.remove)
        place.remove_stale()
        tunnel, control = self._tunnel, place.path / "line"
        name = re.sub(r"[^A-Za-z0-9.-]", "-", platform.node()) or "-"
        self._errand = ShellErrand(
            *(tunnel.way, tunnel_program(tunnel.port, box_id(), name), self._log),
            alone=True,
            options=(*self._options, *_LASTING, f"ControlPath={_as_value(control)}"),
            answerer=self._answerer,
            **self._how,
        )
        self._stack.enter_context(self._errand)
        self.asked = self._errand.asked
        self._look_at_port()
        said = forward_back(tunnel.way.program, control, tunnel.port, tunnel.to)
        if said is not None:
            self._look_at_port()
            raise errors.PortNotForwardedError(
                f"sshd of {tunnel.way.host} does not let its port {tunnel.port} lead here",
                host=str(tunnel.way),
                said=said,
            )
        self._look_who_can_connect()

    def _look_at_port(self) -> None:
        """See whether the port can be had; a dead tunnel of ours that held it was ended.

        Raises:
            PortTakenError: it cannot.
        """
        word, *rest = self._ask(LOOK, {FREE, CLEARED, HELD, TAKEN})
        taken = f"port {self._tunnel.port} of {self._tunnel.way.host} is held"
        if word == CLEARED:
            self.cleared = _moment(rest)
        elif word == HELD:
            since = at(_moment(rest))
            who = " ".join(rest[1:])[:100]
            raise errors.PortTakenError(f"{taken} by the tunnel of {who}, made {since}")
        elif word == TAKEN:
            raise errors.PortTakenError(f"{taken} by something else there")

    def _look_who_can_connect(self) -> None:
        """See whether the port is open to that machine alone.

        Raises:
            PortExposedError: it is not.
        """
        word, *_ = self._ask(OPENED, {OPEN, EXPOSED, UNSEEN})
        self.is_seen = word == OPEN
        if word == EXPOSED:
            raise errors.PortExposedError(
                f"sshd of {self._tunnel.way.host} opens port {self._tunnel.port} to other "
                "machines, too (GatewayPorts yes), so the tunnel was closed again",
                host=str(self._tunnel.way),
            )

    def _ask(self, question: str, answers: set[str], patience: float = 30.0) -> list[str]:
        self._errand.tell(question)
        words = self._errand.hear(patience)
        if words[0] not in answers:
            raise errors.ConnectionLostError(
                "the far side says what makes no sense", host=str(self._tunnel.way)
            )
        return words


def _moment(words: list[str]) -> float:
    """A time that the far side tells."""
    return float(words[0]) if words and words[0].isdecimal() and len(words[0]) < 12 else 0.0


def _as_value(path: Path) -> str:
    """A path as a value of ssh_config(5)."""
    return '"{}"'.format(str(path).replace("%", "%%"))


# --- for as long as it is wanted ------------------------------------------------------------------


class Ended(BaseException):
    """A signal has asked for the end."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the first signal that asks for the end raise Ended, and take no further ones.

    Raises:
        Ended: there was one.
    """

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Ended

    for signum in _SIGNALS:
        # nohup(1) and a shell's "&" have it ignored.
        if signal.getsignal(signum) != signal.SIG_IGN or signum == signal.SIGTERM:
            signal.signal(signum, end)
    yield


class Holding:
    """A tunnel that is held: made, and made anew when it was lost."""

    def __init__(
        self,
        tunnel: Tunnel,
        *,
        unattended: bool,
        log: Callable[[str], None],
        up: Callable[[TunnelLine, TunnelNote], None],
        away: Callable[[RemoteKernelsError, TunnelNote, float], None],
    ) -> None:
        """Prepare.

        Args:
            tunnel: to hold.
            unattended: nobody is there: nothing is asked, and no failure is the end.
            log: takes ASKING, and ASKED when that has come to an end.
            up: called each time when it was made.
            away: called when it was lost, or cannot be made, with why, and the seconds until it is
                tried again; not twice for the same reason.
        """
        self._tunnel, self._unattended = tunnel, unattended
        self._log, self._up, self._away = log, up, away
        self._note = tunnel.note()._replace(pid=os.getpid(), began=time.time())
        self._asked = False
        self._network, self._sleep = NetworkChanges(), SleepWatch()

    def run(self) -> None:
        """Hold it until a signal ends that.

        Raises:
            Ended: a signal did.
            RemoteKernelsError: it is held already, cannot be made, or not be made anew.
        """
        turn = TunnelTurn(self._tunnel.address)
        if not turn.take():
            raise _is_held_already(self._tunnel)
        try:
            with ended_by_signals():
                self._hold()
        finally:
            self._tell(state=ENDED)
            self._network.close()
            turn.give()

    def _hold(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                with self._line() as line:
                    self._asked |= line.asked
                    self._tell(state=CONNECTED, connects=self._note.connects + 1, why="")
                    self._up(line, self._note)
                    self._stay(line)
            except RemoteKernelsError as error:
                stood = self._note.state == CONNECTED
                if not self._goes_on(error):
                    self._note = self._note._replace(why=error.sentence)
                    raise
                failures = 0 if stood and time.monotonic() - began > _STOOD else failures + 1
                pause = _pause_after(error, failures)
                before = self._note
                self._tell(state=AWAY, why=error.sentence)
                if stood or before.why != error.sentence:
                    self._away(error, self._note, pause)
            self._pause(pause, hopes=pause < _PORT_PAUSE)

    def _line(self) -> TunnelLine:
        if self._unattended or self._note.connects:
            return TunnelLine(
                *(self._tunnel, self._log), answerer=Answerer(), connect_timeout=_AGAIN_TIMEOUT
            )
        answerer = find_answerer(os.environ, terminal_first=True)
        return TunnelLine(self._tunnel, self._log, answerer=answerer)

    def _goes_on(self, error: RemoteKernelsError) -> bool:
        """Whether it is tried again: a person who is there sees the first failure at once."""
        if self._unattended:
            return True
        # What a person had to answer once nobody answers now.
        return bool(self._note.connects) and not (error.refused and self._asked)

    def _stay(self, line: TunnelLine) -> None:
        """Wait until the tunnel is lost.

        Raises:
            ConnectionLostError: it is.
        """
        changed = False
        while True:
            ready = line.wait(_SETTLED if changed else _BEAT, *self._watched)
            if ready:
                self._network.take()
                changed = True
            elif self._sleep.has_slept() or changed:
                line.ask()
                changed = False

    @property
    def _watched(self) -> list[int]:
        return [self._network.descriptor] if self._network.descriptor >= 0 else []

    def _pause(self, seconds: float, *, hopes: bool) -> None:
        """Wait, but no longer when there is reason to hope."""
        until = time.monotonic() + seconds
        if self._watched:
            self._network.take()
        self._sleep.has_slept()
        while (left := until - time.monotonic()) > 0:
            ready = select.select(self._watched, [], [], min(left, _BEAT))[0]
            if ready:
                self._network.take()
            if (ready or self._sleep.has_slept()) and hopes:
                until = min(until, time.monotonic() + _SETTLED)

    def _tell(self, **changes: Any) -> None:
        """Note how it stands."""
        if changes.get("state") != self._note.state:
            changes["since"] = time.time()
        self._note = self._note._replace(**changes)
        # What never stood is not worth to be remembered.
        if self._unattended or self._note.connects:
            self._note.write()


def _pause_after(error: RemoteKernelsError, failures: int) -> float:
    """Seconds until the next attempt."""
    if error.refused:
        return _REFUSED_PAUSE
    for kind in (errors.PortTakenError, errors.PortNotForwardedError, errors.PortExposedError):
        if isinstance(error, kind):
            return _PORT_PAUSE
    return PAUSES[min(failures, len(PAUSES) - 1)]


def _is_held_already(tunnel: Tunnel) -> RemoteKernelsError:
    note = TunnelNote.read(tunnel.address)
    known = f", by process {note.pid} since {at(note.began)}" if note is not None else ""
    return RemoteKernelsError(
        f"the tunnel to {tunnel.way.host} is held already{known.replace('since at', 'since')}",
        advice="see how it stands: remote-kernels reverse --status\n"
        "another port needs that one to end first; a service ends with --service --remove",
    )
