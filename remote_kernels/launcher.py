"""What kernel.json runs: the life of one kernel, from the way in to the last file removed."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote_kernels import __version__, errors
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces import interface_named
from remote_kernels.options import (
    DEFAULT_INTERFACE,
    DEFAULT_KERNEL_CMD,
    KernelOptions,
    as_typed,
    from_argv,
)
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.remote_script import Script
from remote_kernels.session import AdoptedSession, Session
from remote_kernels.shell_text import QUIT, READY, bootstrap, receiver_command, to_receiver
from remote_kernels.wakeups import Wakeups
from remote_kernels.way import CONFIG_NAME

if TYPE_CHECKING:
    from remote_kernels.allocation import Allocation
    from remote_kernels.holding import Held
    from remote_kernels.node_forwards import NodeForwards
    from remote_kernels.way import Way

# An ssh that gives its login up says so; this is for a far side that accepts and then is silent.
_LOGIN_PATIENCE = 120.0
# The far side gives a kernel 1.5 s to end in order; Jupyter kills us 2.5 s after it said SIGTERM.
_END_PATIENCE = 2.2
# After the kernel is gone, for what it left running over there.
_CLOSE_PATIENCE = 0.5
# After that, for a node's receiver to say that it is still there.
_RECEIVER_PATIENCE = 3.0
_JOB_ENDS_TOO = 0.5
_SESSION_ENDS_TOO = 1.0
# ssh asks its own server every 15 s; what lies behind the login host only we can ask.
_PING_EVERY, _NODE_PATIENCE = 20.0, 50.0
_LINES_SHOWN = 20

# What an interactive shell says for want of a terminal, and at its end; of no use to anybody.
_SHELL_NOISE = re.compile(
    "cannot set terminal process group|no job control in this shell|^logout$|"
    # and ssh, of a terminal.
    r"^Connection to \S+ closed\.$"
)
# What ssh says of a connection to one of the kernel's ports that sshd does not let through.
_FORWARD_REFUSED = re.compile(r"^channel \d+: open failed: (administratively prohibited|unknown)")
# The same, and why the login host could not reach the node.
_CHANNEL_FAILED = re.compile(r"^channel \d+: open failed: ")


def launch(argv: Sequence[str]) -> int:
    """Start the kernel that kernel.json describes, and hold on until it has ended.

    Args:
        argv: kernel.json's argv after the module name.

    Returns:
        The exit code: 0 after a kernel that ended in order, 128 + n after signal n, or that of
        the error, which is then on standard error.
    """
    launcher: Launcher | None = None
    try:
        options, path = from_argv(argv)
        launcher = Launcher(options, ConnectionFile.read(path))
        return launcher.run()
    except RemoteKernelsError as error:
        print(launcher.error_block(error) if launcher else error.block(), file=sys.stderr)
        return error.exit_code


class Launcher:
    """One kernel: its session, its sockets and its end."""

    def __init__(self, options: KernelOptions, connection: ConnectionFile) -> None:
        """Prepare everything that needs no connection.

        Args:
            options: from kernel.json.
            connection: the connection file that Jupyter wrote.

        Raises:
            RemoteKernelsError: the options cannot be used.
        """
        self.interface = interface_named(options.interface or DEFAULT_INTERFACE)
        # An old kernel.json may hold options that its interface never used.
        unused = self.interface.unusable(options)
        defaults: dict[str, Any] = {f.name: f.default for f in fields(options) if f.name in unused}
        self.options = replace(options, **defaults)
        self.interface.check(self.options)
        self.way = self.interface.way(self.options)
        self.connection = connection
        self._near = [connection.local_endpoint(name) for name in PORT_NAMES]
        self._kernel_cmd = as_typed(self.options.kernel_cmd or DEFAULT_KERNEL_CMD)
        self.mark = f"@rk-{os.urandom(8).hex()}"
        self.stage = "login"
        self.said: deque[str] = deque(maxlen=_LINES_SHOWN)
        self.node = ""
        self.far_ports: Sequence[int] = ()
        self.session: Session
        self.allocation: Allocation | None = None
        self._copy_path = ""
        self._forwards: NodeForwards | None = None
        self._channel_failures: deque[str] = deque(maxlen=5)
        self._forwards_end_at: float | None = None
        self._carried = False
        self._terminated_by = 0
        self._failure: RemoteKernelsError | None = None
        self._deadline: float | None = None
        self._heard_at = self._pinged_at = 0.0
        self._far_status: int | None = None
        self._out_of_memory = False
        self._receiver_is_back = False
        self._pending_log: list[str] = []
        self._write_log: Callable[[str], None] = self._pending_log.append
        self._log_path: Path | None = None
        self._clean: Callable[[str], str] = str

    def run(self) -> int:
        """The life of the kernel.

        Raises:
            RemoteKernelsError: it failed, or the kernel ended otherwise than in order.
        """
        with ExitStack() as stack:
            wakeups = stack.enter_context(Wakeups())
            self._begin(stack)
            # The session is on its way; from here on there is time.
            self._open_log(stack)
            self._carry_until_the_end(wakeups, stack)
            if self.allocation is not None:
                self._leave_node(hold=not wakeups.jupyter_died and self._failure is None)
            return self._verdict()

    def error_block(self, error: RemoteKernelsError) -> str:
        """The error as the person is to read it."""
        if error.host is None and self.interface.carries:
            error.host = self._place_for_a_person()
        error.said = tuple(self._clean(line) for line in error.said)
        return error.block(str(self._log_path) if self._log_path else None)

    def _place_for_a_person(self) -> str | None:
        if not self.node or self.allocation is None:
            return str(self.way) if self.way else None
        place = f"{self.node}, {self.allocation.name_of_job()}"
        if self.way is None:
            return place
        return f"{place} (via {', '.join(map(str, [*self.way.gateways, self.way.host]))})"

    # --- the way in -----------------------------------------------------------------------------

    def _begin(self, stack: ExitStack) -> None:
        self._place = PrivateDirectory()
        stack.callback(self._place.remove)
        self._log(f"remote-kernels {__version__}, interface {self.interface.name}")
        if not self.interface.terminal:
            self._log_in(stack)
            return
        from remote_kernels.allocation import Allocation
        from remote_kernels.holding import take_over
        from remote_kernels.interfaces.scheduler import Scheduler

        assert issubclass(self.interface, Scheduler)
        taken = take_over(self.connection.path, self._near)
        if taken is not None:
            self.mark = taken[0].mark
        self.allocation = Allocation(
            self.interface,
            self.options,
            self.mark,
            send=lambda data: self.session.send(data),
            log=self._log,
            warn=self._warn,
        )
        if taken is None:
            self._log_in(stack)
        else:
            self._go_on(stack, *taken)

    def _go_on(self, stack: ExitStack, held: Held, descriptors: Sequence[int]) -> None:
        """Use the session and the forwards of the kernel that was there before."""
        from remote_kernels.node_forwards import NodeForwards

        assert self.allocation is not None
        terminal, forwards = descriptors
        self.session = AdoptedSession(terminal)
        stack.callback(self.session.close)
        self._forwards = NodeForwards.adopted(AdoptedSession(forwards))
        stack.callback(self._forwards.session.close)
        self.node, self.far_ports, self._carried = held.node, held.far_ports, True
        self.allocation.go_on(held.job)
        self._log(f"restarting in {self.allocation.name_of_job()} on {held.node}")
        self._start_on_node()

    def _start_on_node(self) -> None:
        self._deadline = time.monotonic() + _LOGIN_PATIENCE
        self.session.send(to_receiver(self._script().text()))

    def _script(self) -> Script:
        left_behind: tuple[str, ...] = ()
        job_variable = ""
        if self.allocation is not None:
            left_behind = self.allocation.interface.left_behind()
            job_variable = self.allocation.interface.job_variable
        return Script(
            mark=self.mark,
            info=self.connection.info,
            copy_name=self.connection.copy_name,
            kernel_cmd=self._kernel_cmd,
            precmd=self.options.precmd,
            workdir=self.options.workdir,
            near_directory=_working_directory(),
            shell=self.interface.shell(self.options),
            keep_ports=not self.interface.carries,
            ports=self.far_ports,
            unset=left_behind,
            job_variable=job_variable,
        )

    def _log_in(self, stack: ExitStack) -> None:
        if self.allocation is None:
            command, payload = bootstrap(self._script().text())
        else:
            # Its receiver says when it can take the program.
            command, payload = receiver_command(), b""
        if self.way is not None:
            self._write_ssh_config(self.way)
        argv = self.interface.session_command(self.options, self._place.path, command)
        self._log(f"spawning {argv}")
        self._deadline = time.monotonic() + _LOGIN_PATIENCE
        try:
            self.session = Session(argv, _session_environment())
        except FileNotFoundError:
            raise errors.SshNotFoundError(f"there is no program {argv[0]} on this machine") from (
                None
            )
        stack.callback(self.session.close)
        self.session.send(payload)
        self._place.remove_stale()

    def _write_ssh_config(self, way: Way) -> None:
        text = way.config(self._place.path, can_ask="SSH_ASKPASS" in os.environ)
        (self._place.path / CONFIG_NAME).write_text(text)

    def _open_log(self, stack: ExitStack) -> None:
        from remote_kernels.kernel_log import KernelLog

        log = KernelLog(
            str(self.connection.kernel_id), self.connection.secrets, self.options.verbose
        )
        stack.callback(log.close)
        for line in self._pending_log:
            log.write(line)
        self._write_log, self._log_path, self._clean = log.write, log.path, log.clean

    # --- while it lives -------------------------------------------------------------------------

    def _carry_until_the_end(self, wakeups: Wakeups, stack: ExitStack) -> None:
        while self.session.open and self._far_status is None and not self._job_is_over():
            ready = self._wait(wakeups)
            for signum in wakeups.take(ready):
                self._on_signal(signum)
            if self.allocation is not None and self.session in ready:
                self._heard_at = time.monotonic()
                self.allocation.on_output()
            for line in self.session.read_lines():
                self._on_line(line, stack)
            if self._terminated_by and self.stage in ("login", "queue"):
                return
            if (self._terminated_by or self._failure) and self._time_is_up():
                return
            self._on_time()
            self._look_after_forwards()

    def _job_is_over(self) -> bool:
        return self.allocation is not None and self.allocation.over

    def _job_is_ending(self) -> bool:
        job = self.allocation
        return job is not None and (job.command_status is not None or job.ending() is not None)

    def _time_is_up(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _wait(self, wakeups: Wakeups) -> list[Any]:
        """What there is to read; empty when time has come for something."""
        times = [self._deadline, self._forwards_end_at]
        watched: list[Any] = [self.session, *wakeups.descriptors]
        if self.allocation is not None:
            times.append(self.allocation.wake_at())
            if self._heard_at and self.node:
                times.append(self._pinged_at + _PING_EVERY)
        if self._forwards is not None and self._forwards.session.open:
            watched.append(self._forwards.session)
        known = [moment for moment in times if moment is not None]
        wait = max(0.0, min(known) - time.monotonic()) if known else None
        return select.select(watched, [], [], wait)[0]

    def _on_time(self) -> None:
        if self._time_is_up():
            raise errors.LoginError(
                f"the far side did not start our program within {_LOGIN_PATIENCE:.0f} s",
                said=self.said,
            )
        if self.allocation is None:
            return
        self.allocation.act()
        now = time.monotonic()
        if self.node and now - self._pinged_at >= _PING_EVERY:
            if self._pinged_at > self._heard_at and now - self._heard_at >= _NODE_PATIENCE:
                raise errors.NodeSilentError(
                    f"the node {self.node} has not answered for {now - self._heard_at:.0f} s",
                    said=self.said,
                )
            self._pinged_at = now
            self.session.send(b"PING\n")

    def _on_signal(self, signum: int) -> None:
        if signum != signal.SIGINT:
            self._log(f"ending the kernel: {signal.Signals(signum).name}")
            self._terminated_by = signum
            self._end_kernel()
        elif self.stage == "up":
            self._log("interrupt")
            self.session.send(b"INT\n")
        elif self.allocation is not None and self.allocation.waiting:
            job = self.allocation.job
            self._warn(f"remote-kernels: still waiting for {job or 'the job'}")
        else:
            # A kernel that does not listen yet runs no cell, and an interrupt would end it.
            self._log("interrupt: nothing runs yet")

    def _end_kernel(self) -> None:
        """Let the far side end the kernel and clean up, and do not wait for long."""
        self._deadline = time.monotonic() + _END_PATIENCE
        self.session.send(b"TERM\n")

    def _on_line(self, line: str, stack: ExitStack) -> None:
        before, mark, event = line.partition(self.mark + " ")
        if self.stage == "up" and _FORWARD_REFUSED.search(before):
            raise errors.ForwardError("sshd over there does not forward ports", said=[before])
        if _CHANNEL_FAILED.search(before):
            self._channel_failures.append(before)
        if before.strip() and READY not in before and not _SHELL_NOISE.search(before):
            self._log(f"> {before}")
            self.said.append(before)
        if mark:
            self._log(f"far side: {event}")
            self._on_event(event, stack)
        elif self.allocation is not None:
            self._on_line_of_job(before)

    def _on_line_of_job(self, line: str) -> None:
        assert self.allocation is not None
        if self.allocation.on_node:
            if READY in line:
                self._receiver_is_back = self._far_status is not None
            self.allocation.note(line)
        elif self.allocation.on_line(line):
            self._start_on_node()

    def _on_event(self, event: str, stack: ExitStack) -> None:
        words = event.split()
        if self.allocation is not None and self.allocation.on_event(words, event):
            if self.allocation.waiting and self.stage == "login":
                self.stage, self._deadline = "queue", None
                self.said.clear()
            return
        match words:
            case ["HELLO", *rest]:
                self.stage = "placing"
                self._deadline = None
                self.said.clear()
                if self.allocation is not None:
                    self._on_node(rest, stack)
            case ["FAIL", what]:
                self._far_status = 1
                raise self._placing_error(what)
            case ["COPY", *_]:
                self.stage = "shell"
                self._copy_path = event.partition(" ")[2]
            case ["START", group, *ports]:
                self.far_ports = [int(port) for port in ports]
                if self._forwards is not None:
                    self._forwards.guard(group, self._copy_path)
            case ["SHELL"]:
                self.stage = "precmd" if self.options.precmd else "starting"
                self.said.clear()
            case ["PRECMD", status]:
                self.stage = "precmd" if int(status) else "starting"
            case ["UP"]:
                self.stage = "up"
                self.said.clear()
                self._carry_sockets(stack)
            case ["EXIT", status, *why]:
                self._far_status = int(status)
                self._out_of_memory = why == ["MEMORY"]
                self._let_far_side_clean_up()

    # --- the sockets ----------------------------------------------------------------------------

    def _carry_sockets(self, stack: ExitStack) -> None:
        if self.allocation is not None:
            # Once the node has let us in.
            return
        if self.interface.carries:
            assert self.way is not None
            from remote_kernels.ssh_connection import SshForwards, session_socket

            here = self._place.path
            socket = session_socket(here, self.way.command(here))
            forwards = SshForwards(self.way.program, socket, shared=socket.parent != here)
            stack.callback(forwards.close)
            forwards.open(self._near, self.far_ports)
            self._log_carrying()
        # ssh holds what it needs of it; a launcher that is killed leaves nothing.
        self._place.remove()

    def _on_node(self, words: list[str], stack: ExitStack) -> None:
        """Start to log in to the node, which has said its name, for the forwards."""
        assert self.allocation is not None
        self.node = words[0]
        self._heard_at = self._pinged_at = time.monotonic()
        self.allocation.on_job_id(" ".join(words[1:]))
        if self._forwards is not None:
            return
        from remote_kernels.hosts import Host
        from remote_kernels.node_forwards import NodeForwards
        from remote_kernels.way import Way

        if self.way is None:
            way = Way(Host(self.node))
            self._write_ssh_config(way)
        elif self.node == self.allocation.login_host:
            # A cluster of one machine: ssh does not go to a host through itself.
            way = self.way
        else:
            way = self.way.to_node(self.node)
        self._forwards = NodeForwards(way, self._place.path, _session_environment())
        stack.callback(self._forwards.session.close)

    def _look_after_forwards(self) -> None:
        if (
            self._forwards is None
            or self._failure
            or self._far_status is not None
            or self._job_is_ending()
        ):
            return
        self._forwards.read()
        if not self._forwards.session.open:
            now = time.monotonic()
            if self._forwards_end_at is None:
                # The session ends in the same moment when the login host is lost.
                self._forwards_end_at = now + _SESSION_ENDS_TOO
            elif now >= self._forwards_end_at:
                self._forwards_end_at = None
                self._failure = self._forwards.failure(self.node, self._channel_failures)
                self._end_kernel()
                return
        if self.stage == "up" and self._forwards.logged_in:
            if not self._carried:
                self._forwards.open(self._near, self.far_ports)
                self._carried = True
                self._log_carrying()
            self._place.remove()

    def _log_carrying(self) -> None:
        self._log(f"carrying {', '.join(self._near)} to {list(self.far_ports)}")

    def _let_far_side_clean_up(self) -> None:
        self.session.send(b"END\n")
        if self.allocation is None:
            self.session.wait_for_end(_CLOSE_PATIENCE)

    # --- leaving the node -----------------------------------------------------------------------

    def _leave_node(self, *, hold: bool) -> None:
        """After the kernel: see whether the job is still there, and hold it for a restart."""
        if self._far_status is None:
            return
        self._listen(_RECEIVER_PATIENCE, lambda: self._receiver_is_back or self._job_is_over())
        if self._receiver_is_back and self._far_status:
            # A job that ends takes the kernel with it, and the receiver a moment later.
            self._listen(_JOB_ENDS_TOO, self._job_is_ending)
            self._receiver_is_back = self.session.open and not self._job_is_ending()
        if hold and self._receiver_is_back and self._forwards is not None and self._carried:
            self._hold()

    def _listen(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Take what the session says of the job, for a while."""
        assert self.allocation is not None
        deadline = time.monotonic() + seconds
        while self.session.open and not enough() and (left := deadline - time.monotonic()) > 0:
            if not select.select([self.session], [], [], left)[0]:
                return
            for line in self.session.read_lines():
                before, mark, event = line.partition(self.mark + " ")
                if mark:
                    self.allocation.on_event(event.split(), event)
                else:
                    self._on_line_of_job(before)

    def _hold(self) -> None:
        from remote_kernels.holding import Held, Holder

        assert self.allocation is not None
        assert self._forwards is not None
        sessions = (self.session, self._forwards.session)
        job = self.allocation.job.id if self.allocation.job else ""
        self._log(f"holding {self.allocation.name_of_job()} in case of a restart")
        held = Held(self.mark, self.node, job, self._near, list(self.far_ports))
        descriptors = [session.fileno() for session in sessions]
        Holder(held, descriptors, self.connection.path, QUIT, self._log).stay_behind()
        for session in sessions:
            session.let_go()

    # --- how it ended ---------------------------------------------------------------------------

    def _log(self, text: str) -> None:
        self._write_log(text)

    def _warn(self, text: str) -> None:
        """Say something that a person should read while the kernel goes on."""
        for line in text.splitlines():
            self._log(line)
        if not self.options.verbose:
            print(self._clean_lines(text), file=sys.stderr, flush=True)

    def _clean_lines(self, text: str) -> str:
        return "\n".join(self._clean(line) for line in text.splitlines())

    def _verdict(self) -> int:
        if self._terminated_by:
            return 128 + self._terminated_by
        if self._failure is not None:
            raise self._failure
        if self.allocation is not None and (error := self._job_error()):
            raise error
        if self._far_status == 0 and self.stage == "up":
            return 0
        raise self._end_error()

    def _job_error(self) -> RemoteKernelsError | None:
        """What has ended the job; None if it was the kernel that ended."""
        job = self.allocation
        assert job is not None
        if not job.asked or self._receiver_is_back:
            return None
        if not job.on_node and job.command_status is not None:
            return job.refusal()
        if not self.session.open and job.command_status is None:
            return errors.ConnectionLostError(
                f"the connection to the login host broke ({self.session.exit_status})",
                said=self.said,
                advice=job.advice_when_lost(),
            )
        reason = job.ending()
        if job.command_status is None and reason is None:
            return None
        ended = reason or f"ended with status {job.command_status}"
        return errors.JobEndedError(f"{job.name_of_job()} {ended}", said=self.said)

    def _end_error(self) -> RemoteKernelsError:
        status, said = self._far_status, self.said
        ended = f"ended with status {status}" + (
            f" ({signal.Signals(status - 128).name})"
            if status is not None and status - 128 in set(signal.Signals)
            else ""
        )
        if self.stage == "login":
            return self._login_error()
        if status is None:
            return errors.ConnectionLostError(
                f"the connection broke ({self.session.exit_status})", said=said
            )
        if self.stage == "shell":
            return errors.ShellError(
                f"the login shell over there {ended} before it ran our command", said=said
            )
        if self.stage == "precmd":
            return errors.PrecommandError(
                f"the pre-command {ended}: {self.options.precmd}", said=said
            )
        if self._out_of_memory:
            return errors.KernelDiedError(
                "the kernel used more memory than it may, and was killed",
                said=said,
                advice="let it use less, or ask for more (for a job: --memory)",
            )
        if self.stage == "starting":
            if status in (126, 127) or any("Command not found" in line for line in said):
                return errors.CommandNotFoundError(
                    f"the kernel command was not found: {self._kernel_cmd}", said=said
                )
            return errors.KernelStartError(
                f"the kernel {ended} before it could be used: {self._kernel_cmd}", said=said
            )
        return errors.KernelDiedError(f"the kernel {ended}", said=said)

    def _login_error(self) -> RemoteKernelsError:
        if self.session.exit_status != 255 or self.way is None:
            return errors.ShellError(
                "the login worked, but our command was not run over there", said=self.said
            )
        from remote_kernels.ssh_connection import ssh_setting

        def real_name(name: str) -> str:
            config = str(self._place.path / CONFIG_NAME)
            return ssh_setting(["ssh", "-F", config, "--", name], "hostname")

        error = self.way.login_error(list(self.said), real_name)
        error.said = tuple(self.said)
        return error

    def _placing_error(self, what: str) -> RemoteKernelsError:
        if what == "WORKDIR":
            return errors.WorkdirError(
                f"cannot enter the working directory {self.options.workdir}", said=self.said
            )
        if what == "FILE":
            return errors.ConnectionCopyError(
                f"cannot write {self.connection.copy_name} over there", said=self.said
            )
        return errors.PortsError("found no five free ports over there", said=self.said)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # Somebody has removed it under us.
        return None


def _session_environment() -> dict[str, str]:
    env = dict(os.environ)
    if "SSH_ASKPASS" in env:
        # Our terminal is nobody's to type into; ssh older than 8.4 wants a DISPLAY to obey.
        env["SSH_ASKPASS_REQUIRE"] = "force"
        env.setdefault("DISPLAY", ":0")
    return env
