"""The schedulers' interfaces, as the tests that hold for all of them see them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from bed import Bed, Job, Scheduler, wait_until
from frontend import Kernel, Site, add_kernel, log_text, ran


@dataclass(frozen=True)
class Kind:
    """What is an interface's own.

    Attributes:
        scheduler: the fixture of the scheduler that has the jobs.
        user: who starts kernels.
        waits: the state of a job that waits, in the scheduler's words.
        told: what the log says of it, with the reason.
        clients: pattern of the names of the command that asks for a job.
        cancel: the command that cancels a job.
        on_node: the option that asks for a node.
        job_id: the scheduler's name of a job.
        asks: how the command that asks for a job begins, as it is shown.
        cancelled, time_is_up: what we say of a job that ended so.
        withdrawn_words, cancelled_words, time_is_up_words: what the scheduler itself says of a
            job that was cancelled while it waited or ran, or whose time was up; empty for nothing.
        limit: the options with which the time of a job will be up soon; without any the job's
            owner shortens it.
        needs: what must be installed beside the scheduler.
        kills_all: a job that is cancelled is killed as a whole, keeper and guard included.
    """

    interface: str
    scheduler: str
    user: str
    waits: str
    told: str
    clients: str
    cancel: str
    on_node: str
    asks: str
    job_id: str = "{}"
    cancelled: str = "was cancelled"
    time_is_up: str = "reached its time limit"
    withdrawn_words: str = ""
    cancelled_words: str = ""
    time_is_up_words: str = ""
    limit: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    kills_all: bool = False


SGE = Kind(
    "sge",
    scheduler="gridengine",
    user="ada",
    waits="qw",
    told="qw (queue instance",
    clients="qlogin|qrsh",
    cancel="qdel",
    on_node="--queue=all.q@{}",
    asks="qlogin ",
    cancelled="was cancelled or killed",
    time_is_up="reached a hard limit (h_rt, h_cpu or h_vmem)",
    limit=("--time=8s",),
    kills_all=True,
)
KINDS: Mapping[str, Kind] = {
    "slurm": Kind(
        *("slurm", "slurm", "ada", "PENDING", "PENDING (Resources), expected to start 20"),
        *("srun", "scancel", "--remote-launch-args=-w {}", "SLURM_OVERLAP=1 srun "),
        withdrawn_words="cancelled",
        cancelled_words="CANCELLED",
    ),
    "sge": SGE,
    "sge_qrsh": replace(SGE, interface="sge_qrsh", asks="qrsh ", kills_all=False),
    "pbs": Kind(
        *("pbs", "slurm", "pia", "Q"),
        "Q (Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 10)), expected to "
        "start ",
        *("qsub", "qdel", "--remote-launch-args=-l host={}", "qsub -I "),
        job_id="{}.login",
        time_is_up_words="=>> PBS: job killed: walltime",
    ),
    # Slurm's own qsub.
    "pbs-torque": Kind(
        *("pbs", "slurm", "tora", "Q", "Q (Resources), expected to start 20"),
        *("qsub", "qdel", "--remote-launch-args=-l nodes={}", "qsub -I "),
        time_is_up_words="DUE TO TIME LIMIT",
        needs=("torque",),
    ),
    "lsf": Kind(
        *("lsf", "slurm", "lars", "PEND"),
        "PEND (Job slot limit reached: 2 hosts;), expected to start ",
        *("bsub", "bkill", "--remote-launch-args=-m {}", "bsub "),
        withdrawn_words="<<Terminated while pending>>",
    ),
}


def param(name: str, *more: object) -> ParameterSet:
    """The parameters of a test: a kind's name, and what else there is."""
    return pytest.param(name, *more, marks=pytest.mark.needs(*KINDS[name].needs))


def queue_of(name: str, bed: Bed, request: pytest.FixtureRequest) -> Queue:
    """The queue of a kind, with its scheduler started."""
    kind = KINDS[name]
    return Queue(bed, request.getfixturevalue(kind.scheduler), kind)


@dataclass(frozen=True)
class Queue:
    """An interface with its scheduler."""

    bed: Bed
    scheduler: Scheduler
    kind: Kind

    @property
    def place(self) -> str:
        """The login host, as messages name it."""
        return f"{self.kind.user}@login (via gina@gw1)"

    def site(self, *options: str, node: str = "") -> Site:
        """Kernels through the gateway, in jobs, on a certain node if the test has to know it."""
        way = ["--tunnel-hosts", "gina@gw1", f"{self.kind.user}@login"]
        on_node = [self.kind.on_node.format(node)] if node else []
        start = [f"--interface={self.kind.interface}", *way, *on_node, *options]
        machine = getattr(self.bed, node or "n1")
        return Site(machine, self.kind.user, self.bed.far_python, start)

    def jobs(self) -> list[Job]:
        """The user's jobs that have not ended."""
        return self.scheduler.jobs(self.kind.user)

    def id_of(self, job: Job) -> str:
        """The scheduler's name of it."""
        return self.kind.job_id.format(job.id)

    def cancel(self, job: Job) -> None:
        """Cancel a job, as the user would."""
        self.in_login_shell(f"{self.kind.cancel} {self.id_of(job)}")

    def let_time_run_out(self, job: Job) -> None:
        """Let the job's time be up soon; Slurm looks at limits every 30 s."""
        if not self.kind.limit:
            # The one change that a person may make.
            change = ["scontrol", "update", f"jobid={job.id}", "endtime=now+1"]
            self.bed.login.run(change, user=self.kind.user)

    def in_login_shell(self, text: str) -> str:
        """Run a command as the user would; its standard output."""
        return self.bed.login.run(["bash", "-lc", text], user=self.kind.user).stdout

    def wait_empty(self) -> None:
        """Wait until the user has no job."""
        wait_until(lambda: not self.jobs(), 15, "the job's end")

    def processes(self) -> list[str]:
        """The command lines of what the user runs on the nodes."""
        nodes = (self.bed.n1, self.bed.n2)
        return [process.args for node in nodes for process in node.processes(self.kind.user)]

    def lose_session(self) -> None:
        """End the user's sessions on the login host, where there are any."""
        self.bed.login.run(["pkill", "-KILL", "-f", f"sshd: {self.kind.user}"], check=False)

    def start_another(self, directory: Path) -> None:
        """Let a kernel on n1 remove what a keeper that was killed has left there."""
        if self.kind.kills_all:
            with Kernel(add_kernel(self.site(node="n1")), directory):
                pass

    @contextlib.contextmanager
    def waiting(self, directory: Path, *options: str) -> Iterator[Kernel]:
        """A kernel whose job waits, since others have all that there is."""
        with self.scheduler.full("bela"):
            kernel = Kernel(add_kernel(self.site(*options)), directory)
            kernel.start()
            try:
                (job,) = wait_until(self.jobs, 20, "the job")
                told = f"job {self.id_of(job)} {self.kind.waits}"
                wait_until(lambda: told in log_text(), 20, "the log to tell of it")
                yield kernel
            finally:
                kernel.__exit__(None, None, None)


def ps(*words: str) -> list[dict[str, Any]]:
    """What ``ps`` tells programs of our kernels, wherever they may run."""
    done = ran("ps", "--json", "--all", *words)
    assert done.returncode == 0, done.stderr
    return [kernel for host in json.loads(done.stdout) for kernel in host["kernels"]]


def only() -> dict[str, Any]:
    """The one kernel that there is."""
    (found,) = ps()
    return found
