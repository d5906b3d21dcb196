"""OAR: an interactive job through ``oarsub -I`` (oarsub(1), oarstat(1), oardel(1)).

An interface that does not come with remote-kernels: copy it for a scheduler of your own. The entry
point in ``pyproject.toml`` makes it known; ``remote_kernels.interfaces.scheduler`` says what each
name means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from remote_kernels.interfaces.base import words
from remote_kernels.interfaces.scheduler import SCHEDULER_USES, Job, Scheduler, time_of
from remote_kernels.options import KernelOptions
from remote_kernels.resources import clock


class Oar(Scheduler):
    """The interface ``oar``."""

    name = "oar"
    label = "OAR"
    name_part = "oar"
    # What OAR cannot be asked for is refused when the kernel is added: memory and GPUs have another
    # name on each site, as in --remote-launch-args="-p gpu_count>0".
    uses = SCHEDULER_USES - {"memory", "gpus"}
    command = "oarsub"
    # It runs no program, but gives a login shell on the node; ours is typed in after this line.
    typed_after = re.compile(r"Connect to OAR job (\d+) via the node (\S+)")
    job_variables = ("OAR_*", "OARDO_*")
    job_variable = "OAR_JOB_ID"
    settled = "*'state = Running'*"
    down = r"Cannot connect to executor"
    refusals = (
        (r"The queue \S+ does not exist", "check --queue"),
        (r"not enough resources", "see what there is with oarnodes, check --cpus"),
        (
            r"Unknown option|Cannot recognize|Bad resource request|unknown job type",
            "check --remote-launch-args against man oarsub over there",
        ),
    )

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the oarsub; see :meth:`Scheduler.job_command`."""
        time = time_of(options)
        resources = [
            *([f"/nodes=1/core={options.cpus}"] if options.cpus > 1 else []),
            *([f"walltime={clock(time)}"] if time is not None else []),
        ]
        return [
            *cls.program(options),
            "-I",
            *(["-l", ",".join(resources)] if resources else []),
            *(["-q", options.queue] if options.queue is not None else []),
            *(["--project", options.account] if options.account is not None else []),
            *words(options.launch_args or "", "--remote-launch-args"),
            *("-n", name),
        ]

    @classmethod
    def look(cls, name: str) -> str:
        """What oarstat says, also of a job that has ended; see :meth:`Scheduler.look`."""
        return f"oarstat -f --sql \"job_name = '{name}'\""

    @classmethod
    def cancel(cls, name: str) -> str:
        """See :meth:`Scheduler.cancel`."""
        return f"oardel --sql \"job_name = '{name}'\""

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What oarstat said; see :meth:`Scheduler.read_look`."""
        found = re.search(r"Job_Id: (\d+) .* state = (\w+)", text)
        if not found:
            return None
        why = re.search(r" message = (.*?)  +scheduledStart = (\d\S+ \S+)?", text)
        if found[2] != "Waiting" or not why:
            return Job(found[1], found[2])
        return Job(found[1], found[2], why[1], why[2] or "")

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What oarsub said; see :meth:`Scheduler.read_line`."""
        if found := re.match(r"OAR_JOB_ID=(\d+)", line):
            return Job(found[1], "Waiting")
        if found := re.match(cls.typed_after, line):
            return Job(found[1], "Running")
        return None

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended; see :meth:`Scheduler.ending`."""
        if "> WALLTIME:" in look_back:
            return "reached its time limit"
        if any(re.match(r"JOB KILLED|\[ERROR\] Job was terminated", line) for line in said):
            return "was cancelled"
        return None
