"""A real Slurm on the cluster: its controller is on ``login``, ``n1`` and ``n2`` compute.

Each machine has Slurm's and munge's daemons and ``/etc/slurm`` for itself. On ``n2``, where
Linux allows it, Slurm knows a job's processes by their cgroup and leaves none behind; on ``n1``
a process that has daemonised itself survives its job.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator

from bed import plan
from bed.client import Bed, Machine
from bed.scheduler import Job, Scheduler, end
from bed.waiting import wait_until

CPUS = 5  # of each node, whatever the host has
CONTROLLER = plan.CLUSTER.switch
NODES = plan.CLUSTER.others

# Partition ``short`` and ``KillWait``: limits that tests can wait for. A job's end is told by
# srun's status only with 5 s or more (with 2 srun gives up first and says 0). ``SlurmdTimeout``: a
# node that was silent when it was asked, every 100 s otherwise, would be given no job for as long.
# ``UnkillableStepTimeout``: nor if it was taken away with a job on it, which is drained after 60 s.
CONFIGURATION = f"""\
ClusterName=bed
SlurmctldHost={CONTROLLER}({plan.CLUSTER.address(CONTROLLER)})
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
ReturnToService=2
KillWait=5
UnkillableStepTimeout=300
SlurmdTimeout=0
MinJobAge=300
InactiveLimit=0
DebugFlags=NO_CONF_HASH
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmctldDebug=verbose
StateSaveLocation=/var/spool/slurmctld
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmdDebug=verbose
SlurmdSpoolDir=/var/spool/slurmd
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs={CPUS} RealMemory=2000 State=UNKNOWN
NodeName=n1 NodeAddr={plan.CLUSTER.address("n1")}
NodeName=n2 NodeAddr={plan.CLUSTER.address("n2")} Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=short Nodes=n1 MaxTime=1 State=UP
"""
GRES = "NodeName=n2 Name=gpu File=/dev/zero\n"  # any device will do
# Memory is kept within limits only where a test lets task/cgroup in.
CGROUP = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"
MUNGED = (
    *("setpriv", "--reuid=munge", "--regid=munge", "--init-groups", "munged"),
    *(f"--{name}-file=/run/munge/{name}" for name in ("key", "seed", "pid", "log")),
)


class Slurm(Scheduler):
    """The Slurm of a bed."""

    label = "Slurm"

    def __init__(self, bed: Bed) -> None:
        """Start nothing yet."""
        super().__init__(bed)
        self._nodes = (bed.n1, bed.n2)
        self._has_cgroup = False
        self._settings: tuple[str, ...] = ()

    # -- what there is

    def jobs(self, user: str | None = None) -> list[Job]:
        """The jobs that have not ended, of everybody or of one user."""
        form = "%A|%u|%T|%r|%N|%j"  # the name last: it may contain anything
        rows = self._ask("squeue", "--noheader", "--all", f"--format={form}").splitlines()
        jobs = []
        for row in rows:
            number, owner, state, reason, nodes, name = row.split("|", 5)
            jobs.append(Job(int(number), name, owner, state, reason, nodes))
        return [job for job in jobs if user in (None, job.user)]

    def idle_cpus(self) -> dict[str, int]:
        """How many CPUs of each node are free; a node that takes no jobs is left out."""
        usable = ("idle", "mix", "alloc")
        words = ("--noheader", "--Node", "--partition=main", "--format=%N %t %C")
        rows = [line.split() for line in self._ask("sinfo", *words).splitlines()]
        return {node: int(cpus.split("/")[1]) for node, state, cpus in rows if state in usable}

    def wait_idle(self) -> None:
        """Wait until both nodes are free."""
        free = dict.fromkeys(NODES, CPUS)
        wait_until(lambda: self.idle_cpus() == free, 30, "idle nodes")

    # -- what tests change

    @contextlib.contextmanager
    def full(self, user: str = "ada") -> Iterator[None]:
        """Let jobs of a user take every CPU that is free."""
        self._wait_up()  # a job that is just ending still has its CPUs
        with contextlib.ExitStack() as taken:
            for node, cpus in self.idle_cpus().items():
                if cpus:
                    taken.callback(self._cancel, self._take(node, cpus, user))
            yield

    @contextlib.contextmanager
    def settings(self, *lines: str) -> Iterator[None]:
        """Add lines to slurm.conf on all machines; running jobs stay."""
        before = self._settings
        self._settings = (*before, *lines)
        try:
            self._restart()
            yield
        finally:
            self._settings = before
            self._restart()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Let nobody answer for a while; running jobs stay."""
        self._bed.schedulers.remove(self)
        end(self._login, "slurmctld")
        try:
            yield
        finally:
            self._restart()
            self._bed.schedulers.append(self)

    # -- how

    def _ask(self, *argv: str, user: str = "root") -> str:
        return self._login.run(argv, user=user).stdout

    def _take(self, node: str, cpus: int, user: str) -> str:
        request = ("--job-name=full", f"--nodelist={node}", f"--cpus-per-task={cpus}")
        told = self._login.run(["salloc", "--no-shell", *request], user=user).stderr
        granted = re.search(r"Granted job allocation (\d+)", told)
        assert granted, told
        return granted[1]

    def _cancel(self, *numbers: str) -> None:
        self._login.run(["scancel", *numbers], check=False)

    def _start(self) -> None:
        key = secrets.token_hex(64)
        for machine in self._bed.cluster:
            lay_out(machine)
            start_munged(machine, key)
        if not self._has_cgroup:
            self._has_cgroup = self._own_cgroups(plan.FREEZER)
            self._own_cgroups(plan.MEMORY)
        self._configure()
        self._login.run(["slurmctld", "-c"])
        for node in self._nodes:
            node.run(["slurmd"])
        self.wait_idle()

    def _own_cgroups(self, hierarchy: str) -> bool:
        return all(own_cgroup(node, hierarchy, self._bed.cgroup) for node in self._nodes)

    def _stop(self) -> None:
        for machine in self._bed.cluster:
            end(machine, "slurmctld", "slurmd", "slurmstepd", "munged")

    def _restart(self) -> None:
        # a controller that comes back finds nodes at once only if they report to it
        end(self._login, "slurmctld")
        for node in self._nodes:
            # Asked to end, it would go on telling the controller of a job that has just ended.
            end(node, "slurmd", signal="KILL")
        self._configure()
        self._login.run(["slurmctld"])
        for node in self._nodes:
            node.run(["slurmd"])
        self._wait_up()

    def _wait_up(self) -> None:
        wait_until(lambda: set(self.idle_cpus()) == set(NODES), 30, "nodes that answer")

    def _configure(self) -> None:
        for machine in self._bed.cluster:
            lines = [CONFIGURATION]
            if machine is self._bed.n2 and self._has_cgroup:
                lines.append("ProctrackType=proctrack/cgroup\n")
            lines += [f"{line}\n" for line in self._settings]
            for name, text in (("slurm", "".join(lines)), ("gres", GRES), ("cgroup", CGROUP)):
                machine.run(["tee", f"/etc/slurm/{name}.conf"], input=text)


def lay_out(machine: Machine) -> None:
    """Make the directories in which daemons write as users of their own."""
    for user, where in (
        ("munge", "/run/munge"),
        ("slurm", "/run/slurm"),
        ("slurm", "/var/log/slurm"),
        ("slurm", "/var/spool/slurmctld"),
    ):
        machine.run(["install", "-d", f"--owner={user}", where])


def start_munged(machine: Machine, key: str) -> None:
    """Start what tells Slurm's daemons who asks; all machines must have the same key."""
    file = "/run/munge/key"
    machine.run(["install", "--owner=munge", "--mode=600", "/dev/null", file])
    machine.run(["tee", file], input=key)
    machine.run(MUNGED)


def own_cgroup(machine: Machine, hierarchy: str, name: str) -> bool:
    """Let a machine see a branch of a hierarchy of cgroups as the whole; false: there is none.

    The cgroups of all beds of a host are in one place, and Slurm's names in it would be the same.
    """
    branch = f"{hierarchy}/{name}/{machine.name}"
    steps = (["mountpoint", hierarchy], ["mkdir", "-p", branch])
    if any(machine.run(step, check=False).status for step in steps):
        return False
    machine.run(["mount", "--bind", branch, hierarchy])
    return True
