"""``python -m remote_kernels``: what kernel.json runs, and the command ``remote-kernels``."""

from __future__ import annotations

import signal
import sys
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
        signal.signal(signal.SIGINT, _not_yet)
        from remote_kernels.launcher import launch

        return launch(arguments)
    from remote_kernels.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())
