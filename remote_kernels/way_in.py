"""The start of a session through which a keeper speaks, or is to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from remote_kernels.questions import Answerer, Questions, find_answerer
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import KeptLogin, SharedLogin, place_for_sockets
from remote_kernels.shell_text import as_bytes
from remote_kernels.way import CONFIG_NAME, CONNECT_TIMEOUT, Way

if TYPE_CHECKING:
    from remote_kernels.life import Life

#: Seconds for a far side that accepts and then is silent; an ssh that gives its login up says so.
LOGIN_PATIENCE = 120.0
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
        login = prepare(
            *(life.way, directory, find_answerer(os.environ)),
            alone=alone,
            log=life.log,
            told=life.trace is not None,
            connect_timeout=_AGAIN_TIMEOUT if again else CONNECT_TIMEOUT,
        )
        life.questions, shared, life.kept_login = login
    argv = life.interface.keeper_command(life.options, directory, alone=alone)
    return PipeSession(traced(life, argv), life.questions), shared


class Login(NamedTuple):
    """What belongs to a login that is to begin.

    Attributes:
        questions: that ssh may ask.
        shared: the connection that it shares; None if none.
        kept: what ``remote-kernels login`` has kept for the way; None if nothing.
    """

    questions: Questions
    shared: SharedLogin | None
    kept: KeptLogin | None


def prepare(
    way: Way,
    directory: Path,
    answerer: Answerer,
    *,
    alone: bool = False,
    log: Callable[[str], None] = lambda text: None,
    **how: Any,
) -> Login:
    """Prepare a login: wait for its turn, and write ssh's configuration.

    Args:
        way: to the host.
        directory: a private one.
        answerer: of what ssh asks.
        alone: over a connection of its own.
        log: takes when somebody is asked.
        how: see :func:`write_config`.
    """
    shared = kept = None
    if not alone and (place := place_for_sockets()) is not None:
        kept = kept_login(way, place)
        shared = SharedLogin(way, place)
    questions = Questions(directory, answerer, shared.pattern if shared is not None else "", log)
    socket = shared.socket if shared is not None else None
    write_config(way, directory, questions, socket=socket, **how)
    return Login(questions, shared, kept)


def traced(life: Life, argv: list[str]) -> list[str]:
    """The argv of a session, so that ssh tells what it does where somebody wants to know.

    Args:
        life: of the kernel.
        argv: of the session.
    """
    if life.trace is not None and life.way is not None:
        # What write_config says holds for gateways as well.
        at = argv.index("LogLevel=INFO")
        argv = [*argv[: at - 1], *argv[at + 1 :]]
    life.log(f"spawning {argv}")
    return argv


def kept_login(way: Way, place: Path | None) -> KeptLogin | None:
    """What ``remote-kernels login`` has kept for a way; one whose time is over is used no more.

    Args:
        way: to the host.
        place: for sockets; see :func:`~remote_kernels.shared_login.place_for_sockets`.
    """
    kept = KeptLogin.read(way, place) if place is not None else None
    if kept is not None and kept.has_run_out and kept.is_open:
        # This machine has slept: else it would have ended by itself.
        from remote_kernels.ssh_connection import end_sharing

        end_sharing(way.program, Path(kept.socket), "stop")
    return kept


def write_config(
    way: Way, directory: Path, questions: Questions, *, told: bool = False, **how: Any
) -> None:
    """Write ssh's configuration for a way.

    Args:
        way: that ssh is to go.
        directory: a private one.
        questions: that ssh may ask.
        told: ssh is to tell what it does.
        how: what :meth:`Way.config` is to be told beside.
    """
    text = way.config(can_ask=bool(questions.answerer.kind), **how)
    if "DISPLAY" not in os.environ:
        # One of our own making lets an old ssh ask, and is no display.
        text = f"ForwardX11 no\n{text}"
    if told:
        text = f"LogLevel DEBUG1\n{text}"
    (directory / CONFIG_NAME).write_bytes(as_bytes(text))
