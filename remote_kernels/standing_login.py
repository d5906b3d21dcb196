"""``remote-kernels login``: one login, made in a terminal, over which everything else goes."""

from __future__ import annotations

import os
import select
import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from remote_kernels import errors
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.questions import Questions, find_answerer
from remote_kernels.refusals import why_refused
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import KeptLogin, place_for_sockets, socket_for
from remote_kernels.ssh_connection import (
    NO_HOST,
    control_command,
    end_sharing,
    shared_connection_pid,
    ssh_setting,
)
from remote_kernels.way import OPTIONS, Way
from remote_kernels.way_in import LOGIN_PATIENCE, write_config

_STANDS = "@rk-logged-in"
# It needs nobody: ssh's own session is one that waits for the end of its input, which comes from
# the other half. When that has run out, ssh takes nobody new, and ends after the last who uses it;
# when ssh ends first, the whole of it does.
_SCRIPT = """
{{
  # A machine that sleeps meanwhile does not make it longer.
  while left=$(({until} - $(date +%s))) && [ $left -gt 0 ]; do
    sleep $((left < 60 ? left : 60))
  done
  {stop}
}} </dev/null 2>/dev/null | {{ {ssh}; kill 0; }}
"""


def log_in(way: Way, seconds: int) -> KeptLogin:
    """Log in, and let the connection stand after us.

    Args:
        way: to the host.
        seconds: for which others may begin to use it.

    Returns:
        What was noted of it, for launchers to find.

    Raises:
        LoginError: it failed, or connections cannot be shared here.
    """
    place = place_for_sockets()
    if place is None:
        raise errors.LoginError(
            "there is no directory for the connection's socket",
            advice="let XDG_RUNTIME_DIR name a directory of yours with mode 0700, and start "
            "Jupyter with it, too; or make ~/.ssh, with mode 0700",
        )
    with ExitStack() as stack:
        private = PrivateDirectory()
        stack.callback(private.remove)
        questions = Questions(private.path, find_answerer(os.environ, terminal_first=True))
        write_config(way, private.path, questions, socket=socket_for(way, place))
        command = way.command(
            private.path,
            f"echo {_STANDS}; exec cat >/dev/null",
            options=(*OPTIONS, "ControlMaster=yes", "ControlPersist=no"),
        )
        socket = _socket_of(command)
        # A kernel's own login goes on, but nobody new goes through it; one that is dead is removed.
        end_sharing(way.program, socket, "stop")
        socket.unlink(missing_ok=True)
        since = time.time()
        script = _script(way, since + seconds, socket, command)
        session = PipeSession(["/bin/sh", "-c", script], questions)
        stack.callback(_end, session)
        said = _wait(session, questions)
        if said is not None:
            raise why_refused(way, said[-20:], private.path, questions)
        kept = KeptLogin(
            str(way.host),
            tuple(map(str, way.gateways)),
            *(since, since + seconds, str(socket), KeptLogin.note_for(way, place)),
        )
        kept.write()
        questions.end()
        session.let_go()
        stack.pop_all()
        private.remove()
    return kept


def log_out(kept: KeptLogin) -> None:
    """End a login, and what goes over it.

    Args:
        kept: what was noted of it.
    """
    if kept.is_open:
        end_sharing(("ssh",), Path(kept.socket), "exit")
    kept.note.unlink(missing_ok=True)


def stands(kept: KeptLogin) -> bool:
    """Whether kernels can use a login.

    Args:
        kept: what was noted of it.
    """
    socket = Path(kept.socket)
    return not kept.has_run_out and kept.is_open and shared_connection_pid(("ssh",), socket) != 0


def kept_logins() -> list[KeptLogin]:
    """All that were made and not ended by a person, the oldest first."""
    place = place_for_sockets()
    return list(KeptLogin.all_in(place)) if place is not None else []


def _socket_of(command: Sequence[str]) -> Path:
    path = ssh_setting(command, "controlpath")
    if path in ("", "none"):
        raise errors.LoginError(
            "your ssh configuration keeps connections from being shared",
            advice="remove 'ControlPath none' for this host from your ssh configuration",
        )
    return Path(path)


def _script(way: Way, until: float, socket: Path, command: Sequence[str]) -> str:
    stop = [*control_command(way.program, socket, "stop"), *NO_HOST]
    return _SCRIPT.format(until=int(until), stop=shlex.join(stop), ssh=shlex.join(command))


def _wait(session: PipeSession, questions: Questions) -> list[str] | None:
    """Wait for the login; what was said if it failed, else None."""
    said: list[str] = []
    deadline = time.monotonic() + LOGIN_PATIENCE
    while session.open:
        if questions.is_open:
            deadline = time.monotonic() + LOGIN_PATIENCE
        if time.monotonic() >= deadline:
            return [*said, f"nothing came within {LOGIN_PATIENCE:.0f} s"]
        select.select(session.descriptors, [], [], 1.0)
        for line in session.read_lines():
            if line.strip() == _STANDS:
                return None
            if line.strip():
                said.append(line)
    return said


def _end(session: PipeSession) -> None:
    with suppress(ProcessLookupError):
        os.killpg(session.pid, signal.SIGTERM)
    session.close()
