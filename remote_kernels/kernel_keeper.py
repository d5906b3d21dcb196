"""The keeper of a kernel, or of a Jupyter server.

It starts the kernel in the user's login shell, carries its sockets over the channel, passes signals
on, says how the kernel ended, and removes what both have left. Python 3.6, the standard library
alone; see :mod:`~remote_kernels.keeper`.
"""

import errno
import os
import signal
import socket
import time

from remote_kernels.carrier import Timer
from remote_kernels.keeper import (
    BEAT,
    FILE_LINK,
    Order,
    become,
    needs_no_quotes,
    reaped,
    to_null,
)
from remote_kernels.login_shell import dialect_of, login_shell
from remote_kernels.missed import Missed
from remote_kernels.processes import use_of
from remote_kernels.socket_keeper import IOPUB, SocketKeeper, connected
from remote_kernels.zmtp import GREETING, Subscriber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    #: Text in which a field stands as a list of one name: a port's, "path", "ip" or "transport".
    Parts = Sequence[str | list[str]]
    from remote_kernels.socket_keeper import Address

# Seconds between two looks whether anybody is there.
_LOOK_FOR_LISTENERS = 0.5

# Of what the kernel publishes at a time, how much is looked at while it is busy.
_LAST_BYTES = 2048

# Seconds after a change: many of them are one cell's.
_REPORT_SOON = 1.0

# The variable that says what is to be activated.
_ENVIRONMENT = "rk_activate"

# Of all the room that spools have, what may be used when a paused kernel goes on.
_GOES_ON = 0.75
#: Seconds for a kernel that is to end: after SIGTERM, and after SIGKILL.
END_PATIENCE = 1.5
_LOOK_AGAIN = 0.1


class KernelOrder:
    """How a kernel is to be started and held.

    Attributes:
        sockets: names of those that are carried: SOCKETS, or those of a server.
        file: what the connection file is to hold.
        file_name: its name.
        is_private: the file lies in the private directory, and not in the working directory.
        texts: for sh, fish and csh: what the login shell is to run.
        variables: that it has to start with.
        shell: argv of the shell that runs it with -c; empty: the login shell.
        workdir: a directory that has to exist.
        near_directory: entered if no workdir is given and it exists.
        transport: "ipc" or "tcp".
        ip: of the kernel's sockets; empty: chosen here.
        ports: that the kernel takes, in the order of its sockets; empty: chosen here.
        unset: variables that the kernel must not have.
        job_variable: holds the id of the job in which this runs; empty for none.
        cancel: sh command that cancels that job.
        spool: bytes of output that wait for a launcher that was lost.
        end_patience: seconds after SIGTERM, before SIGKILL.
    """

    def __init__(
        self,
        sockets: "Sequence[str]",
        file: "Parts",
        file_name: str,
        is_private: bool,
        texts: "dict[str, Parts]",
        variables: "dict[str, str]",
        shell: "Sequence[str]",
        workdir: str,
        near_directory: str,
        transport: str,
        ip: str,
        ports: "Sequence[int]",
        unset: "Sequence[str]",
        job_variable: str,
        cancel: str,
        spool: int,
        end_patience: float,
    ) -> None:
        self.sockets = tuple(sockets)
        self.file = file
        self.file_name = file_name
        self.is_private = is_private
        self.texts = texts
        self.variables = variables
        self.shell = shell
        self.workdir = workdir
        self.near_directory = near_directory
        self.transport = transport
        self.ip = ip
        self.ports = ports
        self.unset = unset
        self.job_variable = job_variable
        self.cancel = cancel
        self.spool = spool
        self.end_patience = end_patience


class StartError(Exception):
    """The kernel cannot be started: ENVIRONMENT, WORKDIR, FILE or PORTS, and a sentence."""


