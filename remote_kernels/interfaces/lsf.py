"""LSF: an interactive job through ``bsub -Is`` (bsub(1), bjobs(1), bkill(1))."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.base import arguments
from remote_kernels.interfaces.scheduler import Job, OwnJob, Scheduler, memory_of, time_of
from remote_kernels.options import KernelOptions
from remote_kernels.resources import memory
from remote_kernels.shell_text import receiver_command

_FIELDS = re.compile(r"(?<!\d)(\d+)\|(\w+)\|([^|]*)\|([^|]*)\|([^|]*)\|")
# Most of what can never be met LSF refuses at once.
_NEVER = re.compile(r"no suitable hosts for the job|never satisfied|exceeds (?!quota)")
# bjobs(1) says why a job was ended as in "TERM_OWNER: job killed by owner".
_REASON = re.compile(r"\b(TERM_\w+): ([^|]*)")
_CANCELLED = "was cancelled"
_TOO_MUCH_MEMORY = "used more memory than it had been given"
_LOST = "lost its node"
_PUT_BACK = "was put back into the queue"
_ENDINGS = {
    **dict.fromkeys(("TERM_OWNER", "TERM_FORCE_OWNER"), _CANCELLED),
    **dict.fromkeys(("TERM_ADMIN", "TERM_FORCE_ADMIN", "TERM_BUCKET_KILL"), _CANCELLED),
    **dict.fromkeys(("TERM_MEMLIMIT", "TERM_SWAP"), _TOO_MUCH_MEMORY),
    **dict.fromkeys(("TERM_ZOMBIE", "TERM_REMOVE_HUNG_JOB", "TERM_RC"), _LOST),
    **dict.fromkeys(("TERM_REQUEUE_OWNER", "TERM_REQUEUE_ADMIN", "TERM_REQUEUE_RC"), _PUT_BACK),
    "TERM_RUNLIMIT": "reached its time limit",
    "TERM_CPULIMIT": "used up its CPU time",
    "TERM_DEADLINE": "reached its deadline",
    "TERM_PREEMPT": "had to make way for another one",
    "TERM_WINDOW": "had to end when its queue closed",
}
# The latter only where LSF is told to say more (LSB_INTERACT_MSG_ENH).
_SAID_ENDINGS = (
    (r"<<Terminated while pending>>", _CANCELLED),
    (r"<< *Job <\d+> has been terminated by user or administrator", _CANCELLED),
)


class Lsf(Scheduler):
    """The interface ``lsf``."""

    name = "lsf"
    label = "Platform LSF"
    name_part = "lsf"
    command = "bsub"
    knows_queue = "bqueues QUEUE"
    job_variables = ("LSB_*", "LS_JOBPID", "LS_SUBCWD", "LS_EXEC_T")
    kept_variables = ("LSB_DEFAULTPROJECT", "LSB_DEFAULTQUEUE", "LSB_DEFAULT_USERGROUP")
    job_variable = "LSB_JOBID"
    # bsub hands it on to the job, or cancels that while it waits.
    end_signal = "TERM"
    settled = "*'|RUN|'*"
    down = (
        r"LSF is down|[Ff]ailed in an LSF library call|Cannot connect to LSF|lsid:|Please wait|"
        r"LIM is down|LIM is unreachable|Batch service not registered|Communication timeout"
    )
    refusals = (
        (
            r"No such queue|cannot use the queue|[Qq]ueue (only accepts|does not accept|name must)|"
            r"[Qq]ueue has been closed",
            "see the queues that you may use with bqueues -u $USER, check --queue",
        ),
        (
            r"[Ii]llegal option|[Uu]nknown option|option requires an arg",
            "check --remote-launch-args",
        ),
        (r"[Pp]roject", "check --account, which is LSF's project (bsub -P)"),
        (
            r"(MEM|RUN|SWAP|CPU)LIMIT|hard limit|(many|few) processors|[Rr]esource|"
            r"in \w+ section|memory limit|run limit",
            "see what the queue gives with bqueues -l, check --cpus, --memory, --gpus and --time",
        ),
        (r"pending job|job limit|job slots", "see your jobs with bjobs"),
        (r"permission denied|[Uu]ser group|not a member|non-LSF host", "ask who may use the queue"),
        (r"aborted by esub", "the site's own check (esub) says what it wants"),
        (r"[Ii]nvalid|Bad |Usage", "check --remote-launch-args"),
    )

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the bsub; see :meth:`Scheduler.job_command`. It joins what it is to run.

        Without a unit memory would be counted in that of the site (LSF_UNIT_FOR_LIMITS); LSF before
        10.1.0.2 knows no units.
        """
        time, kib = time_of(options), memory_of(options)
        # -W counts minutes.
        minutes = None if time is None else -(-time // 60)
        return [
            *cls.program(options),
            *(["-n", str(options.cpus), "-R", "span[hosts=1]"] if options.cpus > 1 else []),
            *(["-W", f"{minutes // 60}:{minutes % 60:02}"] if minutes is not None else []),
            *(["-M", memory(kib), "-R", f"rusage[mem={memory(kib)}]"] if kib is not None else []),
            *(["-gpu", f"num={options.gpus}"] if options.gpus else []),
            *(["-q", options.queue] if options.queue is not None else []),
            *(["-P", options.account] if options.account is not None else []),
            *arguments(options),
            *("-J", name, "-Is", receiver_command()),
        ]

    @classmethod
    def look(cls, name: str) -> str:
        """What bjobs says; see :meth:`Scheduler.look`. An older one does not know pend_reason."""
        form = "jobid stat pend_reason estimated_start_time exit_reason delimiter='|'"
        ask = f"bjobs -a -noheader -J {name} -o"
        return (
            f"rk_jobs=$({ask} {shlex.quote(form)}) || "
            f"rk_jobs=$({ask} {shlex.quote(form.replace('pend_reason ', ''))} | sed 's/|/||/2'); "
            "[ -z \"$rk_jobs\" ] || printf '%s\\n' \"$rk_jobs\" | sed 's/$/|/'"
        )

    # The time left is told in hours and minutes, with a letter behind.
    own_jobs = (
        "bjobs -noheader -o \"jobid job_name stat exec_host time_left delimiter='|'\" | "
        "sed 's/\\([0-9]*:[0-9]*\\)[^|]*$/\\1:00/'"
    )
    cancel_by_id = "bkill"

    @classmethod
    def read_own_jobs(cls, text: str) -> list[OwnJob]:
        """What bjobs said of all jobs; see :meth:`Scheduler.read_own_jobs`."""
        # Hosts stand as "4*n1:n2", and a minus sign for none.
        return [
            job._replace(node=job.node.split(":")[0].rpartition("*")[2].strip("-"))
            for job in super().read_own_jobs(text)
        ]

    @classmethod
    def cancel(cls, name: str) -> str:
        """See :meth:`Scheduler.cancel`."""
        return f"bkill -J {name} 0"

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What bjobs said; see :meth:`Scheduler.read_look`."""
        found = _FIELDS.search(text)
        if not found:
            return None
        job, state, reason, start, _ = (part.strip().strip("-") for part in found.groups())
        if state not in ("PEND", "PSUSP"):
            return Job(job, state)
        return Job(job, state, reason, start, never=bool(_NEVER.search(reason)))

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What bsub said; see :meth:`Scheduler.read_line`."""
        found = re.search(r"Job <(\d+)> is submitted", line)
        return Job(found[1], "PEND") if found else None

    @classmethod
    def refusal(cls, said: Sequence[str]) -> RemoteKernelsError:
        """Why bsub ended; see :meth:`Scheduler.refusal`. What it waited for is over by then."""
        return super().refusal([line for line in said if "Please wait" not in line] or said)

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended; see :meth:`Scheduler.ending`."""
        for text in (look_back, *(line for line in said if line.startswith("TERM_"))):
            if found := _REASON.search(text):
                told = found[2].strip().rstrip(".")
                return _ENDINGS.get(found[1], f"was ended by LSF ({told})")
        for pattern, ended in _SAID_ENDINGS:
            if any(re.match(pattern, line) for line in said):
                return ended
        return None
