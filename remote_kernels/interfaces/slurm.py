"""Slurm: an interactive job through ``srun``."""

from __future__ import annotations

from remote_kernels.interfaces.base import SCHEDULER_USES, Interface


class Slurm(Interface):
    """The interface ``slurm``."""

    name = "slurm"
    label = "SLURM"
    name_part = "slurm"
    uses = SCHEDULER_USES