class Kernel:
    """The kernel's process and what belongs to it.

    Attributes:
        group: its process group; 0 before it was started.
        status: as a shell tells how it ended; None while it runs.
        out_of_memory: it was killed, and Linux has killed something for want of memory.
        is_paused: it was stopped for want of room.
        output: descriptor of what it prints; -1 after all has come.
        file: path of its connection file.
        began: when it was started, in seconds since 1970.
        addresses: where its sockets listen, in the order of their names.
    """

    def __init__(self, order: KernelOrder, directory: str) -> None:
        """Prepare to start it.

        Args:
            order: how.
            directory: private, for its sockets.
        """
        self._order = order
        self._directory = directory
        self._text = self._dialect = ""
        self._kills = 0
        self.group = 0
        self.status: int | None = None
        self.out_of_memory = False
        self.output = -1
        self.is_paused = False
        self.began = 0.0
        self.file = ""
        self.ports: Sequence[int] = order.ports
        self.addresses: list[Address] = []

    def enter(self) -> None:
        """Look whether all is there that it needs, and enter the working directory.

        Raises:
            StartError: that cannot be done.
        """
        self._look_for_environment()
        self._enter()

    def place(self) -> None:
        """Choose the sockets, those of the last start if there was one; write the connection file.

        Raises:
            StartError: that cannot be done.
        """
        self._choose_addresses()
        name, here = self._order.file_name, _as_text(os.getcwdb())
        # The guards, and the launcher, are told of the file in a line.
        if not self._order.is_private and os.access(".", os.W_OK) and "\n" not in here:
            # The kernel command names the file in its own quotes.
            directory = here if needs_no_quotes(here) else "."
        else:
            directory = self._directory
        path = os.path.join(directory, name)
        self._fields = {
            "path": path,
            "ip": self._ip,
            "transport": self._order.transport,
            **{name: str(port) for name, port in zip(self._order.sockets, self.ports)},
        }
        self._text = self._filled(self._order.file)
        self.file = os.path.join(here if directory == "." else directory, name)
        try:
            link = _as_bytes(os.path.join(self._directory, FILE_LINK))
            if not os.path.islink(link):
                os.symlink(_as_bytes(self.file), link)
            _write_private(_as_bytes(path), self._text)
        except OSError as error:
            raise StartError("FILE", f"{path}: {error.strerror}") from None

    def _look_for_environment(self) -> None:
        prefix = self._order.variables.get(_ENVIRONMENT)
        if prefix is None:
            return
        if _is_of_home(prefix):
            prefix = _as_text(os.path.expanduser(_as_bytes(prefix)))
            self._order.variables[_ENVIRONMENT] = prefix
        if not os.path.isdir(_as_bytes(prefix)):
            raise StartError("ENVIRONMENT", f"{prefix}: no such directory")

    def _enter(self) -> None:
        workdir = self._order.workdir
        if workdir:
            try:
                path = _as_bytes(workdir)
                os.chdir(os.path.expanduser(path) if _is_of_home(workdir) else path)
            except OSError as error:
                raise StartError("WORKDIR", f"{workdir}: {error.strerror}") from None
            return
        for directory in (_as_bytes(self._order.near_directory), os.path.expanduser(b"~")):
            try:
                os.chdir(directory)
                return
            except OSError:
                continue
        os.chdir("/")

    def _choose_addresses(self) -> None:
        count = len(self._order.sockets)
        if self._order.transport == "ipc":
            self._ip = self._order.ip or os.path.join(self._directory, "kernel")
            self.ports = self.ports or range(1, 1 + count)
            self.addresses = [f"{self._ip}-{port}" for port in self.ports]
            if self.group:
                # A kernel that was killed leaves its sockets, and they would be in the way.
                _unlink(*self.addresses)
            return
        self._ip = self._order.ip or "127.0.0.1"
        self.ports = self.ports or _free_ports(count)
        self.addresses = [(self._ip, port) for port in self.ports]

    def _filled(self, parts: "Parts") -> str:
        return "".join(x if isinstance(x, str) else self._fields[x[0]] for x in parts)

    def start(self) -> None:
        """Start it in the login shell, in a session of its own."""
        shell = list(self._order.shell) or login_shell()
        self._dialect = dialect_of(shell[0])
        words = [*shell[1:], "-c", self._filled(self._order.texts[self._dialect])]
        argv: list[str | bytes] = [shell[0], *map(_as_bytes, words)]
        unset = {*self._order.unset, "JPY_PARENT_PID", "JPY_INTERRUPT_EVENT", "JPY_SESSION_NAME"}
        env = {name: value for name, value in os.environb.items() if _as_text(name) not in unset}
        env.setdefault(b"TERM", b"dumb")
        variables = self._order.variables
        env.update((_as_bytes(name), _as_bytes(variables[name])) for name in variables)
        self._kills = _memory_kills()
        self.status, self.out_of_memory, self.is_paused = None, False, False
        self.began = time.time()
        self.output, theirs = os.pipe()
        self.group = os.fork()
        if self.group == 0:
            os.setsid()
            to_null(0)
            for standard in (1, 2):
                os.dup2(theirs, standard)
            become(argv, env)
        os.close(theirs)

    def pause(self) -> bool:
        """Stop it for a while; whether it was running."""
        was_running = not self.is_paused and self.status is None and self.group > 0
        if was_running:
            self.signal(signal.SIGSTOP)
            self.is_paused = True
        return was_running

    def go_on(self) -> bool:
        """Let it run again; whether it was paused."""
        was_paused, self.is_paused = self.is_paused, False
        if was_paused:
            self.signal(signal.SIGCONT)
        return was_paused

    def signal(self, signum: int) -> None:
        """Send a signal to it and all that it has started."""
        if self.group:
            try:
                os.killpg(self.group, signum)
            except OSError:
                # It has ended, or not begun.
                pass

    @property
    def lives(self) -> bool:
        """Whether anything of its process group is there."""
        if not self.group:
            return False
        try:
            os.killpg(self.group, 0)
        except OSError as error:
            return error.errno == errno.EPERM
        return True

    def reap(self) -> None:
        """Learn how its shell ended, if it has."""
        if self.status is not None or not self.group:
            return
        self.status = reaped(self.group)
        if self.status is not None:
            if self._dialect == "csh" and self.status == 128 + signal.SIGINT:
                # A csh ends so after an interrupt that the kernel survived; its traps are worse.
                self.status = 0
            self.out_of_memory = self.status == 137 and _memory_kills() != self._kills
            self.remove_file()

    def restore_file(self) -> None:
        """Write the connection file again, if somebody has removed it."""
        try:
            if not os.path.lexists(_as_bytes(self.file)):
                _write_private(_as_bytes(self.file), self._text)
        except OSError:
            # Nor can it be had.
            pass

    def remove_file(self) -> None:
        """Remove the connection file, unless a kernel that was started anew has its own there."""
        try:
            path = _as_bytes(self.file)
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                if file.read() != self._text:
                    return
            os.unlink(path)
        except OSError:
            # Somebody else has.
            pass


