"""``remote-kernels lab``: a whole Jupyter server over there, at a port of this machine.

A server that runs there already is visited (:mod:`~remote_kernels.server_keeper`). One that is
started is held by a keeper of its own, which is that of a kernel with one socket, and it stays when
we leave it, on a host as in a job.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from jupyter_core.paths import jupyter_runtime_dir

from remote_kernels import errors
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errand import Errand
from remote_kernels.errors import RemoteKernelsError, ServerError
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.keeper_order import server_order
from remote_kernels.kept_job import KeptJob
from remote_kernels.kept_life import KeptLife
from remote_kernels.kernel_keeper import KernelOrder
from remote_kernels.launcher import open_log
from remote_kernels.life import Life, parted
from remote_kernels.options import KernelOptions
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.server_keeper import ServerOrder
from remote_kernels.socket_keeper import SERVER_SOCKETS
from remote_kernels.wakeups import Wakeups
from remote_kernels.way import Way
from remote_kernels.way_in import log_in
from remote_kernels.whereabouts import hop_to

#: The command that starts a server when no other is given.
APP = "jupyter lab"
#: Of ours, that look for servers over there.
MODULES = ("answers", "login_shell", "login_environment", "processes", "running", "servers")

# A server's port of this machine is the same each time, if it is free: tabs of the browser find it
# again. The ports are below those that systems give out for outgoing connections.
_FIRST_PORT, _PORTS = 18000, 10000
# Seconds for a server that listens to write its file.
_FILE_PATIENCE, _LOOK_AGAIN = 3.0, 0.2
# A way that nobody comes back to; and seconds between two looks whether somebody has.
_VISIT_LEASE, _LINE_AGAIN = "7d", 1.0


class Server(NamedTuple):
    """A Jupyter server that runs over there.

    Attributes:
        facts: as its host tells them; see :mod:`~remote_kernels.servers`.
    """

    facts: dict[str, Any]

    @property
    def id(self) -> str:
        """What a person calls it by."""
        return str(self.facts["id"])

    @property
    def name(self) -> str:
        """The command that has started it, or its program."""
        return str(self.facts["name"])

    @property
    def node(self) -> str:
        """The machine on which it runs, by its own name."""
        return str(self.facts["node"])

    @property
    def since(self) -> float:
        """When it was started, in seconds since 1970."""
        return float(self.facts["since"])

    @property
    def is_ours(self) -> bool:
        """Whether a keeper of ours holds it."""
        return bool(self.facts["ours"])

    @property
    def has_password(self) -> bool:
        """Whether it asks for a password in place of a token."""
        return bool(self.facts["password"] and not self.facts["token"])

    @property
    def is_here(self) -> bool:
        """Whether it has the directory that is wanted."""
        return bool(self.facts["here"])

    @property
    def directory(self) -> str:
        """Its root directory over there; empty if that is not known."""
        return str(self.facts["directory"])

    @property
    def job(self) -> str:
        """The job in which it runs, by its id; empty for none."""
        return str(self.facts["job"])

    @property
    def may_be_open(self) -> bool:
        """Whether it may let everybody in who reaches it; not all tell of their password."""
        return not self.facts["password"] and not self.facts["token"]

    @property
    def is_starting(self) -> bool:
        """Whether a keeper of ours waits for it to listen."""
        return self.is_ours and self.facts["state"] == "starting"

    @property
    def is_in_job(self) -> bool:
        """Whether it runs, or is to run, in a job that was asked for on its host."""
        return bool(self.facts["job_name"])

    @property
    def says_where(self) -> bool:
        """Whether it has said by itself where it listens, and what lets somebody in."""
        return bool(self.facts["told"])

    @property
    def waits(self) -> str:
        """What its job says that waits; empty if it does not."""
        return str(self.facts["says"])

    def url(self, port: int) -> str:
        """Where a browser here reaches it, with the token.

        Args:
            port: of this machine.
        """
        scheme = "https" if self.facts["secure"] else "http"
        token = quote(self.facts["token"], safe="")
        query = f"?token={token}" if token else ""
        # It leads nowhere else, whatever the far side says.
        path = quote("/" + self.facts["base_url"].lstrip("/"), safe="/%:@!$&()*+,;=~")
        # Not localhost, on which somebody else may listen with IPv6.
        return f"{scheme}://127.0.0.1:{port}{path}{query}"

    def data(self) -> dict[str, Any]:
        """The same for programs, without what lets somebody in."""
        shown = ("id", "name", "directory", "ours", "pid", "since", "state", "version")
        more = ("node", "job", "says", "password", "base_url")
        return {name: self.facts.get(name) for name in (*shown, *more)}


# What has to be there, and of which kind.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "name", "base_url", "token", "directory", "node", "job", "says"), str),
    **dict.fromkeys(("keeper", "interface", "version", "state", "job_name"), str),
    **dict.fromkeys(("here", "ours", "told", "secure", "password"), bool),
    "pid": int,
    "since": (int, float),
}


def servers(errand: Errand, directory: str) -> list[Server]:
    """The servers that run on a host, ours first.

    Args:
        errand: to it, with MODULES.
        directory: over there, of which is told which of them have it; empty for the home.

    Raises:
        RemoteKernelsError: it does not answer, or not what was asked.
    """
    found = _all_servers(errand, directory)
    # Of one whose job is on the host itself two keepers tell.
    in_jobs = {server.id for server in found if server.is_in_job}
    return [server for server in found if server.is_in_job or server.id not in in_jobs]


def _all_servers(errand: Errand, directory: str) -> list[Server]:
    answer = errand.ask("servers", directory)
    if not isinstance(answer, list) or not all(map(_is_server, answer)):
        raise RemoteKernelsError("the far side lists its servers in no way that we know")
    return [Server(facts) for facts in answer]


def _is_server(facts: Any) -> bool:
    if not isinstance(facts, dict):
        return False
    address = facts.get("address")
    known = all(isinstance(facts.get(name), kind) for name, kind in _KINDS.items())
    if isinstance(address, list):
        return known and [type(x) for x in address] == [str, int]
    return known and (address is None or isinstance(address, str))


def stop(errand: Errand, server: Server) -> None:
    """End a server with its kernels, and its job.

    Args:
        errand: to its host, with MODULES.
        server: that runs there.

    Raises:
        RemoteKernelsError: it does not end.
    """
    errand.ask("stop", server.facts["keeper"], server.facts["pid"])


# --- at a port of this machine --------------------------------------------------------------------


class Wanted(NamedTuple):
    """What a person wants.

    Attributes:
        options: of the host, and of the job if there is to be one.
        app: command that starts a server.
        port: of this machine; 0 for any.
    """

    options: KernelOptions
    app: str
    port: int

    @property
    def way(self) -> Way:
        """To the host."""
        way = interface_named(self.options.interface).way(self.options)
        assert way is not None
        return way

    def errand(self, log: Callable[[str], None], hop: bytes = b"") -> Errand:
        """A session to it, for questions of servers.

        Args:
            log: takes when somebody is asked for what the login needs.
            hop: leads on from it to a node.
        """
        return Errand(self.way, MODULES, log, alone=self.options.no_share, hop=hop)

    def near_port(self) -> int:
        """A port of this machine on which nobody listens.

        Raises:
            ForwardError: the one that is wanted is taken.
        """
        known = (str(self.way), self.options.workdir, *map(str, self.way.gateways))
        number = int.from_bytes(hashlib.sha256(repr(known).encode()).digest()[:4], "big")
        usual = _FIRST_PORT + number % _PORTS
        for port in [self.port] if self.port else [usual, 0]:
            try:
                with socket.create_server(("127.0.0.1", port)) as probe:
                    return int(probe.getsockname()[1])
            except OSError as error:
                why = error.strerror
        raise errors.ForwardError(
            f"port {self.port} of this machine cannot be used: {why}",
            advice="take another with --port, or leave it out for one that is free",
        )


# What jupyter_core and Python say of a program that is not installed.
_NOT_THERE = re.compile(r"Jupyter command `.*` not found|No module named ")
_INSTALL = (
    "where an environment has it, name it: --activate DIR, or "
    "--remote-precmd 'conda activate NAME'\n"
    "else install it over there: python3 -m pip install jupyterlab"
)
_BY_HAND = "run the command by hand over there"


class ServerLife(Life):
    """What is wanted of a server, and what has come of it.

    Attributes:
        on_job: takes what a person is told of a job that is waited for.
    """

    kind: ClassVar[str] = "server"
    stop_command: ClassVar[str] = "remote-kernels lab --stop"
    on_job: Callable[[str], None] | None = None

    def log(self, text: str) -> None:
        """See :class:`Life`; the wait for a job is told as it goes."""
        super().log(text)
        is_of_job = text.startswith(("asking for a job: ", "job "))
        if self.on_job is not None and is_of_job and self.stage in ("login", "queue"):
            self.on_job(text)

    def advice_when_refused(self) -> str:
        """See :class:`Life`; an interrupt would leave the server."""
        assert self.way is not None
        return f"then, which makes another attempt: {self.way.login_line()}"

    def end_error(self, private: Path) -> RemoteKernelsError:
        """Why it ended; see :class:`Life`."""
        error = super().end_error(private)
        if isinstance(error, (errors.CommandNotFoundError, errors.KernelStartError)):
            is_absent = isinstance(error, errors.CommandNotFoundError)
            is_absent = is_absent or any(map(_NOT_THERE.search, error.said))
            return ServerError(
                f"the server could not be started: {self.kernel_cmd}",
                said=error.said,
                advice=_INSTALL if is_absent else _BY_HAND,
            )
        if isinstance(error, errors.KernelDiedError):
            return ServerError(error.sentence, said=error.said, advice=error.advice)
        return error


class _Carried(KeptLife):
    """A server whose socket is carried to a port of this machine."""

    #: Are called once: when there is a keeper, and when a browser can connect.
    on_begin: Callable[[], None]
    on_up: Callable[[], None]
    _has_begun = _is_up = False

    def open_ports(self, stack: ExitStack) -> None:
        """See :class:`KeptLife`."""
        self.kernel.listen(sockets=SERVER_SOCKETS)

    def on_message(self, line: str) -> None:
        """See :class:`KeptLife`."""
        super().on_message(line)
        self.has_begun()
        if line == "UP" and not self._is_up:
            self._is_up = True
            self.on_up()

    def has_begun(self) -> None:
        """There is a keeper, of which others can learn that there is a server, or will be one."""
        if not self._has_begun:
            self._has_begun = True
            self.on_begin()

    def interrupt(self) -> None:
        """Ctrl-C: leave it."""
        self.life.terminated_by = 2
        self.terminate()


class VisitedServer(_Carried):
    """One that ran already; it stays as it is."""


class StartedServer(_Carried):
    """One that we have started on the host itself."""

    def terminate(self) -> None:
        """Leave; the server stays, if it has begun. See :class:`KeptLife`."""
        if self.life.stage == "up":
            self.part()
        else:
            super().terminate()


class ServerInJob(_Carried, KeptJob):
    """One that we have started in a job."""

    def order(self) -> KernelOrder:
        """See :class:`KeptJob`."""
        return server_order(self.life, self.allocation.cancel_command)

    def on_login_host(self, line: str) -> None:
        """See :class:`KeptJob`; a keeper that took us for dead has left the server alone."""
        if line == "PARTED":
            self.part()
            self.channel.fail(parted(self.life.kind))
        else:
            super().on_login_host(line)
            self.has_begun()

    def terminate(self) -> None:
        """Leave; the server stays, if it has begun. See :class:`KeptLife`."""
        if self.life.stage == "up":
            self.part()
        else:
            super().terminate()

    def hold(self) -> None:
        """See :class:`KeptJob`; no launcher comes for the job of a server that has ended."""


def runtime_directory() -> Path:
    """Where Jupyter's programs have files of the moment; it is made if it is not there."""
    directory = Path(jupyter_runtime_dir())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


