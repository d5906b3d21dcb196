"""The interfaces, by the value of ``--interface``."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from remote_kernels.errors import OptionsError
from remote_kernels.interfaces.base import Interface

# Names of classes, not classes: the launcher imports the one that it runs.
_INTERFACES = {
    "local": "local:Local",
    "ssh": "ssh:Ssh",
    "pbs": "pbs:Pbs",
    "sge": "gridengine:GridEngine",
    "sge_qrsh": "gridengine:GridEngineQrsh",
    "slurm": "slurm:Slurm",
    "lsf": "lsf:Lsf",
}


def interface_named(name: str | None) -> type[Interface]:
    """The class of an interface.

    Raises:
        OptionsError: there is none of that name.
    """
    if name is None:
        raise OptionsError("interface must be specified")
    try:
        module, _, cls = _INTERFACES[name].partition(":")
    except KeyError:
        known = ", ".join(_INTERFACES)
        raise OptionsError(f"Unknown interface {name}; there are {known}") from None
    found = getattr(import_module(f"remote_kernels.interfaces.{module}"), cls)
    return cast("type[Interface]", found)
