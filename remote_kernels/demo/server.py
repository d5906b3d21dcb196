"""A throw-away ssh server on 127.0.0.1, in a thread of this process: the demo's far side.

It lets in who has its one key, runs commands in the shell and with the rights of the user whose
process this is, and forwards ports of 127.0.0.1. All of its files lie in the directory it is given.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import threading
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import asyncssh

HOST = "127.0.0.1"
# The program that starts a kernel gives it this long to end, in two attempts.
_END_PATIENCE = 5.0
_CHUNK = 1 << 16


class SshServer:
    """The server; a ``with`` block is its life.

    Attributes:
        home: the home directory of those who log in.
        port: on which it listens.
        shells: process ids of the shells that it has started.
    """

    def __init__(self, directory: Path) -> None:
        """Get it ready; it does not listen yet.

        Args:
            directory: a private one.
        """
        self.home = directory / "far-home"
        self.port = 0
        self.shells: list[int] = []
        self._key_path = directory / "key"
        self._known_hosts = directory / "known_hosts"
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._commands: set[asyncio.Task[None]] = set()
        self._listening: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="ssh server")

    @property
    def ssh_args(self) -> list[str]:
        """Arguments with which ssh gets in, whatever the user's configuration says."""
        options = [f"UserKnownHostsFile={self._known_hosts}", "IdentitiesOnly=yes"]
        return ["-F", "none", "-i", str(self._key_path), *(f"-o{option}" for option in options)]

    def __enter__(self) -> SshServer:
        """Listen.

        Raises:
            OSError: it cannot.
        """
        self.home.mkdir()
        # Without one zsh asks its first-time questions.
        (self.home / ".zshrc").touch()
        self._thread.start()
        self._listening.result()
        return self

    def __exit__(self, *_: object) -> None:
        """End all logins, what runs in them, and the server."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._listening.done():
                raise
            self._listening.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        acceptor = await asyncssh.listen(
            HOST,
            0,
            server_factory=lambda: _Door(self._connections),
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self._new_client_key()),
            process_factory=self._begin_command,
            encoding=None,
            gss_host=None,
            agent_forwarding=False,
        )
        self.port = acceptor.get_port()
        public = host_key.export_public_key().decode()
        self._known_hosts.write_text(f"[{HOST}]:{self.port} {public}")
        self._listening.set_result(None)
        await self._stop.wait()
        acceptor.close()
        await self._end_logins()

    def _new_client_key(self) -> str:
        key = asyncssh.generate_private_key("ssh-ed25519")
        # ssh takes no key that others might read.
        self._key_path.touch(mode=0o600)
        key.write_private_key(self._key_path)
        return key.export_public_key().decode()

    def _begin_command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        # A task of ours: asyncssh's own would not outlive the connection.
        task = asyncio.create_task(self._command(process))
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        shell = _login_shell()
        child = await asyncio.create_subprocess_exec(
            *([shell, "-c", process.command] if process.command else [shell, "-l"]),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.home,
            env=self._environment(shell, process),
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self.shells.append(child.pid)
        feeding = asyncio.create_task(_carry_input(process.stdin, child.stdin))
        try:
            await asyncio.gather(
                _carry(child.stdout, process.stdout), _carry(child.stderr, process.stderr)
            )
            # As sshd does: what was said last is known before the command has ended.
            with suppress(OSError, asyncssh.Error):
                process.stdout.write_eof()
            status = await child.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
        process.exit(status if status >= 0 else 128 - status)
        await feeding

    def _environment(
        self, shell: str, process: asyncssh.SSHServerProcess[bytes]
    ) -> Mapping[str, str]:
        """What a login finds, and nothing else of this process's environment."""
        client, server = process.get_extra_info("peername"), process.get_extra_info("sockname")
        kept = ("PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.home),
            "SHELL": shell,
            "SSH_CLIENT": f"{client[0]} {client[1]} {server[1]}",
            "SSH_CONNECTION": f"{client[0]} {client[1]} {server[0]} {server[1]}",
        }

    async def _end_logins(self) -> None:
        """End the connections: the shells read the end of their input, and end what they run."""
        for connection in list(self._connections):
            connection.close()
        if self._commands:
            for task in (await asyncio.wait(self._commands, timeout=_END_PATIENCE))[1]:
                task.cancel()


class _Door(asyncssh.SSHServer):
    def __init__(self, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return dest_host == HOST


async def _carry(
    source: asyncio.StreamReader | asyncssh.SSHReader[bytes],
    sink: asyncio.StreamWriter | asyncssh.SSHWriter[bytes],
) -> None:
    """Carry bytes to their end; what nobody takes any more is dropped, and keeps nobody waiting."""
    with suppress(asyncssh.Error):
        while data := await source.read(_CHUNK):
            with suppress(OSError, asyncssh.Error):
                sink.write(data)
                await sink.drain()


async def _carry_input(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    await _carry(source, sink)
    sink.close()
    # Else asyncio reports that a command has not read to the end of its input.
    with suppress(OSError):
        await sink.wait_closed()


def _login_shell() -> str:
    """The user's shell; /bin/sh for those who have none, such as services and containers' users."""
    try:
        shell = pwd.getpwuid(os.getuid()).pw_shell
    except KeyError:
        shell = ""
    usable = os.access(shell, os.X_OK) and Path(shell).name not in ("nologin", "false")
    return shell if usable else "/bin/sh"
