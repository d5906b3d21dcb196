"""What the schedulers of the cluster have in common: jobs that can be seen and cancelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bed.waiting import wait_until

if TYPE_CHECKING:
    from bed.client import Bed, Machine


@dataclass(frozen=True)
class Job:
    """A job that waits, runs or is ending; states and reasons in the scheduler's own words."""

    id: int
    name: str
    user: str
    state: str
    reason: str = ""
    nodes: str = ""


class Scheduler(ABC):
    """A scheduler of the cluster, which the bed knows from the moment it is started."""

    label: str

    def __init__(self, bed: Bed) -> None:
        """Start nothing yet."""
        self._bed = bed
        self._login = bed.login

    def start(self) -> None:
        """Start the daemons and wait until both nodes can take jobs."""
        self._start()
        self._bed.schedulers.append(self)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        self.cancel_all()
        self._bed.schedulers.remove(self)
        self._stop()

    @abstractmethod
    def jobs(self, user: str | None = None) -> list[Job]:
        """The jobs that have not ended, of everybody or of one user."""

    @abstractmethod
    def wait_idle(self) -> None:
        """Wait until the nodes are free."""

    @abstractmethod
    def full(self, user: str = "ada") -> AbstractContextManager[None]:
        """Let jobs of a user take every place that is free."""

    @abstractmethod
    def down(self) -> AbstractContextManager[None]:
        """Let nobody answer for a while; running jobs stay."""

    def cancel_all(self) -> None:
        """Cancel every job, and wait until the nodes are free of them."""
        if jobs := self.jobs():
            self._cancel(*(str(job.id) for job in jobs))
            wait_until(lambda: not self.jobs(), 30, f"{self.label} to be empty")

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...

    @abstractmethod
    def _cancel(self, *numbers: str) -> None:
        """Cancel jobs; those that have ended meanwhile are no error."""


def end(machine: Machine, *names: str, signal: str = "TERM") -> None:
    """End daemons of a machine and wait until they are gone."""
    pattern = "|".join(names)

    def gone() -> bool:
        return machine.run(["pgrep", "-x", pattern], check=False).status != 0

    machine.run(["pkill", f"-{signal}", "-x", pattern], check=False)
    wait_until(gone, 30, f"the end of {pattern} on {machine.name}")
