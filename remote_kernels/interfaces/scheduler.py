"""What a scheduler's interface is: how a job is asked for, looked at and ended, and its texts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from remote_kernels.errors import JobRefusedError, RemoteKernelsError, SchedulerDownError
from remote_kernels.hosts import Host
from remote_kernels.interfaces.base import CHANNEL_USES, Interface, words
from remote_kernels.options import KernelOptions
from remote_kernels.resources import kibibytes, seconds
from remote_kernels.shell_text import receiver_command
from remote_kernels.way import Way

#: What every scheduler can be asked for.
_JOB_USES = frozenset(
    {
        *("launch_cmd", "cpus", "launch_args"),
        *("time", "memory", "gpus", "queue", "account", "launch_timeout"),
    }
)
SCHEDULER_USES = _JOB_USES | {"tunnel_hosts"} | CHANNEL_USES

# How jobs of ours are named: after the kernel, then who holds the job, then what no other job has.
_OUR_NAME = re.compile(r"[A-Za-z][\w-]*-(rk|rf)[0-9a-f]{6}", re.ASCII)
_KEPT, _NOT_KEPT = "rk", "rf"
# What ssh says when a terminal of its own is closed.
_NOISE = re.compile(r"Connection to \S+ closed\b")


class Job(NamedTuple):
    """What a scheduler says of a job.

    Attributes:
        id: the scheduler's number for it.
        state: in the scheduler's own words, as in PENDING or qw; empty when it does not say.
        reason: why it is in that state.
        start: when it is expected to start.
        never: it can never start as it was asked for.
    """

    id: str
    state: str = ""
    reason: str = ""
    start: str = ""
    never: bool = False

    def __str__(self) -> str:
        """The job for a person."""
        text = f"job {self.id}" + (f" {self.state}" if self.state else "")
        text += f" ({self.reason})" if self.reason else ""
        return text + (f", expected to start {self.start}" if self.start else "")


class OwnJob(NamedTuple):
    """One of all jobs that a user has.

    Attributes:
        id: the scheduler's number for it.
        name: of the job.
        state: in the scheduler's own words.
        left: seconds until its time is up; None if that is not known.
        node: on which it runs; empty while it waits, or where a step needs none.
    """

    id: str
    name: str
    state: str
    left: int | None
    node: str = ""

    @property
    def runs(self) -> bool:
        """Whether it has nodes, and the user's processes there."""
        # Grid Engine's t is a moment in which its master has not heard of the start yet.
        return self.state in ("R", "r", "t", "RUN", "RUNNING")

    @property
    def is_kept(self) -> bool:
        """Whether it is named as the jobs of ours are that a keeper on the login host holds."""
        return self._holder == _KEPT

    @property
    def is_not_kept(self) -> bool:
        """Whether it is named as the jobs of ours are that nobody but their launcher holds."""
        return self._holder == _NOT_KEPT

    @property
    def _holder(self) -> str:
        found = _OUR_NAME.fullmatch(self.name)
        return found[1] if found else ""