class KernelKeeper(SocketKeeper):
    """A kernel, and what is between it and the channel."""

    def __init__(self, order: Order, guard: int, parent: int) -> None:
        """Prepare; see :class:`Keeper`."""
        kernel = order.held
        assert isinstance(kernel, KernelOrder)
        super().__init__(order, guard, parent, kernel.spool, kernel.sockets)
        self._job_variable, self._cancel = kernel.job_variable, kernel.cancel
        self._kernel = Kernel(kernel, self.directory)
        self._end_patience = kernel.end_patience
        self._ending = self._restarts = False
        self._state, self._active = "starting", time.time()
        self._on_terminal, self._keeps = order.on_terminal, order.keeps
        self._publisher: socket.socket | None = None
        self._subscriber = Subscriber()
        self._missed = Missed()
        self._is_shown = self._is_left_alone = False
        self._next_report: Timer | None = None

    def begin(self) -> None:
        """Start the kernel."""
        self.tell("HELLO", os.uname().nodename, os.environ.get(self._job_variable, ""))
        try:
            self._kernel.enter()
            self._start()
        except StartError as error:
            self._tell_failure(error)
        else:
            self.add_guard()
            if self._keeps and self._is_kernel:
                self._listen_while_alone()

    def _tell_failure(self, error: StartError) -> None:
        what, sentence = error.args
        self.output.write(sentence.encode("utf-8", "surrogateescape") + b"\n")
        self.tell("FAIL", what)
        self.told_end = True
        self.output.end()

    def _start(self) -> None:
        self._kernel.place()
        self.tell("COPY", self._kernel.file)
        self._kernel.start()
        self.tell("START", str(self._kernel.group), *map(str, self._kernel.ports))
        self.tell_guards("GROUP", str(self._kernel.group))
        self.tell_guards("FILE", self._kernel.file)
        os.set_blocking(self._kernel.output, False)
        self._watch_output()
        self._state, self._active = "starting", self._kernel.began
        self.carry_to(list(self._kernel.addresses))
        self._report_in(0)

    # --- what a person asks ---------------------------------------------------------------------

    def status(self) -> "dict[str, object]":
        """See :class:`Keeper`; beside, what the kernel does and uses."""
        used = use_of(self._kernel.group) if self._kernel.group else None
        memory, cpu = used if used is not None else (None, None)
        return {
            **super().status(),
            "group": self._kernel.group,
            "file": self._kernel.file,
            "began": self._kernel.began,
            "addresses": self._kernel.addresses,
            "workdir": _as_text(os.getcwdb()),
            "state": self._state_now,
            "active": self._active,
            "memory": memory,
            "cpu": cpu,
        }

    @property
    def _state_now(self) -> str:
        if self._ending or self.told_end:
            return "ending"
        if not self._is_kernel:
            return "running" if self.is_up else "starting"
        return "restarting" if self._restarts else self._state

    def _report_in(self, seconds: float) -> None:
        """In a job, where nobody can ask us, let it be known what a person may ask."""
        if self._on_terminal:
            if self._next_report is not None:
                self._next_report.cancel()
            self._next_report = self.loop.after(seconds, self._report)

    def _report(self) -> None:
        # Not needed but here.
        import json

        status = json.dumps(self.status()).encode().hex()
        if self._line is not None and not self.told_end:
            self.tell("STATUS", status)
        elif self._keeps and self._terminal is not None and not self.told_end:
            self.say_on(self._terminal[1], "STATUS", status)
        self._next_report = None
        self._report_in(BEAT)

    def on_wish(self, word: str) -> bool:
        """See :class:`Keeper`."""
        if word == "INT":
            self._kernel.signal(signal.SIGINT)
            self._kernel.go_on()
        elif word == "RESTART":
            self._restart()
        elif word in ("ALONE", "BACK"):
            # On a job's terminal the line itself does not show it.
            self._is_left_alone = word == "ALONE"
            if not self._is_left_alone:
                self.on_line()
        else:
            done = super().on_wish(word)
            if done and word.startswith("CLAIM"):
                self._kernel.restore_file()
            return done
        return True

    def _restart(self) -> None:
        """End the kernel, and start it anew with the same sockets; its launcher stays."""
        if self._ending or self._restarts or self._kernel.status is not None:
            return
        self._restarts, group = True, self._kernel.group
        self._kernel.signal(signal.SIGTERM)
        self._kernel.go_on()

        def kill() -> None:
            if self._restarts and self._kernel.group == group:
                self._kernel.signal(signal.SIGKILL)

        self.loop.after(self._end_patience, kill)

    def _start_anew(self) -> None:
        self._restarts = False
        self._kernel.signal(signal.SIGKILL)
        self._drain_output()
        self.close_connections()
        try:
            self._start()
        except StartError as error:
            self._tell_failure(error)

    # --- while nobody is there ------------------------------------------------------------------

    def _listen_while_alone(self) -> None:
        """Hear what a kernel that is kept publishes while no launcher has a line to us.

        What a visitor has not been shown yet is kept; from then on only the state is heeded.
        """
        self.loop.after(_LOOK_FOR_LISTENERS, self._listen_while_alone)
        has_line = self._line is not None and not self._is_left_alone
        if self.is_alone:
            self._is_shown = False
        if has_line or self._kernel.status is not None:
            self._stop_listening()
        elif self._publisher is None and all(self._listening):
            self._publisher = connected(self._kernel.addresses[IOPUB])
            if self._publisher is not None:
                self._subscriber = Subscriber()
                self._publisher.setblocking(False)
                self._publisher.send(GREETING)
                self.loop.watch(self._publisher.fileno(), self._hear)

    def _hear(self) -> None:
        assert self._publisher is not None
        try:
            data = self._publisher.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stop_listening()
            return
        self.seen(data)
        messages, answer = self._subscriber.take(data)
        if answer:
            self._publisher.send(answer)
        for parts in messages if not self._is_shown else ():
            self._missed.note(parts)

    def on_line(self) -> None:
        """See :class:`Keeper`; what a launcher has missed that comes back, its streams hold."""
        self._stop_listening()
        self._missed = Missed()

    def on_parted(self) -> None:
        """See :class:`Keeper`; what goes on for nobody must not fill the disk."""
        self._is_left_alone = False
        self.close_connections()
        self._report_in(0)

    def _stop_listening(self) -> None:
        if self._publisher is not None:
            self.loop.watch(self._publisher.fileno())
            self._publisher.close()
            self._publisher = None

    def missed(self, *, take: bool) -> str:
        """See :class:`Keeper`."""
        found = self._missed.as_json()
        if take:
            self._missed, self._is_shown = Missed(), True
        return found

    def seen(self, data: bytes) -> None:
        """See from what the kernel publishes whether it is busy, as its front ends do."""
        self._active = time.time()
        # What ends a flood of output stands at its end.
        begin = max(0, len(data) - _LAST_BYTES) if self._state == "busy" else 0
        at = data.rfind(b'"execution_state"', begin)
        if at >= 0:
            said = data[at + 17 : at + 40]
            before = self._state
            if b'"busy"' in said or b'"idle"' in said:
                self._state = "busy" if b'"busy"' in said else "idle"
            if self._state != before:
                self._report_in(_REPORT_SOON)

    # --- its end --------------------------------------------------------------------------------

    def on_silence(self) -> None:
        """Cancel the job, which some schedulers keep when the command is gone that asked for it."""
        if os.fork() == 0:
            become(["sh", "-l", "-c", self._cancel])

    def on_child(self) -> None:
        """Learn whether the kernel has ended."""
        self._kernel.reap()

    def clean_up(self) -> None:
        """Leave nothing of the kernel."""
        self._kernel.signal(signal.SIGKILL)
        self.remove_files()

    def remove_files(self) -> None:
        """Remove the connection file."""
        self._kernel.remove_file()

    def on_sigterm(self) -> None:
        """Let the kernel end in order, and kill it if it does not."""
        if not self._ending:
            self._ending = True
            self._stop_listening()
            self.loop.after(2 * self._end_patience, self.finish)
            self._kernel.signal(signal.SIGTERM)
            self._kernel.go_on()
            self.loop.after(self._end_patience, lambda: self._kernel.signal(signal.SIGKILL))

    def finish(self) -> None:
        """End the kernel with all that it has left running, and then ourselves."""
        self.on_sigterm()
        deadline = time.monotonic() + 2 * self._end_patience

        def look() -> None:
            self._kernel.reap()
            if self._kernel.lives and time.monotonic() < deadline:
                self.loop.after(_LOOK_AGAIN, look)
            else:
                self.over = True

        look()

    # --- the kernel -----------------------------------------------------------------------------

    def before_waiting(self) -> None:
        """Stop the kernel where there is no room, and notice its end."""
        if self._is_kernel and (self.loop.paused or self.output.full or self._kernel.is_paused):
            self._pause_or_go_on()
            self._watch_output()
        if self._kernel.status is not None and not self.told_end:
            if self._restarts and not self._ending:
                self._start_anew()
            else:
                self._tell_end()

    def _pause_or_go_on(self) -> None:
        """Stop a kernel whose output there is no room for: it might throw it away itself."""
        streams = [self.output, *(c.stream for c in self.connections.values())]
        if any(stream.full for stream in streams):
            if self._kernel.pause():
                self.tell("PAUSED")
        elif self.room.used <= self.room.most * _GOES_ON and self._kernel.go_on():
            self.tell("GOES", "ON")

    def _watch_output(self) -> None:
        if self._kernel.output >= 0:
            read = None if self.output.full and self._is_kernel else self._take_output
            self.loop.watch(self._kernel.output, read)

    def _take_output(self) -> bool:
        """Take some of what the kernel prints; whether there may be more."""
        try:
            data = os.read(self._kernel.output, 1 << 16)
        except BlockingIOError:
            return False
        if self._is_kernel or not self.output.full:
            # What a server prints for nobody is not worth to let it wait.
            self.output.write(data)
        if not data:
            self._close_output()
        return bool(data)

    def _close_output(self) -> None:
        self.loop.watch(self._kernel.output)
        os.close(self._kernel.output)
        self._kernel.output = -1

    def _drain_output(self) -> None:
        # What it has left running may hold the other end.
        while self._kernel.output >= 0 and not self.output.full and self._take_output():
            pass
        if self._kernel.output >= 0:
            self._close_output()

    def _tell_end(self) -> None:
        self._drain_output()
        self.output.end()
        self.told_end = True
        self.tell("EXIT", str(self._kernel.status), "MEMORY" * self._kernel.out_of_memory)
        if self._keeps and self._line is None:
            # Nobody waits to hear it. Not at once: the loop is about to wait.
            self.loop.after(0, self.finish)


