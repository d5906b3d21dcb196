"""A kernel in a job that stays when Jupyter ends it.

Its launcher leaves the job to the keeper on the login host, and the kernel to the one on the node.
The way back is a visit (:class:`~remote_kernels.visit.StayingKernel`) that goes on from the login
host into the job.
"""

from __future__ import annotations

from contextlib import ExitStack

from remote_kernels.front_ends import KeepingFrontEnds
from remote_kernels.holding import Held
from remote_kernels.kept_job import KeptJob
from remote_kernels.life import Life, parted
from remote_kernels.private_directory import PrivateDirectory


class StayingJob(KeptJob):
    """One kernel in a job, from the queue until it is left or has ended."""

    def __init__(
        self, life: Life, place: PrivateDirectory, taken: tuple[Held, list[int]] | None
    ) -> None:
        """Prepare; see :class:`KeptJob`."""
        super().__init__(life, place, taken)
        self._front_ends = KeepingFrontEnds(self)

    def open_ports(self, stack: ExitStack) -> None:
        """See :class:`KeptLife`."""
        info = self.life.connection.info
        self._front_ends.admit(info, info, stack)

    def interrupt(self) -> None:
        """See :class:`KeptLife`."""
        if self.allocation.waiting:
            super().interrupt()
        else:
            self._front_ends.interrupt()

    def terminate(self) -> None:
        """Leave; the kernel stays, if it has begun and is not to be started anew.

        See :class:`KeptLife`.
        """
        if self.life.stage == "up" and not self._front_ends.restarts:
            self.part()
        else:
            super().terminate()

    def on_login_host(self, line: str) -> None:
        """See :class:`KeptJob`; a keeper that took us for dead has left the kernel alone."""
        if line == "PARTED":
            self.part()
            self.channel.fail(parted(self.life.kind))
        else:
            super().on_login_host(line)

    def hold(self) -> None:
        """See :class:`KeptJob`; the process that stays behind must not have Jupyter's ports."""
        self._front_ends.close()
        super().hold()