class Carriage:
    """The way from a port of this machine to a server, from its start until it is left."""

    def __init__(
        self,
        wanted: Wanted,
        server: Server | None,
        told: Callable[[Server, int], None],
        on_job: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            wanted: by the person.
            server: that runs there; None for a new one.
            told: is called when a browser can connect, with the server and the port.
            on_job: takes what a person is told of a job that is waited for.

        Raises:
            RemoteKernelsError: the options cannot be used, or the port is taken.
        """
        self._wanted, self._server, self._told = wanted, server, told
        self.port = wanted.near_port()
        options = wanted.options._replace(
            kernel_cmd=wanted.app,
            name=wanted.app,
            keep=server is None,
            # That of a profile is for kernels: a server that is left is not lost.
            lease="forever" if server is None else _VISIT_LEASE,
        )
        number = str(uuid.uuid4())
        info = {
            "transport": "tcp",
            "ip": "127.0.0.1",
            "port": self.port,
            "key": os.urandom(24).hex(),
        }
        # There is no such file: a path is what tells one life from another.
        path = runtime_directory() / f"rk-server-{number}"
        self.life = ServerLife(options, ConnectionFile(path, info, number))
        self.life.on_job = on_job
        self._looker, self._is_over = threading.Thread(daemon=True), False

    @property
    def was_left(self) -> bool:
        """Whether the person has ended it, and not the server."""
        return bool(self.life.terminated_by)

    @property
    def stays(self) -> bool:
        """Whether the server goes on that the person has left."""
        return self._server is not None or self.life.was_left

    def carry(self, began: Callable[[], None]) -> None:
        """Carry its socket, until the person or the server ends that.

        Args:
            began: is called once others can see that there is a server, or will be one.

        Raises:
            RemoteKernelsError: it failed.
        """
        with ExitStack() as stack:
            wakeups = stack.enter_context(Wakeups())
            place = PrivateDirectory()
            stack.callback(place.remove)
            open_log(self.life, stack)
            carried = self._carried(place)
            carried.on_begin, carried.on_up = began, lambda: self._on_up(carried)
            carried.begin(log_in(self.life, place.path), stack)
            stack.callback(self._end_look)
            carried.carry_until_the_end(wakeups)
            if self.life.terminated_by or self.life.ended_well:
                return
            raise self.life.end_error(place.path)

    def _carried(self, place: PrivateDirectory) -> _Carried:
        life, server = self.life, self._server
        if server is None and life.interface.terminal:
            return ServerInJob(life, place, None)
        if server is None:
            return StartedServer(life, place, server_order(life))
        order = ServerOrder(server.facts["address"], server.facts["pid"])
        return VisitedServer(life, place, order, _hop(server))

    def _on_up(self, carried: _Carried) -> None:
        if self._server is not None and not self._server.is_starting:
            self._told(self._server, self.port)
            return
        found: list[Server | RemoteKernelsError] = []

        def take() -> None:
            if isinstance(found[0], RemoteKernelsError):
                carried.channel.fail(found[0])
            else:
                self._told(found[0], self.port)

        ready = carried.from_thread(take)

        def look() -> None:
            while not found:
                try:
                    found.append(self._as_it_tells(carried))
                except RemoteKernelsError as error:
                    if carried.channel.is_away and not self._is_over:
                        # What it tells can wait until there is a line again.
                        time.sleep(_LINE_AGAIN)
                    else:
                        found.append(error)
            ready()

        self._looker = threading.Thread(target=look, daemon=True)
        self._looker.start()

    def _end_look(self) -> None:
        """Let what looks at the server leave nothing behind, unless it hangs."""
        self._is_over = True
        if self._looker.is_alive():
            self._looker.join(_FILE_PATIENCE)

    def _as_it_tells(self, carried: _Carried) -> Server:
        """The server that has just begun to listen, as it tells of itself.

        Raises:
            RemoteKernelsError: its host cannot be asked, or does not know it.
        """
        life, hop = self.life, b""
        number = life.connection.kernel_id[:8]
        if self._server is not None:
            number, hop = self._server.id, _hop(self._server)
        elif isinstance(carried, ServerInJob):
            assert issubclass(life.interface, Scheduler)
            job = carried.allocation.job
            hop = hop_to(life.interface, job.id if job is not None else "", life.node)
        deadline = time.monotonic() + _FILE_PATIENCE
        with self._wanted.errand(_not_told, hop) as errand:
            while True:
                server = _on_its_node(errand, number)
                # Not all that serve a page say where they are.
                if server.says_where or self._is_over or time.monotonic() >= deadline:
                    return server
                time.sleep(_LOOK_AGAIN)


def in_job(wanted: Wanted, server: Server, log: Callable[[str], None]) -> Server:
    """A server in a job as its node tells of it; the login host does not know its token.

    Args:
        wanted: by the person.
        server: as the login host tells of it.
        log: takes when somebody is asked for what the login needs.

    Raises:
        RemoteKernelsError: it is not there, or not yet.
    """
    if server.waits or not server.job:
        raise ServerError(
            f"the server waits for its job: {server.waits or server.facts['job_name']}",
            advice="come back when it has begun; --stop gives the job back",
        )
    with wanted.errand(log, _hop(server)) as errand:
        there = _on_its_node(errand, server.id)
    known = {name: server.facts[name] for name in ("job", "job_name", "node", "interface")}
    return Server({**there.facts, **known, "keeper": server.facts["keeper"]})


def _on_its_node(errand: Errand, number: str) -> Server:
    """A server of ours as the machine tells of it on which it runs.

    Args:
        errand: to that machine, with MODULES.
        number: its id.

    Raises:
        ServerError: it is not there.
    """
    for server in _all_servers(errand, ""):
        if server.id == number and not server.is_in_job:
            return server
    raise ServerError(
        f"the server {number} is not on {errand.node}",
        advice="if several machines stand behind the host's name, name one of them",
    )


def _hop(server: Server) -> bytes:
    """What leads from the login host to a server in a job; empty where it is on the host itself."""
    if not server.job:
        return b""
    scheduler = interface_named(str(server.facts["interface"]))
    if not issubclass(scheduler, Scheduler):
        raise RemoteKernelsError("the far side tells of a job in no way that we know")
    return hop_to(scheduler, server.job, str(server.facts["node"]))


def _not_told(word: str) -> None:
    """Whether somebody is asked is of no interest: nothing is shown meanwhile."""
