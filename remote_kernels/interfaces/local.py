"""The interface ``local``: a kernel of another environment on this very machine."""

from __future__ import annotations

import shlex
from pathlib import Path

from remote_kernels.interfaces.base import Interface
from remote_kernels.options import KernelOptions


class Local(Interface):
    """The interface ``local``. Jupyter reaches the kernel's ports as they are."""

    name = "local"
    label = "Local"
    name_part = "local"
    uses = frozenset({"launch_cmd", "launch_args"})
    runs = True
    carries = False

    @classmethod
    def shell(cls, options: KernelOptions) -> list[str]:
        """The shell that runs the kernel command; empty for the login shell."""
        if options.launch_cmd is None:
            return []
        return [*shlex.split(options.launch_cmd), *shlex.split(options.launch_args or "")]

    @classmethod
    def session_command(cls, options: KernelOptions, directory: Path, bootstrap: str) -> list[str]:
        """What the launcher spawns; see :meth:`Interface.session_command`."""
        return ["/bin/sh", "-c", bootstrap]
