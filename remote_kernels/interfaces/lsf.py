"""LSF: an interactive job through ``bsub -Is``."""

from __future__ import annotations

from remote_kernels.interfaces.base import SCHEDULER_USES, Interface


class Lsf(Interface):
    """The interface ``lsf``."""

    name = "lsf"
    label = "Platform LSF"
    name_part = "lsf"
    uses = SCHEDULER_USES
