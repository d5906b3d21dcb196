"""Grid Engine: an interactive job through ``qlogin`` or ``qrsh``."""

from __future__ import annotations

from remote_kernels.interfaces.base import SCHEDULER_USES, Interface


class GridEngine(Interface):
    """The interface ``sge``."""

    name = "sge"
    label = "GridEngine"
    name_part = "sge"
    uses = SCHEDULER_USES | {"pe"}


class GridEngineQrsh(GridEngine):
    """The interface ``sge_qrsh``."""

    name = "sge_qrsh"
    label = "GridEngine (qrsh)"
    name_part = "sge_qrsh"
