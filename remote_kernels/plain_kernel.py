"""A kernel without a keeper: started by a program of sh, its sockets carried by ssh's forwards.

For far sides that have no Python, and where ``--channel forward`` asks for it. A line that breaks
ends the kernel.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from remote_kernels import errors
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.life import Life, nonsense, number
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.questions import Questions, find_answerer
from remote_kernels.remote_script import Script
from remote_kernels.session import AdoptedSession, Session
from remote_kernels.shared_login import place_for_sockets
from remote_kernels.shell_text import QUIT, READY, as_line, bootstrap, receiver_command, to_receiver
from remote_kernels.surroundings import working_directory
from remote_kernels.wakeups import Wakeups
from remote_kernels.way_in import LOGIN_PATIENCE, kept_login, traced, write_config

if TYPE_CHECKING:
    from remote_kernels.allocation import Allocation
    from remote_kernels.holding import Held
    from remote_kernels.node_forwards import NodeForwards
    from remote_kernels.way import Way

# For the start-up files of the login shell.
_SHELL_PATIENCE = 120.0
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

# What ssh says of a connection to one of the kernel's ports that sshd does not let through.
_FORWARD_REFUSED = re.compile(r"^channel \d+: open failed: (administratively prohibited|unknown)")
# The same, and why the login host could not reach the node.
_CHANNEL_FAILED = re.compile(r"^channel \d+: open failed: ")


class PlainKernel:
    """One kernel: its session, its forwards and its end.

    Attributes:
        life: of the kernel.
    """

    def __init__(self, life: Life, place: PrivateDirectory) -> None:
        """Prepare.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
        """
        self.life = life
        self._place = place
        self._near = life.connection.local_endpoints
        self.far_ports: Sequence[int] = ()
        self.session: Session
        self.allocation: Allocation | None = None
        self._forwards: NodeForwards | None = None
        self._channel_failures: deque[str] = deque(maxlen=5)
        self._forwards_end_at: float | None = None
        self._carried = False
        self._failure: RemoteKernelsError | None = None
        self._deadline: float | None = None
        self._heard_at = self._pinged_at = 0.0
        self._receiver_is_back = False

    # --- the way in -----------------------------------------------------------------------------

    def begin(self, stack: ExitStack, session: Session | None = None) -> None:
        """Start to log in, unless that was done.

        Args:
            stack: takes what is to be done at the end.
            session: that waits for a line of sh.

        Raises:
            RemoteKernelsError: that cannot be done.
        """
        if session is not None:
            self.session = session
            stack.callback(session.close)
            self._deadline = time.monotonic() + LOGIN_PATIENCE
            session.send(as_line(self._script().text()))
            return
        if not self.life.interface.terminal:
            self._log_in(stack)
            return
        from remote_kernels.allocation import Allocation
        from remote_kernels.holding import take_over
        from remote_kernels.interfaces.scheduler import Scheduler

        assert issubclass(self.life.interface, Scheduler)
        taken = take_over("held", self.life.connection.path, self._near)
        if taken is not None:
            self.life.mark = taken[0].mark
        self.allocation = Allocation(
            self.life.interface,
            self.life.options,
            self.life.mark,
            send=lambda data: self.session.send(data),
            log=self.life.log,
            warn=self.life.warn,
        )
        self.life.where = partial(self.allocation.where, self.life)
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
        self.life.node, self.far_ports, self._carried = held.node, held.far_ports, True
        self.allocation.go_on(held.job)
        self.life.log(f"restarting in {self.allocation.name_of_job()} on {held.node}")
        self._start_on_node()

    def _start_on_node(self) -> None:
        self._deadline = time.monotonic() + LOGIN_PATIENCE
        self.session.send(to_receiver(self._script().text()))

    def _script(self) -> Script:
        return Script(
            mark=self.life.mark,
            info=self.life.connection.info,
            copy_name=self.life.connection.copy_name,
            kernel_cmd=self.life.kernel_cmd,
            precmd=self.life.options.precmd,
            environment=self.life.environment,
            workdir=self.life.workdir,
            near_directory=working_directory(),
            shell=self.life.interface.shell(self.life.options),
            keep_ports=not self.life.interface.carries,
            ports=self.far_ports,
            unset=self.life.interface.left_behind(),
            job_variable=self.life.interface.job_variable,
        )

    def _log_in(self, stack: ExitStack) -> None:
        if self.allocation is None:
            command, payload = bootstrap(self._script().text())
        else:
            # Its receiver says when it can take the program.
            command, payload = receiver_command(), b""
        if self.life.way is not None:
            self._write_ssh_config(self.life.way)
        argv = self.life.interface.session_command(self.life.options, self._place.path, command)
        self._deadline = time.monotonic() + LOGIN_PATIENCE
        self.session = Session(traced(self.life, argv), self.life.questions)
        stack.callback(self.session.close)
        self.session.send(payload)
        self._place.remove_stale()

    def _write_ssh_config(self, way: Way) -> None:
        socket = f"{self._place.path}/%C"
        if not self.life.options.no_share:
            self.life.kept_login = kept = kept_login(way, place_for_sockets())
            if kept is not None and kept.is_open:
                socket = kept.socket
        self.life.questions = Questions(self._place.path, find_answerer(os.environ))
        told = self.life.trace is not None
        write_config(way, self._place.path, self.life.questions, told=told, socket=socket)

    # --- while it lives -------------------------------------------------------------------------

    def carry_until_the_end(self, wakeups: Wakeups, stack: ExitStack) -> None:
        """Hold on until the kernel has ended.

        Args:
            wakeups: signals, and the end of Jupyter.
            stack: takes what is to be done at the end.

        Raises:
            RemoteKernelsError: it failed.
        """
        self._live(wakeups, stack)
        self.life.session_status = self.session.exit_status
        if self.allocation is not None:
            self._leave_node(hold=not wakeups.jupyter_died and self._failure is None)
        if self.life.terminated_by:
            return
        if self._failure is not None:
            raise self._failure
        if self.allocation is not None and (error := self._job_error()):
            raise error

    def _live(self, wakeups: Wakeups, stack: ExitStack) -> None:
        while self.session.open and self.life.far_status is None and not self._job_is_over():
            ready = self._wait(wakeups)
            for signum in wakeups.take(ready):
                self._on_signal(signum)
            if self.allocation is not None and self.session.fileno() in ready:
                self._heard_at = time.monotonic()
                self.allocation.on_output()
            for line in self.session.read_lines():
                self._on_line(line, stack)
            if self.life.terminated_by and self.life.stage in ("login", "queue"):
                return
            if (self.life.terminated_by or self._failure) and self._time_is_up():
                return
            self._on_time()
            self._look_after_forwards()

    def _job_is_over(self) -> bool:
        return self.allocation is not None and self.allocation.over

    def _job_is_ending(self) -> bool:
        return self.allocation is not None and self.allocation.is_ending()

    def _time_is_up(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _wait(self, wakeups: Wakeups) -> list[Any]:
        """What there is to read; empty when time has come for something."""
        times = [self._deadline, self._forwards_end_at]
        watched: list[Any] = [*self.session.descriptors, *wakeups.descriptors]
        if self.allocation is not None:
            times.append(self.allocation.wake_at())
            if self._heard_at and self.life.node:
                times.append(self._pinged_at + _PING_EVERY)
        if self._forwards is not None and self._forwards.session.open:
            watched.append(self._forwards.session)
        known = [moment for moment in times if moment is not None]
        wait = max(0.0, min(known) - time.monotonic()) if known else None
        return select.select(watched, [], [], wait)[0]

    def _on_time(self) -> None:
        if self._time_is_up() and self.life.is_asking:
            # For how long it waits for an answer, the far side decides.
            self._deadline = time.monotonic() + LOGIN_PATIENCE
        if self._time_is_up() and self.life.stage == "shell":
            raise errors.ShellError(
                "the login shell over there did not run our command within "
                f"{_SHELL_PATIENCE:.0f} s",
                said=self.life.said,
            )
        if self._time_is_up():
            raise errors.LoginError(
                f"the far side did not start our program within {LOGIN_PATIENCE:.0f} s",
                said=self.life.said,
            )
        if self.allocation is None:
            return
        self.allocation.act()
        now = time.monotonic()
        if self.life.node and now - self._pinged_at >= _PING_EVERY:
            if self._pinged_at > self._heard_at and now - self._heard_at >= _NODE_PATIENCE:
                raise errors.NodeSilentError(
                    f"the node {self.life.node} has not answered for {now - self._heard_at:.0f} s",
                    said=self.life.said,
                )
            self._pinged_at = now
            self.session.send(b"PING\n")

    def _on_signal(self, signum: int) -> None:
        if signum != signal.SIGINT:
            self.life.log(f"ending the kernel: {signal.Signals(signum).name}")
            self.life.terminated_by = signum
            self._end_kernel()
        elif self.life.stage == "up":
            self.life.log("interrupt")
            self.session.send(b"INT\n")
        elif self.allocation is not None and self.allocation.waiting:
            job = self.allocation.job
            self.life.warn(f"remote-kernels: still waiting for {job or 'the job'}")
        else:
            # A kernel that does not listen yet runs no cell, and an interrupt would end it.
            self.life.log("interrupt: nothing runs yet")

    def _end_kernel(self) -> None:
        """Let the far side end the kernel and clean up, and do not wait for long."""
        self._deadline = time.monotonic() + _END_PATIENCE
        self.session.send(b"TERM\n")

    def _on_line(self, line: str, stack: ExitStack) -> None:
        before, event = self.life.line(line)
        if self.life.stage == "up" and _FORWARD_REFUSED.search(before):
            raise errors.ForwardError("sshd over there does not forward ports", said=[before])
        if _CHANNEL_FAILED.search(before):
            self._channel_failures.append(before)
        if event:
            self._on_event(event, stack)
        elif self.allocation is not None:
            self._on_line_of_job(before)

    def _on_line_of_job(self, line: str) -> None:
        assert self.allocation is not None
        if self.allocation.on_node:
            if READY in line:
                self._receiver_is_back = self.life.far_status is not None
            self.allocation.note(line)
        elif self.allocation.on_line(line):
            self._start_on_node()

    def _on_event(self, event: str, stack: ExitStack) -> None:
        words = event.split()
        if self.allocation is not None and self.allocation.on_event(words, event):
            if self.allocation.waiting and self.life.stage == "login":
                self.life.stage, self._deadline = "queue", None
                self.life.said.clear()
            return
        self.life.event(event)
        if self.life.could_not_start:
            raise self.life.end_error(self._place.path)
        match words:
            case ["HELLO", *rest]:
                self._deadline = None
                if self.allocation is not None:
                    self._on_node(rest, stack)
            case ["COPY", *_]:
                self._deadline = time.monotonic() + _SHELL_PATIENCE
            case ["SHELL"] if not self.life.terminated_by:
                self._deadline = None
            case ["START", group, *ports]:
                if len(ports) != len(self._near):
                    raise nonsense(event)
                self.far_ports = [number(port) for port in ports]
                if self._forwards is not None:
                    self._forwards.guard(group, self.life.copy_path)
            case ["UP"]:
                if not self.far_ports:
                    raise nonsense(event)
                self._carry_sockets(stack)
            case ["EXIT", *_]:
                self._let_far_side_clean_up()

    # --- the sockets ----------------------------------------------------------------------------

    def _carry_sockets(self, stack: ExitStack) -> None:
        if self.allocation is not None:
            # Once the node has let us in.
            return
        if self.life.interface.carries:
            assert self.life.way is not None
            from remote_kernels.ssh_connection import SshForwards, session_socket

            here = self._place.path
            socket = session_socket(here, self.life.way.command(here))
            forwards = SshForwards(self.life.way.program, socket, shared=socket.parent != here)
            stack.callback(forwards.close)
            forwards.open(self._near, self.far_ports)
            self._log_carrying()
        # ssh holds what it needs of it; a launcher that is killed leaves nothing.
        self._place.remove()

    def _on_node(self, words: list[str], stack: ExitStack) -> None:
        """Start to log in to the node, which has said its name, for the forwards."""
        assert self.allocation is not None
        self._heard_at = self._pinged_at = time.monotonic()
        self.allocation.on_job_id(" ".join(words[1:]))
        if self._forwards is not None:
            return
        from remote_kernels.hosts import Host
        from remote_kernels.node_forwards import NodeForwards
        from remote_kernels.way import Way

        if self.life.way is None:
            way = Way(Host(self.life.node))
            self._write_ssh_config(way)
        elif self.life.node == self.allocation.login_host:
            # A cluster of one machine: ssh does not go to a host through itself.
            way = self.life.way
        else:
            way = self.life.way.to_node(self.life.node)
        assert self.life.questions is not None
        self._forwards = NodeForwards(way, self._place.path, self.life.questions)
        stack.callback(self._forwards.session.close)

    def _look_after_forwards(self) -> None:
        if (
            self._forwards is None
            or self._failure
            or self.life.far_status is not None
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
                self._failure = self._forwards.failure(self.life.node, self._channel_failures)
                self._end_kernel()
                return
        if self.life.stage == "up" and self._forwards.logged_in:
            if not self._carried:
                self._forwards.open(self._near, self.far_ports)
                self._carried = True
                self._log_carrying()
            self._place.remove()

    def _log_carrying(self) -> None:
        self.life.log(f"carrying {', '.join(self._near)} to {list(self.far_ports)}")

    def _let_far_side_clean_up(self) -> None:
        self.session.send(b"END\n")
        if self.allocation is None:
            self.session.wait_for_end(_CLOSE_PATIENCE)

    # --- leaving the node -----------------------------------------------------------------------

    def _leave_node(self, *, hold: bool) -> None:
        """After the kernel: see whether the job is still there, and hold it for a restart."""
        if self.life.far_status is None:
            return
        self._listen(_RECEIVER_PATIENCE, lambda: self._receiver_is_back or self._job_is_over())
        if self._receiver_is_back and self.life.far_status:
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
                before, mark, event = line.partition(self.life.mark + " ")
                if mark:
                    self.allocation.on_event(event.split(), event)
                else:
                    self._on_line_of_job(before)

    def _hold(self) -> None:
        from remote_kernels.holding import Held, Holder, release

        assert self.allocation is not None
        assert self._forwards is not None
        sessions = (self.session, self._forwards.session)
        job = self.allocation.job.id if self.allocation.job else ""
        self.life.log(f"holding {self.allocation.name_of_job()} in case of a restart")
        held = Held(self.life.mark, self.life.node, job, self._near, list(self.far_ports))
        terminal, *others = descriptors = [session.fileno() for session in sessions]
        # An ssh that others go through ends only after these.
        give_back = partial(release, terminal, others, QUIT)
        path, log = self.life.connection.path, self.life.log
        Holder(held, descriptors, path, give_back, log, terminal).stay_behind()
        for session in sessions:
            session.let_go()

    # --- how it ended ---------------------------------------------------------------------------

    def _job_error(self) -> RemoteKernelsError | None:
        """What has ended the job; None if it was the kernel that ended."""
        job = self.allocation
        assert job is not None
        if not job.asked or self._receiver_is_back:
            return None
        if not self.session.open and job.command_status is None:
            return errors.ConnectionLostError(
                f"the connection to the login host broke ({self.session.exit_status})",
                said=self.life.said,
                advice=job.advice_when_lost(),
            )
        return job.error(self.life)
