"""The start of a session through which a keeper speaks, or is to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from remote_kernels.errors import SshNotFoundError
from remote_kernels.session import PipeSession
from remote_kernels.shell_text import BOOTSTRAP
from remote_kernels.surroundings import session_environment
from remote_kernels.way import CONFIG_NAME, OPTIONS

if TYPE_CHECKING:
    from remote_kernels.life import Life


def log_in(life: Life, directory: Path, more_options: Sequence[str] = ()) -> PipeSession:
    """Start the ssh to a kernel's host, or the shell for one of this machine.

    It waits for a line of sh; see BOOTSTRAP.

    Args:
        life: of the kernel.
        directory: a private one, for ssh's configuration and sockets.
        more_options: of ssh, said with -o.

    Raises:
        SshNotFoundError: there is no such program.
    """
    if life.way is None:
        argv = life.interface.session_command(life.options, directory, BOOTSTRAP)
    else:
        text = life.way.config(directory, can_ask="SSH_ASKPASS" in os.environ)
        (directory / CONFIG_NAME).write_text(text)
        argv = life.way.command(directory, BOOTSTRAP, options=(*OPTIONS, *more_options))
    life.log(f"spawning {argv}")
    try:
        return PipeSession(argv, session_environment())
    except FileNotFoundError:
        raise SshNotFoundError(f"there is no program {argv[0]} on this machine") from None
