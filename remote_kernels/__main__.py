"""``python -m remote_kernels``: what kernel.json runs, and the command ``remote-kernels``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING


def _leave_out_directory() -> None:
    """Take no module from the notebook's directory, which Python's -m puts first."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        if sys.path[0] in ("", os.getcwd()) and sys.path[0] != ours:
            del sys.path[0]
    except FileNotFoundError:
        # Somebody has removed it under us.
        pass


_leave_out_directory()

if TYPE_CHECKING:
    from types import FrameType


def _not_yet(signum: int, frame: FrameType | None) -> None:
    """An interrupt that comes while nothing runs has nothing to interrupt."""


def main() -> int:
    """Run the launcher for a kernel.json, the command line for a person.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:]
    # kernel.json's argv begins with an option, as remote_ikernel's did; a person's with a command.
    if arguments and arguments[0].startswith("--") and arguments[0] not in ("--help", "--version"):
        import signal

        signal.signal(signal.SIGINT, _not_yet)
        from remote_kernels.launcher import launch

        return launch(arguments)
    from remote_kernels.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())
