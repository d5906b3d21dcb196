"""A real Grid Engine on the cluster: its master is on ``login``, ``n1`` and ``n2`` execute.

The cell is on the file server and known to login shells only, as on many clusters; Debian's own
cell stays as it was installed, without a master.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from bed import plan
from bed.client import Bed, Machine
from bed.scheduler import Job, Scheduler, end
from bed.waiting import wait_until

SLOTS = 5  # of each node, whatever the host has
NODES = plan.CLUSTER.others
INSTALLED = "/usr/lib/gridengine"
SHARE = "/usr/share/gridengine"
COMMANDS = f"{plan.SGE_ROOT}/bin/lx-amd64"
CELL = f"{plan.SGE_ROOT}/default/common"
SPOOL = "/var/spool/gridengine"

LINKS = {
    "bin/lx-amd64": INSTALLED,
    "utilbin/lx-amd64": INSTALLED,
    "lib/lx-amd64": INSTALLED,
    "util": f"{SHARE}/util",
}
CELL_FILES = {
    "act_qmaster": plan.CLUSTER.switch,
    "cluster_name": "bed",
    "bootstrap": f"""\
admin_user sgeadmin
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {CELL};{SPOOL}/qmaster
binary_path {plan.SGE_ROOT}/bin
qmaster_spool_dir {SPOOL}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1""",
}
# What is different from Debian's configuration and from Grid Engine's templates: no mail, and
# nothing that a test has to wait for. A job starts some 0.2 s after its submission.
CONFIGURATION = {
    "execd_spool_dir": f"{SPOOL}/execd",
    "mailer": "/bin/true",
    "administrator_mail": "none",
    "load_report_time": "00:00:01",
    "max_unheard": "00:01:00",
}
SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "schedd_job_info": "true",  # qstat -j says why a job waits
}
QUEUE = {
    "qname": "all.q",
    "hostlist": " ".join(NODES),
    "slots": str(SLOTS),
    "load_thresholds": "NONE",  # the tests themselves are a load
    "shell": "/bin/bash",
    "shell_start_mode": "unix_behavior",
    # as after a login: an ipykernel that crashes at its end leaves no file
    "s_core": "0",
    "h_core": "0",
}
AS_SGEADMIN = ("setpriv", "--reuid=sgeadmin", "--regid=sgeadmin", "--init-groups")
SPOOLING = (
    ("spoolinit", "classic", "libspoolc", f"{CELL};{SPOOL}/qmaster", "init"),
    ("spooldefaults.bin", "configuration", f"{SPOOL}/configuration"),
    ("spooldefaults.bin", "complexes", f"{SHARE}/util/resources/centry"),
    ("spooldefaults.bin", "usersets", f"{SHARE}/util/resources/usersets"),
    ("spooldefaults.bin", "pes", f"{SHARE}/util/resources/pe"),  # smp among them
    ("spooldefaults.bin", "managers", "root", "sgeadmin"),
)


class GridEngine(Scheduler):
    """The Grid Engine of a bed."""

    label = "Grid Engine"

    def __init__(self, bed: Bed) -> None:
        """Start nothing yet."""
        super().__init__(bed)
        self._nodes = (bed.n1, bed.n2)

    # -- what there is

    def jobs(self, user: str | None = None) -> list[Job]:
        """The jobs that have not ended, of everybody or of one user."""
        rows = ElementTree.fromstring(self._ask("qstat", "-xml", "-u", user or "*"))
        return [job(row) for row in rows.iter("job_list")]

    def idle_slots(self) -> dict[str, int]:
        """How many slots of each node are free; a node that takes no jobs is left out."""
        queues = ElementTree.fromstring(self._ask("qstat", "-f", "-xml", "-u", "*"))
        found = {}
        for queue in queues.iter("Queue-List"):
            name, total, used = (
                queue.findtext(tag, "") for tag in ("name", "slots_total", "slots_used")
            )
            if queue.find("load_avg") is not None and not queue.findtext("state"):
                found[name.partition("@")[2]] = int(total) - int(used)
        return found

    def wait_idle(self) -> None:
        """Wait until both nodes are free."""
        free = dict.fromkeys(NODES, SLOTS)
        wait_until(lambda: self.idle_slots() == free, 30, "idle nodes")

    # -- what tests change

    @contextlib.contextmanager
    def full(self, user: str = "ada") -> Iterator[None]:
        """Let jobs of a user take every slot that is free."""
        self._wait_up()
        with contextlib.ExitStack() as taken:
            for node, slots in self.idle_slots().items():
                if slots:
                    taken.callback(self._cancel, self._take(node, slots, user))
            wait_until(lambda: not any(self.idle_slots().values()), 10, "taken slots")
            yield

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Let nobody answer for a while; running jobs stay."""
        self._bed.schedulers.remove(self)
        for node in self._nodes:  # or they would try again only after more than 30 s
            node.run(["pkill", "-STOP", "-x", "sge_execd"])
        end(self._login, "sge_qmaster", signal="KILL")
        try:
            yield
        finally:
            self._start_master()
            for node in self._nodes:
                node.run(["pkill", "-CONT", "-x", "sge_execd"])
            self._wait_up()
            self._bed.schedulers.append(self)

    # -- how

    def _ask(self, command: str, *words: str, user: str = "root") -> str:
        return self._login.run(
            [f"{COMMANDS}/{command}", *words], user=user, env=plan.SGE_ENVIRONMENT
        ).stdout

    def _take(self, node: str, slots: int, user: str) -> str:
        request = ("-N", "full", "-q", f"all.q@{node}", "-pe", "smp", str(slots))
        output = ("-j", "y", "-o", "/dev/null")
        return self._ask(
            *("qsub", "-terse", *request, *output, "-b", "y", "sleep", "3600"), user=user
        ).strip()

    def _cancel(self, *numbers: str) -> None:
        self._login.run([f"{COMMANDS}/qdel", *numbers], env=plan.SGE_ENVIRONMENT, check=False)

    def _start(self) -> None:
        self._make_cell()
        self._start_master()
        self._change("-ssconf", "-Msconf", SCHEDULER)
        self._ask("qconf", "-ah", ",".join(NODES))
        self._ask("qconf", "-as", ",".join(plan.CLUSTER.members))
        for node in self._nodes:
            own_spool(node)
            start_execd(node)
        self._change("-sq", "-Aq", QUEUE)
        self.wait_idle()

    def _stop(self) -> None:
        for machine in self._bed.cluster:
            end(machine, "sge_qmaster", "sge_execd", "sge_shepherd", signal="KILL")

    def _make_cell(self) -> None:
        run = self._login.run
        run(["find", plan.SGE_ROOT, "-mindepth", "1", "-delete"])
        own_spool(self._login)
        for link, target in LINKS.items():
            run(["install", "-d", f"{plan.SGE_ROOT}/{link.rpartition('/')[0]}"])
            run(["ln", "-s", target, f"{plan.SGE_ROOT}/{link}"])
        run(["install", "-d", CELL])
        for name, text in CELL_FILES.items():
            run(["tee", f"{CELL}/{name}"], input=f"{text}\n")
        configuration = self._login.read(f"{SHARE}/default-configuration")
        run(["tee", f"{SPOOL}/configuration"], input=changed(configuration, CONFIGURATION))
        run(["chown", "--recursive", "sgeadmin", plan.SGE_ROOT])
        environ = {**plan.SGE_ENVIRONMENT, "LD_LIBRARY_PATH": INSTALLED}
        for command, *words in SPOOLING:
            run([*AS_SGEADMIN, f"{INSTALLED}/{command}", *words], env=environ)

    def _start_master(self) -> None:
        self._ask("sge_qmaster")
        answers = [f"{COMMANDS}/qconf", "-sh"]
        wait_until(
            lambda: not self._login.run(answers, env=plan.SGE_ENVIRONMENT, check=False).status,
            30,
            "Grid Engine's master",
        )

    def _wait_up(self) -> None:
        wait_until(lambda: set(self.idle_slots()) == set(NODES), 30, "nodes that answer")

    def _change(self, show: str, take: str, values: dict[str, str]) -> None:
        file = f"{SPOOL}/change"
        self._login.run(["tee", file], input=changed(self._ask("qconf", show), values))
        self._ask("qconf", take, file)


def job(row: ElementTree.Element) -> Job:
    """A job as ``qstat -xml`` describes it."""
    number, name, user, state, queue = (
        row.findtext(tag, "")
        for tag in ("JB_job_number", "JB_name", "JB_owner", "state", "queue_name")
    )
    return Job(int(number), name, user, state, nodes=queue.partition("@")[2])


def changed(text: str, values: dict[str, str]) -> str:
    """A configuration with other values."""
    for name, value in values.items():
        text, count = re.subn(rf"^{name}\s.*$", f"{name} {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    return text


def own_spool(machine: Machine) -> None:
    """Make empty places in which the daemons write as sgeadmin."""
    machine.run(["rm", "-rf", SPOOL])
    places = (SPOOL, f"{SPOOL}/qmaster", f"{SPOOL}/execd")
    machine.run(["install", "-d", "--owner=sgeadmin", *places])


def start_execd(machine: Machine) -> None:
    """Start what runs jobs on a node, and do not wait the 2 s that it takes for its start."""
    start = ("start-stop-daemon", "--start", "--background", "--exec")
    machine.run([*start, f"{COMMANDS}/sge_execd"], env=plan.SGE_ENVIRONMENT)
