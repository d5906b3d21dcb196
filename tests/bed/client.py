"""The bed as tests see it: ``bed.far.run([...])``, ``bed.far.processes()`` and so on.

All of it goes to the root process that started the tests, over a socket whose number is in
``RK_BED_FD``. Everything here may be called on any machine; arguments are lists, never text
for a shell.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bed import plan
from bed.waiting import wait_until

if TYPE_CHECKING:
    from bed.scheduler import Scheduler

FD_VARIABLE = "RK_BED_FD"


class CommandFailedError(Exception):
    """A command on a machine ended with another status than 0."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Process:
    """A process on a machine; equal only to itself, not to a later one of the same number."""

    pid: int
    user: str
    args: str
    started: int

    @property
    def is_sshd(self) -> bool:
        """Whether this is sshd itself, or its half of somebody's login."""
        return self.args.startswith(("sshd:", "/usr/sbin/sshd", "sshd-session"))


@dataclass(frozen=True)
class Sight:
    """What there is on a machine at one moment."""

    processes: list[Process]
    ports: set[int]
    files: set[str]


class Connection:
    """The socket to the root process; tests may use it from several threads."""

    def __init__(self, fd: int) -> None:
        """Take the socket over, so that nothing the tests start inherits it."""
        os.set_inheritable(fd, False)
        self._stream = socket.socket(fileno=fd).makefile("rwb")
        self._lock = threading.Lock()

    def ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        """One request, one answer."""
        with self._lock:
            self._stream.write(json.dumps({"request": request, **arguments}).encode() + b"\n")
            self._stream.flush()
            answer: dict[str, Any] = json.loads(self._stream.readline())
        if "error" in answer:
            raise RuntimeError(f"bed: {request}: {answer['error']}")
        return answer


