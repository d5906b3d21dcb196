"""Slurm: an interactive job through ``srun --pty`` (srun(1), squeue(1), scancel(1))."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from remote_kernels.interfaces.base import arguments
from remote_kernels.interfaces.scheduler import Job, Scheduler, memory_of, time_of
from remote_kernels.options import KernelOptions
from remote_kernels.resources import clock, memory
from remote_kernels.shell_text import RECEIVER, WAITS

# Reasons of squeue(1) that no waiting takes away; the "Requested partition configuration not
# available now" of srun is the first of them.
_NEVER = re.compile(
    r"Partition(Config|TimeLimit|NodeLimit)|BadConstraints|Invalid\w+|\w+NotAllowed|"
    r"(Assoc|QOS)Max\w*Per(Job|Node)(Limit)?|QOSMin\w+"
)
_FIELDS = re.compile(r"(?<!\d)(\d+)\|([A-Z_]+)\|([^|]*)\|([^|]*)\|(\S*)")

_ENDINGS = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "reached its time limit",
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "lost its node, which did not boot",
    "OUT_OF_MEMORY": "used more memory than it had been given",
    "PREEMPTED": "had to make way for another one",
    "DEADLINE": "reached its deadline",
}
# What a kernel prints is not what Slurm says.
_SAYS = re.compile(r"(srun|slurmstepd[^:]*): ")
# For a job that squeue has forgotten, or that the step's own end has outrun.
_SAID_ENDINGS = (
    # The last is said where Slurm itself looks at the memory of a job.
    (
        r"oom.kill|[Oo]ut [Oo]f [Mm]emory|[Ee]xceeded .*memory limit",
        "used more memory than it had been given",
    ),
    (r"DUE TO TIME LIMIT", "reached its time limit"),
    (r"DUE TO PREEMPTION", "had to make way for another one"),
    (r"DUE TO NODE FAILURE|error: Node failure on", "lost its node"),
    (r"CANCELLED AT|Job allocation \d+ has been revoked|Job has been cancelled", "was cancelled"),
)


class Slurm(Scheduler):
    """The interface ``slurm``."""

    name = "slurm"
    label = "SLURM"
    name_part = "slurm"
    command = "srun"
    knows_queue = "sinfo -h -p QUEUE -o %P | grep ."
    # Since Slurm 20.11 a step holds all that the job has, and an srun in the kernel would wait for
    # ever; a step that overlaps lets others in. The variable, unlike --overlap, is no error before.
    environment = {"SLURM_OVERLAP": "1"}  # noqa: RUF012 - a ClassVar of the base
    job_variables = ("SLURM_*", "SLURMD_*", "SRUN_*")
    kept_variables = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT")
    job_variable = "SLURM_JOB_ID"
    own_jobs = "squeue -h -u \"$(id -un)\" -o '%i|%j|%T||%L'"
    cancel_by_id = "scancel"
    settled = "*'|RUNNING|'*"
    down = (
        r"Unable to contact slurm controller|Could not establish a configuration source|"
        r"cannot stat file .*slurm\.conf|Zero Bytes were transmitted or received|"
        r"Socket timed out on send/recv operation"
    )
    refusals = (
        (r"invalid partition|Invalid partition", "see the partitions with sinfo, check --queue"),
        (
            r"Invalid account|account.*(invalid|not allowed)",
            "see your accounts with sacctmgr show associations user=$USER, check --account",
        ),
        (r"Invalid qos|QOS", "see what you may use with sacctmgr show associations user=$USER"),
        (
            r"generic resource|gres|Requested node configuration|Memory specification|"
            r"More processors requested|Invalid feature|Invalid node name",
            "no node has what was asked for: compare with sinfo -o '%P %c %m %G %f', "
            "check --cpus, --memory, --gpus and --remote-launch-args",
        ),
        (
            r"unrecognized option|invalid option|Invalid --|ambiguous",
            "check --remote-launch-args against man srun over there",
        ),
        (r"time limit|Time limit", "check --time against sinfo -o '%P %l'"),
        (r"Requested nodes are busy|Job submit limit|Limit|limit", "see your jobs with squeue"),
    )

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the srun; see :meth:`Scheduler.job_command`."""
        time, kib = time_of(options), memory_of(options)
        return [
            *cls.program(options),
            *([f"--cpus-per-task={options.cpus}"] if options.cpus > 1 else []),
            *([f"--time={clock(time)}"] if time is not None else []),
            *([f"--mem={memory(kib)}"] if kib is not None else []),
            # --gpus is younger than Slurm's other selection plugins; this all of them take.
            *([f"--gres=gpu:{options.gpus}"] if options.gpus else []),
            *([f"--partition={options.queue}"] if options.queue is not None else []),
            *([f"--account={options.account}"] if options.account is not None else []),
            *arguments(options),
            *(f"--job-name={name}", "--pty", "/bin/sh", "-c", RECEIVER),
        ]

    @classmethod
    def step_command(cls, job: str, node: str) -> list[str]:
        """Argv of an srun that joins the job; see :meth:`Scheduler.step_command`."""
        nodes = [f"--nodelist={node.partition('.')[0]}"] if node else []
        where = [f"--jobid={job}", *nodes, "-N1", "-n1"]
        return ["srun", "-u", *where, "/bin/sh", "-c", WAITS]

    @classmethod
    def look(cls, name: str) -> str:
        """What squeue says; see :meth:`Scheduler.look`."""
        form = shlex.quote("%i|%T|%r|%S|%N")
        return f'squeue -h -t all -u "$(id -un)" -n {name} -o {form}'

    @classmethod
    def cancel(cls, name: str) -> str:
        """See :meth:`Scheduler.cancel`; scancel is silent where there is no such job."""
        return f'scancel -u "$(id -un)" -n {name}'

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What squeue said; see :meth:`Scheduler.read_look`."""
        found = _FIELDS.search(text)
        if not found:
            return None
        job, state, reason, start, _ = found.groups()
        waits = state == "PENDING"
        return Job(
            job,
            state,
            reason if waits and reason != "None" else "",
            start if waits and start not in ("N/A", "") else "",
            never=waits and bool(_NEVER.fullmatch(reason)),
        )

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What srun said; see :meth:`Scheduler.read_line`."""
        if found := re.search(r"job (\d+) queued and waiting", line):
            return Job(found[1], "PENDING")
        if found := re.search(r"job (\d+) has been allocated resources", line):
            return Job(found[1], "RUNNING")
        return None

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended; see :meth:`Scheduler.ending`."""
        found = _FIELDS.search(look_back)
        if found and found[2] in _ENDINGS:
            return _ENDINGS[found[2]]
        for pattern, words_ in _SAID_ENDINGS:
            if any(re.search(pattern, line) for line in said if _SAYS.match(line)):
                return words_
        return None
