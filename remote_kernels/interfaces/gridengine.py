"""Grid Engine: an interactive job through ``qlogin`` or ``qrsh`` (submit(1), qstat(1))."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from remote_kernels.interfaces.base import arguments
from remote_kernels.interfaces.scheduler import (
    SCHEDULER_USES,
    Job,
    OwnJob,
    Scheduler,
    memory_of,
    time_of,
)
from remote_kernels.options import KernelOptions
from remote_kernels.resources import clock, memory
from remote_kernels.shell_text import receiver_command

# A line of "qstat -r": number, priority, a cut name, user, state, and when that began.
_JOB_ROW = re.compile(
    r"^ *(?P<id>\d+) +[\d.]+ +\S+ +\S+ +(?P<state>[A-Za-z]+) +"
    r"(?P<began>\d\d/\d\d/\d{4} [\d:]{8}).*$",
    re.MULTILINE,
)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%m/%d/%Y %H:%M:%S")
    except ValueError:
        return None


class GridEngine(Scheduler):
    """The interface ``sge``: qlogin, which takes no program and gives a login shell."""

    name = "sge"
    label = "GridEngine"
    name_part = "sge"
    # No --gpus: Grid Engine has no resource of its own for these, and each site's has another name.
    uses = (SCHEDULER_USES | {"pe"}) - {"gpus"}
    starts_with = Scheduler.starts_with | {"pe"}
    command = "qlogin"
    knows_queue = "qconf -sq QUEUE"
    # The method may hold blanks ("Establishing /usr/bin/ssh -t session to host n1 ...").
    typed_after: ClassVar[re.Pattern[str] | None] = re.compile(
        r"Establishing (.+?) session to host (\S+) \.\.\."
    )
    job_variables = ("JOB_ID", "JOB_NAME", "QUEUE", "PE", "PE_HOSTFILE", "NSLOTS", "SGE_TASK_*")
    job_variable = "JOB_ID"
    # A client that waits takes no notice of SIGHUP and SIGTERM, nor for a minute of qdel; and what
    # runs in a job is killed by qdel without a moment to clean up.
    end_signal = "INT"
    settled = "*'usage '*"
    gone = r"jobs do not exist"
    down = r"unable to (send message to|contact) qmaster|commlib error|unable to read qmaster"
    refusals = (
        (r"parallel environment", "see the parallel environments with qconf -spl, check --pe"),
        (r"unknown queue", "see the queues with qstat -g c, check --queue"),
        (r"project", "see the projects with qconf -sprjl, check --account"),
        (
            r"unknown resource|is not a memory value|attribute|resolve hostname",
            "see the resources with qconf -sc, check --remote-launch-args",
        ),
        (
            r"no suitable queues|could not be scheduled",
            "no queue can take the job now: see qstat -g c and qhost",
        ),
        (r"invalid option|Unknown option|must have argument", "check --remote-launch-args"),
    )

    @classmethod
    def asked(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the command but for the program that it is to run.

        Args:
            options: of the kernel.
            name: of the job.
        """
        time, kib = time_of(options), memory_of(options)
        return [
            *cls.program(options),
            *("-verbose", "-now", "n"),
            *(["-pe", options.pe or "smp", str(options.cpus)] if options.cpus > 1 else []),
            *(["-l", f"h_rt={clock(time)}"] if time is not None else []),
            *(["-l", f"mem_free={memory(kib)}"] if kib is not None else []),
            *(["-q", options.queue] if options.queue is not None else []),
            *(["-P", options.account] if options.account is not None else []),
            *arguments(options),
            *("-N", name),
        ]

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the qlogin; see :meth:`Scheduler.job_command`."""
        return cls.asked(options, name)

    @classmethod
    def look(cls, name: str) -> str:
        """What qstat says of the job and of what keeps it; see :meth:`Scheduler.look`.

        qalter's ``-w v`` asks whether an empty cluster could run it.
        """
        return f"{{ qstat -j {name}; qalter -w v {name}; }} 2>&1"

    # The accounting is written every 15 s, unless a site has set another flush_time.
    reason_patience = 17.0

    @classmethod
    def look_back(cls, name: str) -> str:
        """What the accounting says of a job that was killed; see :meth:`Scheduler.look_back`."""
        tries = " ".join(map(str, range(int(cls.reason_patience))))
        return (
            f'[ "$rk_status" -le 128 ] || '
            f"for rk_try in {tries}; do qacct -j {name} && break; sleep 1; done"
        )

    # The clock that its times are told by is that of the machine over there.
    own_jobs = "date '+%m/%d/%Y %H:%M:%S'; qstat -r -u \"$(id -un)\""
    cancel_by_id = "qdel"

    @classmethod
    def read_own_jobs(cls, text: str) -> list[OwnJob]:
        """What qstat said of all jobs; see :meth:`Scheduler.read_own_jobs`."""
        told_at = _moment(text[:19])
        jobs = list(_JOB_ROW.finditer(text))
        found = []
        for number, row in enumerate(jobs):
            end = jobs[number + 1].start() if number + 1 < len(jobs) else len(text)
            more = text[row.end() : end]
            name = re.search(r"Full jobname: +(\S+)", more)
            limit = re.search(r"\bh_rt=(\d+)", more)
            left = None
            if limit and told_at is not None and (began := _moment(row["began"])) is not None:
                left = max(0, int(limit[1]) - int((told_at - began).total_seconds()))
            queue = re.search(r"Master Queue: +[^\s@]+@(\S+)", more)
            if name:
                runs = row["state"] == "r"
                node = queue[1] if queue else ""
                found.append(OwnJob(row["id"], name[1], row["state"], left if runs else None, node))
        return found

    @classmethod
    def cancel(cls, name: str) -> str:
        """See :meth:`Scheduler.cancel`."""
        return f"qdel {name}"

    @classmethod
    def read_look(cls, text: str) -> Job | None:
        """What qstat and qalter said; see :meth:`Scheduler.read_look`."""
        found = re.search(r"job_number: +(\d+)", text)
        if not found:
            return None
        if "usage " in text:
            return Job(found[1], "r")
        # An empty cluster has no load, and so would not run what asks for mem_free either.
        never = "no suitable queues" in text and "unknown resource" not in text
        why = re.search(r"scheduling info: +(.*?)(?= {8,}| Job \d+ | verification:|$)", text)
        reason = why[1].strip() if why else ""
        return Job(found[1], "qw", reason, never=never)

    @classmethod
    def read_line(cls, line: str) -> Job | None:
        """What the command said; see :meth:`Scheduler.read_line`."""
        if found := re.search(r'Your job (\d+) \("', line):
            return Job(found[1], "qw")
        if found := re.search(r"interactive job (\d+) has been successfully scheduled", line):
            return Job(found[1], "r")
        return None

    @classmethod
    def ending(cls, look_back: str, said: Sequence[str], status: int | None) -> str | None:
        """Why the job ended; see :meth:`Scheduler.ending`. The session itself never tells."""
        failed = re.search(r"\bfailed +(\d+)", look_back)
        if failed and failed[1] == "37":
            return "reached a hard limit (h_rt, h_cpu or h_vmem)"
        if (failed and failed[1] == "100") or status == 137:
            return "was cancelled or killed"
        return None


class GridEngineQrsh(GridEngine):
    """The interface ``sge_qrsh``: qrsh, which takes a program."""

    name = "sge_qrsh"
    label = "GridEngine (qrsh)"
    name_part = "sge_qrsh"
    command = "qrsh"
    typed_after = None

    @classmethod
    def job_command(cls, options: KernelOptions, name: str) -> list[str]:
        """Argv of the qrsh; see :meth:`Scheduler.job_command`.

        It joins what it is to run by blanks and gives that to a shell, so it gets one word; and
        without -pty a program has no terminal, and an interrupt ends the client.
        """
        return [*cls.asked(options, name), "-pty", "y", receiver_command()]
