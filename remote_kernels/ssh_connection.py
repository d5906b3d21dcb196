"""What is asked of ssh beside the session: its configuration, and forwards over its login."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from remote_kernels.errors import ForwardError

# It speaks to a process on this machine, over a socket.
_PATIENCE = 10.0

_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def forward_back(program: Sequence[str], socket: Path, port: int, to: int) -> list[str] | None:
    """Let a port of the far side's loopback lead to one of this machine's.

    Args:
        program: the ssh program.
        socket: of an ssh that has logged in (its ControlPath).
        port: over there.
        to: here.

    Returns:
        What ssh said if it cannot be, else None.
    """
    forward = ["-R", f"127.0.0.1:{port}:localhost:{to}"]
    return _failure(program, socket, "forward", forward)


class SshForwards:
    """Forwards from Jupyter's five ports to the kernel's, asked of an ssh that has logged in."""

    def __init__(self, program: Sequence[str], socket: Path, *, shared: bool) -> None:
        """Prepare to ask.

        Args:
            program: the ssh program.
            socket: of the ssh that has logged in (its ControlPath).
            shared: it outlives us, so that the forwards have to be taken back.
        """
        self._program = list(program)
        self._socket = socket
        self._shared = shared
        self._forwards: list[str] = []

    def open(self, near: Sequence[str], far_ports: Sequence[int]) -> None:
        """Carry each of the near endpoints to a port of the far side's loopback.

        Raises:
            ForwardError: a local port is taken.
        """
        forwards: list[str] = []
        for endpoint, port in zip(near, far_ports, strict=True):
            forwards += ["-L", f"{endpoint}:127.0.0.1:{port}"]
        failed = self._ask("forward", forwards)
        if failed is not None:
            raise ForwardError(
                "ssh could not open Jupyter's ports on this machine",
                said=failed,
                advice="look for another program that holds these ports (ss -tlnp); "
                "start the kernel again for new ones",
            )
        self._forwards = forwards

    def close(self) -> None:
        """Take the forwards back where the connection outlives us."""
        if self._shared and self._forwards:
            self._ask("cancel", self._forwards)
        self._forwards = []

    def _ask(self, what: str, forwards: list[str]) -> list[str] | None:
        """What ssh said if it failed, else None."""
        return _failure(self._program, self._socket, what, forwards)


def session_socket(directory: Path, session_command: Sequence[str]) -> Path:
    """The socket of the ssh that holds the session.

    Args:
        directory: where ssh makes it if the user's configuration names no other place.
        session_command: argv of that ssh, with "--" before the host.

    Raises:
        ForwardError: the user's configuration keeps it from making one.
    """
    for entry in os.scandir(directory):
        if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            return Path(entry.path)
    path = Path(ssh_setting(session_command, "controlpath"))
    if not path.exists():
        raise ForwardError(
            "your ssh configuration keeps connections from being shared",
            advice="remove 'ControlPath none' for this host from your ssh configuration",
        )
    return path


def shared_connection_pid(program: Sequence[str], socket: Path) -> int:
    """The process that holds a shared connection; 0 if it does not say.

    Args:
        program: the ssh program.
        socket: of the connection.
    """
    try:
        done = _control(program, socket, "check")
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\(pid=(\d+)\)", done.stderr + done.stdout)
    return int(found[1]) if found else 0


def end_sharing(program: Sequence[str], socket: Path, what: Literal["stop", "exit"]) -> None:
    """Let a shared connection take nobody new.

    Args:
        program: the ssh program.
        socket: of the connection.
        what: who uses it goes on ("stop"), or ends with it ("exit").
    """
    # One that does not answer is of no use to anybody.
    with suppress(subprocess.TimeoutExpired):
        _control(program, socket, what)


def ssh_setting(session_command: Sequence[str], keyword: str) -> str:
    """What ssh's configuration says for one keyword, as ``ssh -G`` tells; empty if nothing.

    Args:
        session_command: argv of an ssh, with "--" before the host.
        keyword: of ssh_config(5), in lower case.
    """
    return settings_of(session_command).get(keyword, [""])[0]


def ssh_settings(session_command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What ssh's configuration says, as ``ssh -G`` prints it: a keyword and its value in each line.

    Args:
        session_command: argv of an ssh, with "--" before the host.

    Raises:
        OSError: there is no such program.
        subprocess.TimeoutExpired: it does not end.
    """
    # The program may have one of its own, as env has.
    split = len(session_command) - 1 - list(session_command)[::-1].index("--")
    return _run([*session_command[:split], "-G", *session_command[split:]])


def settings_of(session_command: Sequence[str]) -> dict[str, list[str]]:
    """What ssh's configuration says: the values of each keyword, which is in lower case.

    Args:
        session_command: argv of an ssh, with "--" before the host.
    """
    found: dict[str, list[str]] = {}
    try:
        done = ssh_settings(session_command)
    except (OSError, subprocess.TimeoutExpired):
        return found
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found


def control_command(program: Sequence[str], socket: Path, what: str) -> list[str]:
    """Argv that asks an ssh which has logged in for something; forwards may follow.

    Args:
        program: the ssh program.
        socket: of the ssh that has logged in (its ControlPath).
        what: of ssh(1)'s -O.
    """
    # Without a configuration file: forwards that are configured there are not ours.
    return [*program, "-F", "none", "-S", str(socket), "-O", what]


# Behind all options; ssh wants a host, and asks nobody for it.
NO_HOST = ("--", "kernel")


def _control(
    program: Sequence[str], socket: Path, what: str, forwards: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return _run([*control_command(program, socket, what), *forwards, *NO_HOST])


def _failure(
    program: Sequence[str], socket: Path, what: str, forwards: Sequence[str]
) -> list[str] | None:
    """What ssh said if it failed, else None."""
    try:
        done = _control(program, socket, what, forwards)
    except subprocess.TimeoutExpired:
        return [f"no answer within {_PATIENCE:.0f} s"]
    return done.stderr.splitlines() if done.returncode else None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # A signal to our process group would end it in the moment before its session is its own.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            start_new_session=True,
            check=False,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
