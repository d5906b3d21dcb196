"""PBS and Torque: an interactive job through ``qsub -I``."""

from __future__ import annotations

from remote_kernels.interfaces.base import SCHEDULER_USES, Interface


class Pbs(Interface):
    """The interface ``pbs``."""

    name = "pbs"
    label = "PBS"
    # remote_ikernel left it out, and its users' notebooks hold the names that came of it.
    name_part = ""
    uses = SCHEDULER_USES