class Machine:
    """One machine of the bed."""

    def __init__(self, name: str, connection: Connection) -> None:
        """``name`` is the host name that the neighbours know."""
        self.name = name
        self.plan = plan.machine(name)
        self._ask = connection.ask
        self._undo = contextlib.ExitStack()
        self._log_mark = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        input: str = "",  # named as in subprocess
        timeout: float = 30,
        check: bool = True,
        env: dict[str, str] | None = None,
    ) -> Finished:
        """Run a command there in a login's environment, in the home directory.

        ``env`` adds to the environment; PWD in it chooses the directory. A status other than 0
        (124: time was up) is an error unless ``check`` is false.
        """
        answer = self._ask(
            "run",
            machine=self.name,
            argv=list(argv),
            user=user,
            standard_input=input,
            timeout=timeout,
            environ=env or {},
        )
        finished = Finished(**answer)
        if check and finished.status:
            raise CommandFailedError(f"{user}@{self.name}: {argv}: {finished}")
        return finished

    def look(self) -> Sight:
        """All that is there at this moment."""
        seen = self._ask("look", machine=self.name)
        names = {who.uid: who.name for who in self.plan.people} | {0: "root"}
        return Sight(
            [
                Process(row["pid"], names.get(row["uid"], "?"), row["args"], row["started"])
                for row in seen["processes"]
            ],
            set(seen["ports"]),
            set(seen["files"]),
        )

    def processes(self, user: str | None = None) -> list[Process]:
        """What runs there, of everybody or of one user; sshd is left out."""
        return [x for x in self.look().processes if not x.is_sshd and user in (None, x.user)]

    def listening_ports(self) -> set[int]:
        """The TCP ports on which somebody listens there."""
        return self.look().ports

    def files(self, below: str = "/") -> set[str]:
        """All paths below a directory, of those where people may write (/home, /tmp, …)."""
        return {path for path in self.look().files if Path(path).is_relative_to(below)}

    def read(self, path: str) -> str:
        """The text of a file there."""
        return self.run(["cat", path]).stdout

    def write(self, path: str, text: str, *, user: str, mode: str = "600") -> None:
        """Write a file there, with its directories, as a user."""
        self.run(["mkdir", "-p", str(Path(path).parent)], user=user)
        self.run(["tee", path], user=user, input=text)
        self.run(["chmod", mode, path], user=user)

    def unpack(self, files: Mapping[str, bytes], directory: str, *, user: str) -> None:
        """Put files into a directory there, as a user, by their paths below it."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        text = base64.b64encode(data.getvalue()).decode()
        self.run(["mkdir", "-p", directory], user=user)
        self.run(["sh", "-c", f"base64 -d | tar -x -C {directory}"], user=user, input=text)

    # -- sshd

    def sshd_log(self) -> str:
        """What sshd has logged since the machine was switched on."""
        return self.read(plan.SSHD_LOG)

    def logins(self) -> list[str]:
        """The users of the logins that sshd accepted since the test began."""
        log = self.sshd_log()[self._log_mark :]
        return re.findall(r"^Accepted \S+ for (\S+)", log, re.MULTILINE)

    def forget_logins(self) -> None:
        """Count logins from now on."""
        self._log_mark = len(self.sshd_log()) if self.plan.ports else 0

    @contextlib.contextmanager
    def sshd(self, *settings: str) -> Iterator[None]:
        """Run sshd with additional lines in its configuration, such as ``PermitTTY no``."""
        try:
            self._start_sshd(*settings)
            yield
        finally:
            self._start_sshd()

    @contextlib.contextmanager
    def asking(self, *pam: str, settings: Sequence[str] = ()) -> Iterator[None]:
        """Run sshd so that it takes no key, and asks what a stack of PAM wants.

        ``pam`` are lines of its file (pam.d(5)), ``settings`` stand before those of sshd.
        """
        self.run(["tee", "/etc/pam.d/sshd"], input="".join(f"{line}\n" for line in pam))
        asks = ("UsePAM yes", "KbdInteractiveAuthentication yes", "PubkeyAuthentication no")
        with self.sshd(*settings, *asks):
            yield

    @contextlib.contextmanager
    def wanting_password(
        self, user: str, password: str, *settings: str, expired: bool = False
    ) -> Iterator[None]:
        """Run sshd so that it takes no key, and asks for passwords, of which this is one."""
        self.set_password(user, password, expired=expired)
        with self.asking(*plan.BY_PASSWORD, settings=settings):
            yield

    def set_password(self, user: str, password: str, *, expired: bool = False) -> None:
        """Give an account a password, until the test's end."""
        hashed = self.run(["openssl", "passwd", "-6", "-stdin"], input=password).stdout.strip()
        self.set_shadow(user, f"{hashed}:{'0' if expired else '20000'}::::::")

    def set_shadow(self, user: str, fields: str) -> None:
        """Change an account's line of shadow(5), behind the name, until the test's end."""
        before = self.read("/etc/shadow")
        lines = [line for line in before.splitlines() if not line.startswith(f"{user}:")]
        text = "".join(f"{line}\n" for line in [*lines, f"{user}:{fields}"])
        self.run(["tee", "/etc/shadow"], input=text)
        self._undo.callback(self.run, ["tee", "/etc/shadow"], input=before)

    def new_host_key(self) -> None:
        """Give the machine another host key, as after it was installed anew."""
        self.run(["rm", "-f", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub"])
        self.run(plan.NEW_HOST_KEY)
        self._start_sshd()

    def stop_sshd(self) -> None:
        """Let connections be refused; logins that exist stay. ``restore`` starts it again."""
        self._undo.callback(self._start_sshd)
        self._end_sshd()

    def _start_sshd(self, *settings: str) -> None:
        self._end_sshd()
        text = plan.sshd_config(self.plan, settings)
        self.run(["tee", "/etc/ssh/sshd_config"], input=text)
        self.run(plan.SSHD)
        wait_until(lambda: "/run/sshd.pid" in self._run_files(), 10, f"sshd on {self.name}")

    def _end_sshd(self) -> None:
        stop = ("start-stop-daemon", "--stop", "--oknodo", "--quiet", "--retry=5")
        self.run([*stop, "--pidfile=/run/sshd.pid"])
        self.run(["rm", "-f", "/run/sshd.pid"])

    def _run_files(self) -> list[str]:
        return self.run(["find", "/run", "-maxdepth", "1"]).stdout.split()

    # -- trouble

    def cut(self, towards: str | None = None) -> None:
        """Lose all packets between this machine and a neighbour, in silence.

        Without a name that is the neighbour in the direction of the laptop.
        """
        self._ask("link", left=self.name, right=towards or self._previous(), up=False)
        self._undo.callback(self.mend, towards)

    def mend(self, towards: str | None = None) -> None:
        """Let packets through again."""
        self._ask("link", left=self.name, right=towards or self._previous(), up=True)

    def _previous(self) -> str:
        return plan.neighbours(self.name)[0].name

    @contextlib.contextmanager
    def small_tmpfs(self, path: str, size: str, user: str) -> Iterator[None]:
        """Mount a small file system of a user over a directory, to be filled up."""
        uid = plan.person(self.name, user).uid
        options = f"size={size},uid={uid},gid={uid},mode=0700"
        self.run(["mkdir", "-p", path])
        self.run(["mount", "-t", "tmpfs", "-o", options, "bed", path])
        try:
            yield
        finally:
            self.run(["umount", "--lazy", path])

    def restore(self) -> None:
        """Undo what a test has changed: sshd's settings, links."""
        self._undo.close()


class Bed:
    """All machines. ``laptop`` is the one the tests run on."""

    def __init__(self, connection: Connection) -> None:
        """Meet the root process at the other end of ``connection``."""
        self._ask = connection.ask
        self.laptop = Machine("laptop", connection)
        self.far = Machine("far", connection)
        self.gw1 = Machine("gw1", connection)
        self.gw2 = Machine("gw2", connection)
        self.inner = Machine("inner", connection)
        self.login = Machine("login", connection)
        self.n1 = Machine("n1", connection)
        self.n2 = Machine("n2", connection)
        self.cluster = (self.login, self.n1, self.n2)
        self.oar = Machine("oar", connection)
        self.box = Machine("box", connection)
        outside = (self.laptop, self.far, self.gw1, self.gw2, self.inner, self.oar, self.box)
        self.machines = (*outside, *self.cluster)
        facts = self._ask("facts")
        # The Python on far machines that has ipykernel, bash_kernel and matplotlib.
        self.far_python: str = facts["far_python"]
        # Where the cluster has Torque's commands, as Slurm imitates them.
        self.torque: str = facts["torque"]
        # The name of the cgroup that this bed may fill.
        self.cgroup: str = facts["cgroup"]
        # Those that run.
        self.schedulers: list[Scheduler] = []

    @classmethod
    def from_environment(cls) -> Bed | None:
        """The bed that this process runs in, if it runs in one."""
        fd = os.environ.pop(FD_VARIABLE, None)
        return cls(Connection(int(fd))) if fd else None

    def restore(self) -> None:
        """Undo what a test has changed on any machine, and end the jobs that it has left."""
        for machine in self.machines:
            machine.restore()
        for scheduler in self.schedulers:
            scheduler.cancel_all()

    def forget_hosts(self) -> None:
        """Give ssh no known host on any machine, and no configuration on the laptop."""
        self._ask("forget_hosts")

    def forget_logins(self) -> None:
        """Count logins from now on, on all machines."""
        for machine in self.machines:
            machine.forget_logins()

    def keep(self, name: str, data: bytes) -> None:
        """Keep a file beyond the end of the bed, in the directory that RK_KEEP names."""
        self._ask("keep", name=name, data=data.decode(errors="surrogateescape"))
