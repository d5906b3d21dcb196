"""The start of a session through which a keeper speaks, or is to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin, place_for_sockets
from remote_kernels.surroundings import session_environment
from remote_kernels.way import CONFIG_NAME, CONNECT_TIMEOUT, Way

if TYPE_CHECKING:
    from remote_kernels.life import Life


# A first packet that was lost is sent again after 1, 3, 7 and 15 s; a new attempt begins anew.
_AGAIN_TIMEOUT = 5


def log_in(
    life: Life, directory: Path, *, alone: bool = False, again: bool = False
) -> tuple[PipeSession, SharedLogin | None]:
    """Start the ssh to a kernel's host, or the shell for one of this machine.

    It waits for a line of sh; see :data:`~remote_kernels.shell_text.BOOTSTRAP`.

    Args:
        life: of the kernel.
        directory: a private one, for ssh's configuration.
        alone: over a connection of its own.
        again: to a host that did answer; how soon it answers again is all that matters.

    Returns:
        The session, and the connection that it shares with other kernels; None if none.

    Raises:
        SshNotFoundError: there is no such program.
    """
    shared = None
    alone = alone or life.options.no_share
    if life.way is not None:
        if not alone and (place := place_for_sockets()) is not None:
            shared = SharedLogin(life.way, place)
        write_config(
            life.way,
            directory,
            socket=shared.socket if shared is not None else None,
            connect_timeout=_AGAIN_TIMEOUT if again else CONNECT_TIMEOUT,
        )
    argv = life.interface.keeper_command(life.options, directory, alone=alone)
    life.log(f"spawning {argv}")
    return PipeSession(argv, session_environment()), shared


def write_config(way: Way, directory: Path, **how: Any) -> None:
    """Write ssh's configuration for a way.

    Args:
        way: that ssh is to go.
        directory: a private one.
        how: what :meth:`Way.config` is to be told beside.
    """
    text = way.config(can_ask="SSH_ASKPASS" in os.environ, **how)
    (directory / CONFIG_NAME).write_text(text)
