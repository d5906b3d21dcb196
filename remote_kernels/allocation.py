"""An allocation: from the login host's shell to a receiver on a node, and why it ended."""

from __future__ import annotations

import re
import shlex
import time
from collections import deque
from collections.abc import Callable

from remote_kernels import errors, steps
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.scheduler import Job, Scheduler
from remote_kernels.life import LONGEST_SHOWN, Life, number
from remote_kernels.options import KernelOptions
from remote_kernels.queue_script import QueueScript
from remote_kernels.resources import seconds
from remote_kernels.shell_text import READY, RECEIVER, receiver_command, to_receiver

# What is sent to Grid Engine's session before the shell over there runs ends it. So we wait for a
# first output, and a little more, for a prompt comes in pieces; a shell may also have none.
_PROMPT_IS_DONE = 0.3
_NO_PROMPT = 5.0
# Start-up files may throw away what is typed before they are done; the receiver takes a second
# line for nothing.
_TYPE_AGAIN = 10.0
_SHELL_PATIENCE = 120.0
# Of what a scheduler knows of a job; in more than that, searching could take long.
_LONGEST_LOOK = 1 << 14


class Allocation:
    """The job of one kernel, as its session tells of it.

    Attributes:
        interface: of the kernel.
        name: of the job.
        job: what is known of it; None as long as nothing is.
        program: of sh, that asks for the job.
        asked: the scheduler's command is being run.
        on_node: the receiver on the node waits, or runs what it was sent.
        command_status: how the scheduler's command ended; None while it runs.
    """

    def __init__(
        self,
        interface: type[Scheduler],
        options: KernelOptions,
        mark: str,
        *,
        send: Callable[[bytes], None],
        log: Callable[[str], None],
        warn: Callable[[str], None],
        by_keeper: bool = False,
    ) -> None:
        """Prepare to ask for a job.

        Args:
            interface: of the kernel.
            options: of the kernel.
            mark: begins each line that our programs say.
            send: writes to the session.
            log: takes what a person may want to read later.
            warn: takes what a person should read now.
            by_keeper: the program that asks for the job is run by a keeper; otherwise by a receiver
                that says when it can be sent.
        """
        self.interface = interface
        self._options = options
        self._send, self._log, self._warn = send, log, warn
        self.name = name = interface.job_name(options, mark[-6:], kept=by_keeper)
        self._command = interface.job_command(options, name)
        self._script = QueueScript(
            mark=mark,
            command=self._command,
            environment=interface.environment,
            unset=interface.job_variables,
            kept=interface.kept_variables,
            end_signal=interface.end_signal,
            look=interface.look(name),
            own_session=interface.own_session,
            settled=interface.settled,
            look_back=interface.look_back(name),
            cancel=interface.cancel(name),
        )
        self.program = self._script.text()
        self.job: Job | None = None
        self.asked = self.on_node = False
        self.command_status: int | None = None
        self.login_host = ""
        self._receivers = 1 if by_keeper else 0
        self._look_back = ""
        self._said: deque[str] = deque(maxlen=40)
        self._warned = self._cancelled = False
        # When a line is to be typed on the node, when at the latest, and until when that may take.
        self._type_at: float | None = None
        self._prompt_by = 0.0
        self._give_up_at: float | None = None
        self._timeout: float | None = None
        self._over_at: float | None = None

    @property
    def command(self) -> str:
        """The scheduler's command for a person; the program that it runs stands as dots."""
        ours = (RECEIVER, receiver_command())
        words = [*self.interface.settings(), *self._command]
        return " ".join("…" if word in ours else shlex.quote(word) for word in words)

    @property
    def over(self) -> bool:
        """Whether all is known that will be of a command that has ended."""
        return self._over_at is not None and time.monotonic() >= self._over_at

    @property
    def waiting(self) -> bool:
        """Whether the job was asked for and has not started."""
        return self.asked and not self.on_node and self.command_status is None

    def name_of_job(self) -> str:
        """The job for a sentence."""
        return f"job {self.job.id}" if self.job else "the job"

    def go_on(self, job: str) -> None:
        """Be the allocation that a launcher before us was granted.

        Args:
            job: its id; empty if that is not known.
        """
        self.asked = self.on_node = True
        self.on_job_id(job)

    @property
    def cancel_command(self) -> str:
        """The sh command that cancels the job."""
        return self._script.cancel

    def step_program(self, node: str) -> str:
        """The program of sh that enters the job beside its terminal; empty where there is none."""
        command = self.job and self.interface.step_command(self.job.id, node)
        return self._script.beside(command) if command else ""

    def on_job_id(self, job: str) -> None:
        """The node has said which job it is; empty if it does not know."""
        if job:
            self.job = Job(job)

    # --- what the session says ------------------------------------------------------------------

    def on_event(self, words: list[str], text: str) -> bool:
        """Take what the program on the login host says; whether it was for us.

        Args:
            words: of the line.
            text: of the line, after its first word.
        """
        match words:
            case ["LOGIN", *host]:
                self.login_host = " ".join(host)
            case ["ASKED"]:
                self._ask()
            case ["LOOK", *_]:
                # What our own program says is no prompt.
                if self._type_at is not None:
                    self._type_at = max(self._type_at, self._prompt_by)
                self._look_back = text = text[:_LONGEST_LOOK]
                self._learn(self.interface.read_look(text))
                self._cancelled = bool(self.job and re.search(self.interface.gone, text))
            case ["DONE", status]:
                self.command_status = number(status)
                self._over_at = time.monotonic() + self.interface.reason_patience
            case ["GONE"]:
                self._over_at = time.monotonic()
            case _:
                return False
        return True

    def on_line(self, line: str) -> bool:
        """Take a line of the session before there is a program on the node.

        Returns:
            Whether the receiver on the node is there now.
        """
        if READY in line:
            self._receivers += 1
            if self._receivers == 1:
                self._send(to_receiver(self.program, last=True))
            self.on_node = self.asked
            return self.on_node
        line = line[:LONGEST_SHOWN]
        if line.strip():
            self._said.append(line)
        self._learn(self.interface.read_line(line))
        typed_after = self.interface.typed_after
        if self.asked and typed_after and typed_after.search(line):
            now = time.monotonic()
            self._type_at = self._prompt_by = now + _NO_PROMPT
            self._give_up_at = now + _SHELL_PATIENCE
            self._timeout = None
        return False

    def on_output(self) -> None:
        """Something arrived, be it a whole line or not: the shell that was given may be there."""
        if self._type_at is not None and not self.on_node:
            self._type_at = min(self._type_at, time.monotonic() + _PROMPT_IS_DONE)

    def _ask(self) -> None:
        self.asked = True
        self._said.clear()
        self._log(f"asking for a job: {self.command}")
        if self._options.launch_timeout is not None:
            wait = seconds(self._options.launch_timeout, "--launch-timeout")
            self._timeout = time.monotonic() + wait

    def _learn(self, job: Job | None) -> None:
        if (
            job is None
            or job == self.job
            or (self.on_node and self.job)
            or self._over_at is not None
        ):
            return
        if self.job and job.id == self.job.id and job.state == self.job.state and not job.reason:
            return
        self.job = job
        self._log(str(job))
        if job.never and not self._warned:
            self._warned = True
            self._warn(
                f"remote-kernels: {job}: it can never start as it was asked for.\n"
                f"  ran:   {self.command}\n"
                "  try:   end it, and ask for less or for another --queue"
            )

    # --- what time brings -----------------------------------------------------------------------

    def wake_at(self) -> float | None:
        """When :meth:`act` has something to do, as time.monotonic() tells; None for never."""
        times = [self._over_at]
        if not self.on_node and self.command_status is None:
            times += [self._type_at, self._give_up_at, self._timeout]
        return min((moment for moment in times if moment is not None), default=None)

    def act(self) -> None:
        """Do what time has come for.

        Raises:
            JobEndedError: the job is not there any more, and the command still waits for it.
            LaunchTimeoutError: the job has not started in time.
            AllocationError: the shell that was given does not answer.
        """
        now = time.monotonic()
        if self.on_node or self.command_status is not None:
            return
        if self._cancelled:
            raise self._ended_early("was cancelled")
        if self._timeout is not None and now >= self._timeout:
            state = f": {self.job}" if self.job else ""
            raise errors.LaunchTimeoutError(
                f"there was no job within {self._options.launch_timeout}{state}",
                command=self.command,
                said=self._said,
            )
        if self._give_up_at is not None and now >= self._give_up_at:
            raise errors.AllocationError(
                f"{self.name_of_job()} was granted, but its shell did not take our command within "
                f"{_SHELL_PATIENCE:.0f} s",
                command=self.command,
                said=self._said,
            )
        if self._type_at is not None and now >= self._type_at:
            self._send(self.interface.typed().encode())
            self._type_at = now + _TYPE_AGAIN

    # --- how it ended ---------------------------------------------------------------------------

    def refusal(self) -> RemoteKernelsError:
        """Why the scheduler's command ended before there was a node."""
        said = list(self._said)
        program = self._command[0]
        if self.command_status == 127 or (
            self.command_status == 126 and any("ermission denied" in line for line in said)
        ):
            error: RemoteKernelsError = errors.SchedulerNotFoundError.of(program, self.login_host)
        elif (reason := self.ending()) and self.job:
            return self._ended_early(reason)
        else:
            error = self.interface.refusal(said)
        error.command, error.said = self.command, tuple(said)
        return error

    def _ended_early(self, reason: str) -> RemoteKernelsError:
        error = errors.JobEndedError(
            f"{self.name_of_job()} {reason} before it started",
            command=self.command,
            said=self._said,
        )
        error.step = steps.QUEUE
        return error

    def ending(self) -> str | None:
        """Why the job ended, in words that follow "the job"; None if nothing tells."""
        return self.interface.ending(self._look_back, list(self._said), self.command_status)

    def is_ending(self) -> bool:
        """Whether the job has ended, or is about to."""
        return self.command_status is not None or self.ending() is not None

    def error(self, life: Life) -> RemoteKernelsError | None:
        """What has ended the job; None if nothing has.

        Args:
            life: of the kernel.
        """
        if not self.asked:
            return None
        if not self.on_node and self.command_status is not None:
            return self.refusal()
        if not self.is_ending():
            return None
        ended = self.ending() or f"ended with status {self.command_status}"
        return errors.JobEndedError(f"{self.name_of_job()} {ended}", said=life.said)

    def where(self, life: Life) -> str | None:
        """Where the kernel runs, with the way there."""
        if not life.node:
            return str(life.way) if life.way else None
        place = f"{life.node}, {self.name_of_job()}"
        if life.way is None:
            return place
        return f"{place} (via {', '.join(map(str, [*life.way.gateways, life.way.host]))})"

    def note(self, line: str) -> None:
        """Keep a line that came from the session after the kernel was started."""
        self._said.append(line[:LONGEST_SHOWN])

    def advice_when_lost(self) -> str:
        """What stays when the login host cannot be reached any more."""
        return (
            f"{self.name_of_job()} may run on until its own end: look with the scheduler's "
            "commands on the login host, and cancel it there"
        )
