"""A real OAR on a machine of its own, ``oar``: server, node, login host and database in one.

An interactive job is a login that OAR makes to the node through a second sshd, on port 6667.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bed.client import Bed
from bed.scheduler import Job, Scheduler, end
from bed.waiting import wait_until

CORES = 4  # of the node, whatever the host has

# What is different from Debian's configuration: no cgroups, and nothing that a test waits for.
UNWANTED = (
    "JOB_RESOURCE_MANAGER_FILE",
    "JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD",
    "PINGCHECKER_SENTINELLE_SCRIPT_COMMAND",
)
CONFIGURATION = {
    "DB_BASE_PASSWD": "any",
    "DB_BASE_PASSWD_RO": "any",
    "SERVER_HOSTNAME": "oar",
    "PINGCHECKER_GENERIC_COMMAND": "/bin/true",
    "SCHEDULER_MIN_TIME_BETWEEN_2_CALLS": "0",
}
SHARE = "/usr/share/oar"
HOME = "/var/lib/oar"
OWN_KEY = f"{HOME}/.ssh/id_ed25519"
HOST_KEY = "/etc/oar/host_key"
SSHD = ("/usr/sbin/sshd", "-f", "/etc/oar/sshd_config", "-E", "/var/log/oar-sshd.log")
FILES = {
    f"{HOME}/.bashrc": "PATH=/usr/lib/oar/oardodo:$PATH\n",
    f"{HOME}/.ssh/config": "StrictHostKeyChecking no\nAddressFamily inet\n",
    # What the package oar-node has; installed, it would start this sshd with the host.
    "/etc/oar/sshd_config": f"""\
Port 6667
HostKey {HOST_KEY}
PidFile /run/oar-sshd.pid
AllowUsers oar
PasswordAuthentication no
PermitUserEnvironment yes
AcceptEnv OAR_CPUSET OAR_USER_CPUSET OAR_USER_GPUDEVICE OAR_JOB_USER
""",
}
DATA = "/var/lib/postgresql/data"
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "env", "-C/")
PSQL = ("psql", "--host=127.0.0.1", "--username=oar", "--no-align", "--tuples-only")

JOBS = """
SELECT job_id, job_user, state, message, job_name FROM jobs
WHERE state NOT IN ('Terminated', 'Error') ORDER BY job_id
"""
IDLE = """
SELECT count(*) FROM resources WHERE state = 'Alive' AND resource_id NOT IN
(SELECT resource_id FROM assigned_resources WHERE assigned_resource_index = 'CURRENT')
"""


def postgresql() -> Path | None:
    """The directory of PostgreSQL's programs; None where there are none."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), default=None, key=lambda x: int(x.parent.name))


