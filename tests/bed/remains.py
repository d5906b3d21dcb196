"""What a test has left behind, on every machine: processes, listening ports, files, jobs."""

from __future__ import annotations

import fnmatch
import os

from bed.client import Bed, Machine
from bed.scheduler import Scheduler
from bed.waiting import wait_until

# Traces in homes over there of the programs that a kernel runs, not of ours.
OF_OTHERS = (
    "/home/*/.cache*",
    "/home/*/.config*",
    "/home/*/.ipython*",
    "/home/*/.jupyter",
    "/home/*/.jupyter/migrated",
    "/home/*/.local",
    "/home/*/.local/share",
    "/home/*/.local/share/fish*",
    "/home/*/.local/share/jupyter",
    "/home/*/.local/share/jupyter/n[bo]*",
    "/home/*/.local/share/jupyter/runtime",
    "/home/*/.local/share/jupyter/runtime/jupyter_cookie_secret",
    "/home/*/.npm*",
    "/home/*/.ssh/known_hosts*",
    "/home/*/.zcompdump*",
    "/tmp/.org.chromium.*",
    "/tmp/Rtmp*",
)
# On the laptop the tests themselves write; these are the names and places that are ours.
OURS_ON_LAPTOP = (
    "/run/user/*/*",
    "/home/*/.ssh/[!kc]*",  # known_hosts and config are ssh's and the test's own
    "/home/*/.ssh/cm*",
    "/home/*/.ssh/control*",
    "/tmp/rk[-_]*",
    "/tmp/rik[-_]*",
    "/tmp/remote-kernels*",
    "/tmp/remote_kernels*",
    "/tmp/ssh-*",
)


class SomethingRemainsError(AssertionError):
    """A test left something behind."""


class Watch:
    """Remembers what was there at the start and tells what is new."""

    def __init__(self, bed: Bed) -> None:
        """Look at all machines and schedulers now."""
        self._bed = bed
        self._before = self._look()

    def remains(self) -> list[str]:
        """What is there now and was not at the start, one line for each."""
        return sorted(self._look() - self._before)

    def assert_nothing_remains(self, timeout: float = 10) -> None:
        """Wait for what is still ending; what then remains is an error that lists it.

        A job whose client was killed may take some seconds.
        """
        try:
            wait_until(lambda: not self.remains(), timeout, "everything to be gone")
        except TimeoutError:
            lines = "\n  ".join(self.remains())
            raise SomethingRemainsError(f"the test left behind:\n  {lines}") from None

    def _look(self) -> set[str]:
        machines = (look_at(machine) for machine in self._bed.machines)
        return set().union(*machines, *map(jobs_of, self._bed.schedulers))


def look_at(machine: Machine) -> set[str]:
    """A line for every thing on a machine that a test could have left."""
    people = {who.name for who in machine.plan.people}
    seen = machine.look()
    lines = [f"listening port {port}" for port in seen.ports]
    lines += [f"file {path}" for path in seen.files if counts(machine, path)]
    lines += [
        f"process {process.pid} of {process.user} (started {process.started}): {process.args}"
        for process in seen.processes
        if process.user in people and not process.is_sshd and process.pid != os.getpid()
    ]
    return {f"{machine.name}: {line}" for line in lines}


def jobs_of(scheduler: Scheduler) -> set[str]:
    """A line for every job, wherever it runs."""
    return {f"{scheduler.label}: job {x.id} ({x.name}) of {x.user}" for x in scheduler.jobs()}


def counts(machine: Machine, path: str) -> bool:
    """Whether a file, if it is new, has been left by what the tests test."""
    if machine.name == "laptop":
        return any(fnmatch.fnmatch(path, pattern) for pattern in OURS_ON_LAPTOP)
    return not any(fnmatch.fnmatch(path, pattern) for pattern in OF_OTHERS)