def _is_of_home(path: str) -> bool:
    return path == "~" or path.startswith("~/")


def _as_bytes(text: str) -> bytes:
    """A text as the person typed it: Python itself would write it as the locale here wants."""
    return text.encode("utf-8", "surrogateescape")


def _as_text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _write_private(path: bytes, text: str) -> None:
    """Write a file that is ours alone; whoever takes the name in between is not written to."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(file, "w", encoding="utf-8", errors="surrogateescape") as writer:
            writer.write(text)
    except OSError:
        os.unlink(path)
        raise


def _unlink(*paths: "str | tuple[str, int]") -> None:
    for path in paths:
        try:
            os.unlink(_as_bytes(str(path)))
        except OSError:
            # It was removed in order.
            pass


def _free_ports(count: int) -> "list[int]":
    """So many ports in a row on which nobody listens.

    They are of 15000 to 31999, below those that systems give out for outgoing connections. Since a
    kernel listens some time after they were looked at, keepers that run at once begin at different
    ones.

    Raises:
        StartError: there are none.
    """
    try:
        space = int("".join(c for c in os.readlink("/proc/self/ns/pid") if c.isdigit()))
    except OSError:
        space = 0
    places = 17000 // count
    for attempt in range(places):
        # 997 has no factor in common with 3400, so all are tried.
        first = 15000 + (os.getpid() + space + 997 * attempt) % places * count
        ports = list(range(first, first + count))
        if all(map(_is_free, ports)):
            return ports
    raise StartError("PORTS", "all ports are taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _memory_kills() -> int:
    """How often Linux has killed something of this job or session (cgroups(7), versions 2, 1)."""
    kills = 0
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, kinds, group = line.rstrip("\n").split(":", 2)
                if not kinds:
                    kills += _kills_in("/sys/fs/cgroup", group, "memory.events")
                elif "memory" in kinds.split(","):
                    kills += _kills_in("/sys/fs/cgroup/memory", group, "memory.oom_control")
    except (OSError, ValueError):
        # No Linux, or not one that tells.
        pass
    return kills


def _kills_in(root: str, group: str, name: str) -> int:
    # In a container its own branch may stand for the whole tree.
    while group and not os.access(f"{root}{group}/{name}", os.R_OK):
        group = group[group.index("/", 1) :] if "/" in group[1:] else ""
    with open(f"{root}{group}/{name}", encoding="utf-8") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
