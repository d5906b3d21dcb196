"""The interfaces, by the value of ``--interface``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from remote_kernels.errors import OptionsError
from remote_kernels.interfaces.base import Interface

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Other packages' entry points, each an :class:`Interface` under its name.
ENTRY_POINTS = "remote_kernels.interfaces"

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
    if name not in _INTERFACES:
        return _somebody_elses(name)
    module, _, cls = _INTERFACES[name].partition(":")
    found = getattr(import_module(f"remote_kernels.interfaces.{module}"), cls)
    return cast("type[Interface]", found)


def on_host(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options of what runs on a host, or in a job that is asked for there.

    A scheduler is asked on the host, which is the last of the tunnel hosts then.

    Args:
        fields: of :class:`KernelOptions`, with an interface and a host.

    Raises:
        OptionsError: there is no such interface.
    """
    found = dict(fields)
    if interface_named(found["interface"]).terminal and "host" in found:
        found["tunnel_hosts"] = (*found.get("tunnel_hosts", ()), found.pop("host"))
    return found


def interface_names() -> list[str]:
    """The names of all interfaces, ours first."""
    return [*_INTERFACES, *_others()]


def _others() -> dict[str, EntryPoint]:
    # It takes longer than all that a kernel of ours needs before its session.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _somebody_elses(name: str) -> type[Interface]:
    others = _others()
    if name not in others:
        raise OptionsError(f"Unknown interface {name}; there are {', '.join(interface_names())}")
    try:
        found = others[name].load()
    except Exception as error:  # whatever somebody else's module raises
        raise OptionsError(f"the interface {name} ({others[name].value}): {error}") from error
    return cast("type[Interface]", found)