class Oar(Scheduler):
    """The OAR of a bed."""

    label = "OAR"

    def __init__(self, bed: Bed) -> None:
        """Start nothing yet."""
        super().__init__(bed)
        self._login = bed.oar

    # -- what there is

    def jobs(self, user: str | None = None) -> list[Job]:
        """The jobs that have not ended, of everybody or of one user."""
        jobs = []
        for row in self._ask(JOBS).splitlines():
            number, owner, state, message, name = row.split("|", 4)
            jobs.append(Job(int(number), name, owner, state, message))
        return [job for job in jobs if user in (None, job.user)]

    def idle_cores(self) -> int:
        """How many cores are free."""
        return int(self._ask(IDLE))

    def wait_idle(self) -> None:
        """Wait until the node is free."""
        wait_until(lambda: self.idle_cores() == CORES, 30, "an idle node")

    # -- what tests change

    @contextlib.contextmanager
    def full(self, user: str = "bela") -> Iterator[None]:
        """Let a job of a user take every core that is free."""
        request = ("-n", "full", "-l", f"/nodes=1/core={self.idle_cores()}", "sleep 3600")
        output = ("-O", "/dev/null", "-E", "/dev/null")
        # it heeds the variable, and does not look where it is
        told = self._login.run(["env", f"PWD=/home/{user}", "oarsub", *output, *request], user=user)
        number = told.stdout.rpartition("OAR_JOB_ID=")[2].strip()
        running = (int(number), "Running")
        try:
            wait_until(lambda: running in [(x.id, x.state) for x in self.jobs()], 30, "taken cores")
            yield
        finally:
            self._cancel(number)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Let nobody answer for a while; what has been asked for stays in the database."""
        end(self._login, "Almighty.*", signal="KILL")
        try:
            yield
        finally:
            self._start_server()
            # it would look for jobs that are to be ended only after 10 s
            self._login.run(["oarnotify", "Villains"])

    # -- how

    def _ask(self, query: str) -> str:
        return self._login.run([*PSQL, "oar", "--command", query]).stdout

    def _cancel(self, *numbers: str) -> None:
        self._login.run(["oardel", *numbers], check=False)

    def _start(self) -> None:
        self._start_database()
        self._lay_out()
        run = self._login.run
        run(["oar-database", "--create", "--db-admin-user=postgres", "--db-admin-pass="])
        run(SSHD)
        self._start_server()
        run(["oarproperty", "-a", "core"])
        for core in range(CORES):
            run(["oarnodesetting", "-a", "-h", "oar", "-p", f"core={core + 1}"])
        self.wait_idle()

    def _stop(self) -> None:
        end(self._login, "Almighty.*", signal="KILL")
        self._login.run(["pkill", "--pidfile", "/run/oar-sshd.pid"])
        at_once = ("stop", "--mode=immediate")
        self._login.run([*AS_POSTGRES, f"{postgresql()}/pg_ctl", "-D", DATA, *at_once])

    def _start_database(self) -> None:
        run = self._login.run
        for where in (str(Path(DATA).parent), "/run/postgresql"):
            run(["install", "-d", "--owner=postgres", where])
        ours = ("--no-sync", "--no-locale", "--auth=trust")
        run([*AS_POSTGRES, f"{postgresql()}/initdb", "-D", DATA, *ours])
        log = ("-l", "/var/lib/postgresql/log", "-o", "-c fsync=off")
        run([*AS_POSTGRES, f"{postgresql()}/pg_ctl", "-D", DATA, *log, "start"])

    def _lay_out(self) -> None:
        """What Debian's packages do when they are installed."""
        run = self._login.run
        run(["install", "-d", "--owner=oar", f"{HOME}/.ssh"])
        for name, text in FILES.items():
            run(["tee", name], input=text)
        for key in (OWN_KEY, HOST_KEY):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        public = self._login.read(f"{OWN_KEY}.pub")
        run(["tee", f"{HOME}/.ssh/authorized_keys"], input=f'environment="OAR_KEY=1" {public}')
        run(["chown", "-R", "oar:", HOME])
        configuration = changed(self._login.read(f"{SHARE}/oar-common/oar.conf"))
        run(["install", "--owner=oar", "--mode=600", "/dev/null", "/etc/oar/oar.conf"])
        run(["tee", "/etc/oar/oar.conf"], input=configuration)
        run(["cp", f"{SHARE}/oar-server/scheduler_quotas.conf", "/etc/oar"])
        run(["install", "--owner=oar", "/dev/null", "/var/log/oar.log"])

    def _start_server(self) -> None:
        run = self._login.run
        run(["start-stop-daemon", "--start", "--background", "--exec", "/usr/sbin/oar-server"])
        wait_until(lambda: 6666 in self._login.listening_ports(), 30, "OAR's server")


def changed(text: str) -> str:
    """Debian's oar.conf with our values."""
    ours = "".join(f'{name}="{value}"\n' for name, value in CONFIGURATION.items())
    lines = text.splitlines(keepends=True)
    dropped = (*UNWANTED, *CONFIGURATION)
    return "".join(line for line in lines if line.partition("=")[0] not in dropped) + ours