class Scheduler(Interface):
    """An interface that has to be granted a job first.

    The program that asks for the job runs in the login shell of the last of the tunnel hosts, or
    of this machine. On the node a small receiver runs in the job's terminal and starts the kernel.

    Attributes:
        command: the scheduler's own, unless --launch-cmd names another.
        typed_after: where the command takes no program to run, but gives a shell: the text after
            which that shell is there. The receiver is then typed into it.
        environment: set for the command, and unset again on the node.
        job_variables: patterns of the variables that a job sets for what runs in it, as in
            "SLURM_*". Jupyter may itself run in a job; the new job must not take these for its own.
        kept_variables: of these, those that a site or a person sets.
        end_signal: ends the command; empty where cancelling its job does so at once.
        own_session: whether the command runs out of the reach of the signal of a terminal that goes
            away, which some commands hand on to what runs in the job.
        longest_name: of a job.
        reason_patience: seconds that :meth:`look_back` may take.
    """

    uses = SCHEDULER_USES
    starts_with = Interface.starts_with | _JOB_USES
    terminal = True

    command: ClassVar[str]
    typed_after: ClassVar[re.Pattern[str] | None] = None
    environment: ClassVar[dict[str, str]] = {}
    job_variables: ClassVar[tuple[str, ...]] = ()
    kept_variables: ClassVar[tuple[str, ...]] = ()
    end_signal: ClassVar[str] = ""
    own_session: ClassVar[bool] = True
    longest_name: ClassVar[int] = 60
    reason_patience: ClassVar[float] = 3.0
    #: What the scheduler says when it refuses, with what that means and what to do.
    refusals: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: What is said when the scheduler itself does not answer.
    down: ClassVar[str] = "(?!)"

    @classmethod
    def check(cls, options: KernelOptions) -> None:
        """Refuse what cannot work; see :meth:`Interface.check`."""
        super().check(options)
        if options.launch_timeout is not None:
            seconds(options.launch_timeout, "--launch-timeout")
        cls.job_command(options, "name")

    @classmethod
    def way(cls, options: KernelOptions) -> Way | None:
        """The way to the login host; None where that is this machine."""
        if not options.tunnel_hosts:
            return None
        *gateways, login_host = (Host.parse(text) for text in options.tunnel_hosts)
        return Way(login_host, tuple(gateways))

    #: A command of sh that ends with 0 if a queue is known; QUEUE stands for its name.
    knows_queue: ClassVar[str] = ""

    @classmethod
    def queue_is_known(cls, options: KernelOptions) -> str:
        """The command of sh that ends with 0 if the queue is known; empty if none was named."""
        if not options.queue:
            return ""
        return cls.knows_queue.replace("QUEUE", shlex.quote(options.queue))

    @classmethod
    def job_name(cls, options: KernelOptions, token: str, *, kept: bool) -> str:
        """A name for the job that says which kernel it is, and that no other job has.

        Args:
            options: of the kernel.
            token: six hexadecimal digits that are new at each start.
            kept: a keeper on the login host holds the job.
        """
        # Grid Engine refuses names that begin with a digit, and most signs.
        name = re.sub(r"[^A-Za-z0-9_]+", "-", options.name or "kernel").strip("-")
        if not name[:1].isalpha():
            name = f"k{name}"
        end = f"-{_KEPT if kept else _NOT_KEPT}{token}"
        return f"{name[: cls.longest_name - len(end)].rstrip('-')}{end}"

    @classmethod
    def program(cls, options: KernelOptions) -> list[str]:
        """The scheduler's command, or the person's own."""
        return words(options.launch_cmd or cls.command, "--launch-cmd")

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the command that asks for the job, with the receiver where it takes a program.

        Args:
            options: of the kernel.
            name: of the job.

        Raises:
            OptionsError: the scheduler cannot be asked for what is wanted.
        """
        raise NotImplementedError

    @classmethod
    def settings(cls) -> list[str]:
        """The variables that are set for the command, as words to put in front of it."""
        return [f"{name}={value}" for name, value in cls.environment.items()]

    @classmethod
    def left_behind(cls) -> tuple[str, ...]:
        """The variables that our commands set; see :meth:`Interface.left_behind`."""
        return tuple(cls.environment)

    @classmethod
    def typed(cls) -> str:
        """The line that is typed where the command gives a shell."""
        # The blank in front keeps it out of most histories, the unset out of bash's.
        return f" unset HISTFILE; {receiver_command()}\n"

    @classmethod
    def step_command(cls, job: str, node: str) -> list[str]:
        """Argv of what enters the job on pipes, which are quicker than its terminal; empty: none.

        It runs :data:`~remote_kernels.shell_text.WAITS` on the node.

        Args:
            job: its id.
            node: on which its first process runs; empty for any of its nodes.
        """
        return []

    # --- what is run beside the command, as sh text ---------------------------------------------

    @classmethod
    def look(cls, name: str) -> str:
        """The sh command that prints what the scheduler knows of a job; empty for none.

        Args:
            name: of the job.
        """
        return ""

    #: A pattern of sh's case for what :meth:`look` prints once the job does not wait any more.
    settled: ClassVar[str] = "*"

    #: What :meth:`look` prints of a job that is not there any more, as a regular expression; needed
    #: only where the command itself goes on waiting for a job that was cancelled.
    gone: ClassVar[str] = "(?!)"

    #: The sh command that prints all jobs of the user, each with its name; empty for none.
    own_jobs: ClassVar[str] = ""

    #: The command that ends a job whose id follows it; empty where jobs are ended by name only.
    cancel_by_id: ClassVar[str] = ""

    @classmethod
    def look_back(cls, name: str) -> str:
        """The sh command that prints why a job has ended; empty for none.

        $rk_status is the command's own status.

        Args:
            name: of the job.
        """
        return cls.look(name)

    @classmethod
    def cancel(cls, name: str) -> str:
        """The sh command that ends the job of that name, and is content if there is none.

        Args:
            name: of the job.
        """
        raise NotImplementedError

    @classmethod
    def cancel_one(cls, job: OwnJob) -> str:
        """The sh command that ends one of the jobs that :attr:`own_jobs` lists, and no other.

        Args:
            job: that job.
        """
        if not cls.cancel_by_id:
            return cls.cancel(job.name)
        return f"{cls.cancel_by_id} {shlex.quote(job.id)}"

    # --- texts ----------------------------------------------------------------------------------

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What :meth:`look` printed; None if it says nothing of a job.

        Args:
            text: with blanks in place of its line ends.
        """
        return None

    @classmethod
    def read_own_jobs(cls, text: str) -> list[OwnJob]:
        """What :attr:`own_jobs` printed.

        Args:
            text: as it was printed; here lines of id, name, state, node and time left between bars.
        """
        rows = [line.strip().split("|") for line in text.splitlines()]
        return [
            OwnJob(row[0], row[1], row[2], seconds_left(row[4]), row[3])
            for row in rows
            if len(row) == 5
        ]

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What the command said of the job in one line; None if nothing."""
        return None

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended, as the rest of a sentence that begins with "the job"; None: unknown.

        Args:
            look_back: what :meth:`look_back` printed, with blanks in place of its line ends.
            said: the last lines of the session.
            status: of the command; None where it is not known.
        """
        return None

    @classmethod
    def refusal(cls, said: Sequence[str]) -> RemoteKernelsError:
        """Why the command ended before there was a job that ran.

        Args:
            said: the lines that were printed.
        """
        for line in said:
            if re.search(cls.down, line):
                return SchedulerDownError(f"{cls.label} does not answer: {line.strip()}")
        for pattern, advice in cls.refusals:
            for line in said:
                if re.search(pattern, line):
                    return JobRefusedError(f"{cls.label} refused: {line.strip()}", advice=advice)
        lines = (line.strip() for line in reversed(said))
        last = next((x for x in lines if x and not _NOISE.match(x)), "it said nothing")
        return JobRefusedError(f"{cls.label} gave no job: {last}")


def seconds_left(text: str) -> int | None:
    """A time as D-HH:MM:SS or MM:SS in seconds; None for anything else.

    Args:
        text: as a scheduler tells it.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if found is None:
        return None
    days, hours, minutes, secs = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + secs


def memory_of(options: KernelOptions) -> int | None:
    """--memory in KiB; None if it was not given.

    Raises:
        OptionsError: it is no amount of memory.
    """
    return None if options.memory is None else kibibytes(options.memory, "--memory")


def time_of(options: KernelOptions) -> int | None:
    """--time in seconds; None if it was not given.

    Raises:
        OptionsError: it is no time.
    """
    return None if options.time is None else seconds(options.time, "--time")
