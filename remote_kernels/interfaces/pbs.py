"""PBS and Torque: an interactive job through ``qsub -I`` (qsub(1B), qstat(1B)).

OpenPBS and Torque have the same qsub, but not the same sentences. The qsub that comes with Slurm
runs Slurm's salloc, says what that says, and has no qselect beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from remote_kernels.interfaces.base import arguments
from remote_kernels.interfaces.scheduler import (
    Job,
    OwnJob,
    Scheduler,
    memory_of,
    seconds_left,
    time_of,
)
from remote_kernels.options import KernelOptions
from remote_kernels.resources import clock, memory
from remote_kernels.shell_text import RECEIVER

# What squeue(1) knows of a job of Slurm's qsub, as qstat would say it; 5 blanks are a line's end.
_SQUEUE = (
    'squeue -h -t all -u "$(id -un)" -n {name} -o '
    "'Job Id: %i     job_state = %T     comment = %r     estimated.start_time = %S' | "
    "sed 's/= PENDING /= Q /; s/= RUNNING /= R /'"
)
# qstat folds a long line with a tab, in the middle of a word.
_FOLD = " \t"
_ATTRIBUTE = re.compile(r"(?<! ) {4,}([A-Za-z_][\w.]*) = ")
# The latter are reasons of squeue(1).
_NEVER = re.compile(r"Can Never Run|(Partition(Config|TimeLimit|NodeLimit)|BadConstraints)$")

_TIME_IS_UP = "reached its time limit"
_TOO_MUCH_MEMORY = "used more memory than it had been given"
_CPU_TIME_IS_UP = "used up its CPU time"
_TOO_MANY_CPUS = "used more CPUs than it had been given"
_CANCELLED = "was cancelled"
# What qstat shows of an ended job: OpenPBS's codes, Torque's, and the states of Slurm's qsub.
_ENDINGS = {
    "Exit_status": {
        **dict.fromkeys(("-24", "-25"), _TOO_MANY_CPUS),
        **dict.fromkeys(("-26", "-27"), _TOO_MUCH_MEMORY),
        "-28": _CPU_TIME_IS_UP,
        "-29": _TIME_IS_UP,
        # 256 and SIGTERM, with which qdel ends a job.
        "271": _CANCELLED,
    },
    "exit_status": {
        "-10": _TOO_MUCH_MEMORY,
        "-11": _TIME_IS_UP,
        "-12": _CPU_TIME_IS_UP,
        "271": _CANCELLED,
    },
    "job_state": {
        "CANCELLED": _CANCELLED,
        "TIMEOUT": _TIME_IS_UP,
        "NODE_FAIL": "lost its node",
        "OUT_OF_MEMORY": _TOO_MUCH_MEMORY,
        "PREEMPTED": "had to make way for another one",
    },
}
# What PBS writes to a job's terminal before it ends it.
_KILLED = re.compile(r"=>> PBS: job killed: (.*)")
_KILLED_FOR = (
    (r"walltime ", _TIME_IS_UP),
    (r"p?v?mem ", _TOO_MUCH_MEMORY),
    (r"p?cput ", _CPU_TIME_IS_UP),
    (r"ncpus ", _TOO_MANY_CPUS),
)
_SAID_ENDINGS = (
    (r"qsub: job \S+ apparently deleted|Job \S+ is being deleted$", _CANCELLED),
    (r"(srun|slurmstepd).*DUE TO TIME LIMIT", _TIME_IS_UP),
    (
        r"(srun|slurmstepd).*(oom.kill|[Oo]ut [Oo]f [Mm]emory|[Ee]xceeded .*memory limit)",
        _TOO_MUCH_MEMORY,
    ),
    (r"(srun|slurmstepd).*(DUE TO NODE FAILURE|Node failure on)", "lost its node"),
    (r"(srun|slurmstepd).*CANCELLED AT|salloc: .*has been revoked", _CANCELLED),
)


class Pbs(Scheduler):
    """The interface ``pbs``."""

    name = "pbs"
    label = "PBS"
    # remote_ikernel left it out, and its users' notebooks hold the names that came of it.
    name_part = ""
    command = "qsub"
    knows_queue = "qstat -Q QUEUE"
    # The last is said by the qsub that comes with Slurm.
    typed_after = re.compile(r"qsub: job (\S+) ready|salloc: Granted job allocation (\d+)")
    job_variables = (
        *("PBS_JOB*", "PBS_NODE*", "PBS_TASKNUM", "PBS_ENVIRONMENT", "PBS_QUEUE"),
        *("PBS_MOMPORT", "PBS_ACCOUNT", "PBS_ARRAY*"),
        # Slurm's qsub would take them for its own.
        *("SLURM_*", "SLURMD_*"),
    )
    kept_variables = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT")
    job_variable = "PBS_JOBID"
    # Slurm's qsub refuses to run without a controlling terminal.
    own_session = False
    settled = "*'job_state = R'*"
    # OpenPBS before 19 and Torque take no more.
    longest_name = 15
    down = (
        r"cannot connect to server|Connection refused|pbs_iff|[Cc]ould not connect to (batch|trq)|"
        r"Pbs Server is currently too busy|Server shutting down|"
        r"Unable to contact slurm controller"
    )
    refusals = (
        # It prints its usage, too, which names accounts, queues and resources.
        (
            r"invalid option|option requires an argument|Unknown option|illegal -|^[Uu]sage:",
            "check --remote-launch-args",
        ),
        (
            r"Unknown queue|No default queue|[Ii]nvalid partition",
            "see the queues with qstat -q, check --queue",
        ),
        (r"[Qq]ueue is not enabled|not allow interactive", "choose another --queue"),
        (r"[Ii]nvalid [Aa]ccount|[Pp]roject", "check --account"),
        (
            r"Maximum number of jobs|per-(user|group|project) limit|Too many",
            "see your jobs with qstat -u $USER",
        ),
        (
            r"[Rr]esource|exceed|[Ii]llegal attribute|\"select\"|node configuration|"
            r"Memory specification",
            "see what the queue gives with qstat -Qf, check --cpus, --memory, --gpus and --time",
        ),
        (
            r"[Uu]nauthorized|[Aa]ccess|denied|No [Pp]ermission|Bad [UG]ID",
            "ask who may use the queue",
        ),
    )

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the qsub; see :meth:`Scheduler.job_command`.

        One -l with all resources is what OpenPBS, Torque and Slurm's qsub read alike.
        """
        time, kib = time_of(options), memory_of(options)
        resources = [
            *([f"ncpus={options.cpus}"] if options.cpus > 1 else []),
            *([f"mem={memory(kib).lower()}b"] if kib is not None else []),
            *([f"ngpus={options.gpus}"] if options.gpus else []),
            *([f"walltime={clock(time)}"] if time is not None else []),
        ]
        return [
            *cls.program(options),
            "-I",
            *(["-l", ",".join(resources)] if resources else []),
            *(["-q", options.queue] if options.queue is not None else []),
            *(["-A", options.account] if options.account is not None else []),
            *arguments(options),
            *("-N", name),
        ]

    @classmethod
    def typed(cls) -> str:
        """The line that is typed into the shell; see :meth:`Scheduler.typed`.

        Slurm's own qsub gives a shell on the login host, unless use_interactive_step is set; from
        there a step goes on to the node. When the terminal goes away the job is cancelled, and what
        runs in the step is told; an srun that notices itself would kill it.
        """
        hop = (
            "case $SLURM_JOB_ID-$SLURMD_NODENAME in [0-9]*-) exec env SLURM_OVERLAP=1 "
            'setsid -w srun --pty /bin/sh -c "$0" ;; esac; eval "$0"'
        )
        return f" unset HISTFILE; exec /bin/sh -c '{hop}' '{RECEIVER}'\n"

    @classmethod
    def left_behind(cls) -> tuple[str, ...]:
        """See :meth:`Scheduler.left_behind`."""
        return ("SLURM_OVERLAP",)

    @classmethod
    def look(cls, name: str) -> str:
        """What qstat says; see :meth:`Scheduler.look`."""
        return _for_each("qselect", name, 'qstat -f "$rk_id"', _SQUEUE.format(name=name))

    @classmethod
    def look_back(cls, name: str) -> str:
        """What qstat says of an ended job; see :meth:`Scheduler.look_back`.

        OpenPBS shows an ended job with -x, if it is told to keep it, and Torque as any other; to
        Torque's qstat -x is something else. A job that is just ending tells its status a bit later.
        """
        ended = _for_each("qselect -x", name, 'qstat -xf "$rk_id"', _SQUEUE.format(name=name))
        any_ = cls.look(name)
        return (
            f'rk_back() {{ if qselect -x -u "$(id -un)" -N {name} >/dev/null; '
            f"then {ended}; else {any_}; fi; }}; "
            "for rk_try in 1 2 3; do rk_seen=$(rk_back); case $rk_seen in "
            "*'job_state = '[ER]*) sleep 0.5 ;; *) break ;; esac; done; "
            "printf '%s\\n' \"$rk_seen\""
        )

    own_jobs = (
        'for rk_id in $(qselect -u "$(id -un)"); do '
        'case $rk_id in [0-9]*) qstat -f "$rk_id" ;; esac; done'
    )
    cancel_by_id = "qdel"

    @classmethod
    def read_own_jobs(cls, text: str) -> list[OwnJob]:
        """What qstat said of all jobs; see :meth:`Scheduler.read_own_jobs`."""
        found = []
        for part in re.split(r"^(?=Job Id: )", text, flags=re.MULTILINE):
            if (number := re.match(r"Job Id: (\S+)", part)) is None:
                continue
            told = _attributes(part.replace("\n", " "))
            limit = seconds_left(told.get("Resource_List.walltime", ""))
            used = seconds_left(told.get("resources_used.walltime", ""))
            left = max(0, limit - used) if limit is not None and used is not None else None
            state = told.get("job_state", "")
            # Hosts stand as "n1/0*2+n2/0".
            node = told.get("exec_host", "").partition("/")[0]
            found.append(OwnJob(number[1], told.get("Job_Name", ""), state, left, node))
        return found

    @classmethod
    def cancel(cls, name: str) -> str:
        """See :meth:`Scheduler.cancel`."""
        slurm = f'scancel -u "$(id -un)" -n {name}'
        return _for_each("qselect", name, 'qdel "$rk_id"', slurm)

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What qstat said; see :meth:`Scheduler.read_look`."""
        found = re.search(r"Job Id: (\S+)", text)
        if not found:
            return None
        told = _attributes(text)
        state, reason = told.get("job_state", ""), told.get("comment", "")
        start = told.get("estimated.start_time", "")
        if state not in ("Q", "H", "W"):
            return Job(found[1], state)
        return Job(
            found[1],
            state,
            reason if reason != "None" else "",
            start if start not in ("UNKNOWN", "N/A") else "",
            never=bool(_NEVER.match(reason)),
        )

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What qsub said; see :meth:`Scheduler.read_line`."""
        if found := re.search(r"qsub: waiting for job (\S+) to start", line):
            return Job(found[1], "Q")
        if found := re.search(r"qsub: job (\S+) ready", line):
            return Job(found[1], "R")
        if found := re.search(r"salloc: (?:Pending job allocation|job) (\d+)", line):
            return Job(found[1], "Q")
        if found := re.search(r"salloc: Granted job allocation (\d+)", line):
            return Job(found[1], "R")
        return None

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended; see :meth:`Scheduler.ending`."""
        for line in said:
            if found := _KILLED.search(line):
                for pattern, ended in _KILLED_FOR:
                    if re.match(pattern, found[1]):
                        return ended
                return f"was killed by PBS: {found[1]}"
        told = _attributes(look_back)
        for key, endings in _ENDINGS.items():
            if told.get(key) in endings:
                return endings[told[key]]
        if re.search(r" and terminated( by \S+)?$", told.get("comment", "")):
            return _CANCELLED
        for pattern, ended in _SAID_ENDINGS:
            if any(re.match(pattern, line) for line in said):
                return ended
        return None


def _attributes(text: str) -> dict[str, str]:
    """What qstat -f says, by the names that it has there."""
    _, *parts = _ATTRIBUTE.split(text.replace(_FOLD, ""))
    return {key: value.strip() for key, value in zip(parts[::2], parts[1::2], strict=True)}


def _for_each(select: str, name: str, command: str, otherwise: str) -> str:
    """The sh command that runs a command with each $rk_id of that name, or another if none is.

    Grid Engine has a qselect, too, which prints no numbers.
    """
    return (
        f'rk_none=:; for rk_id in $({select} -u "$(id -un)" -N {name}); do '
        f"case $rk_id in [0-9]*) rk_none=; {command} ;; esac; done; "
        f'[ -z "$rk_none" ] || {otherwise}'
    )
