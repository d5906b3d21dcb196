"""The interface ``local``: a kernel of another environment on this very machine."""

from __future__ import annotations

from remote_kernels.interfaces.base import Interface, words
from remote_kernels.options import KernelOptions


class Local(Interface):
    """The interface ``local``. Jupyter reaches the kernel's ports as they are."""

    name = "local"
    label = "Local"
    name_part = "local"
    uses = frozenset({"launch_cmd", "launch_args"})
    carries = False

    @classmethod
    def shell(cls, options: KernelOptions) -> list[str]:
        """The shell that runs the kernel command; empty for the login shell."""
        if options.launch_cmd is None:
            return []
        return [
            *words(options.launch_cmd, "--launch-cmd"),
            *words(options.launch_args or "", "--remote-launch-args"),
        ]
