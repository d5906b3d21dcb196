"""The service that holds a reverse tunnel after boot: a unit of systemd, or an agent of launchd.

Both are the user's own. Nothing needs an administrator but, with systemd, that services of a user
may run while that one is not logged in (loginctl enable-linger).
"""

from __future__ import annotations

import os
import plistlib
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels.errors import QuestionError, RemoteKernelsError
from remote_kernels.kernel_log import log_directory
from remote_kernels.questions import Answerer
from remote_kernels.reverse import Tunnel, TunnelLine
from remote_kernels.ssh_connection import settings_of
from remote_kernels.tunnel_notes import TunnelNote, name_of

# Of systemctl and launchctl.
_PATIENCE = 60.0
_UNIT = """\
# Written by remote-kernels reverse --service; --service --remove takes it away.
[Unit]
Description=Reverse tunnel from {address} to this machine
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
{environment}Restart=on-failure
RestartSec=30
# Bad options stay bad.
RestartPreventExitStatus=2
KillMode=mixed

[Install]
WantedBy=default.target
"""


class Service(NamedTuple):
    """A service that was installed.

    Attributes:
        name: as the system's own commands want it.
        file: that describes it.
        hints: what a person should know of it.
    """

    name: str
    file: Path
    hints: tuple[str, ...] = ()


class ServiceState(NamedTuple):
    """How a service stands.

    Attributes:
        installed: there is its file.
        enabled: it starts by itself.
        running: it does now.
    """

    installed: bool
    enabled: bool = False
    running: bool = False


def check(tunnel: Tunnel) -> None:
    """See whether the tunnel can be made where nobody is there to answer, as after boot.

    Args:
        tunnel: of the service.

    Raises:
        QuestionError: somebody would have to.
        RemoteKernelsError: it cannot be made.
    """
    if (before := TunnelNote.read(tunnel.address)) and before.is_held():
        if state_of(tunnel.address).running:
            # Another one takes its place.
            return
        raise RemoteKernelsError(
            f"process {before.pid} holds the tunnel to {before.server}",
            advice="end that first (Ctrl-C where it runs); the service holds it then",
        )
    # Unless somebody has configured an agent, the one of this login is not there after boot.
    configured = "identityagent" in settings_of(tunnel.way.plain_command())
    try:
        _try(tunnel, () if configured else ("IdentityAgent=none",))
    except RemoteKernelsError as error:
        if not error.refused:
            raise
        with_agent = False
        with suppress(RemoteKernelsError):
            _try(tunnel, ())
            with_agent = True
        raise _needs_somebody(tunnel, error, with_agent=with_agent) from None


def _try(tunnel: Tunnel, options: tuple[str, ...]) -> None:
    with TunnelLine(tunnel, lambda word: None, answerer=Answerer(), options=options):
        pass


def _needs_somebody(
    tunnel: Tunnel, error: RemoteKernelsError, *, with_agent: bool
) -> RemoteKernelsError:
    if not with_agent:
        line = shlex.join(["remote-kernels", "copy-id", *tunnel.way.words()])
        error.advice = f"let a key open that host first: {line}"
        return error
    own_key = str(Path("~/.ssh/id_reverse").expanduser())
    copy_id = ["remote-kernels", "copy-id", *tunnel.way.words()]
    copy_id += ["--identity", own_key, "--no-passphrase"]
    return QuestionError(
        f"{tunnel.way.host} lets you in with a key of your agent, which is not there after boot",
        host=str(tunnel.way),
        said=error.said,
        advice=f"give it a key of its own, without a passphrase: {shlex.join(copy_id)}\n"
        f"and the service: --remote-launch-args='-i {own_key}'",
    )


def install(tunnel: Tunnel) -> Service:
    """Write the service, start it, and let it start after each boot.

    Args:
        tunnel: that it holds.

    Returns:
        The service.

    Raises:
        RemoteKernelsError: it could not be installed; nothing of it is left then.
    """
    if sys.platform == "darwin":
        return _install_agent(tunnel)
    if shutil.which("systemctl") is None:
        raise RemoteKernelsError(
            "there is no systemd on this machine, which would start it after boot",
            advice="let cron do that (crontab -e): "
            f"@reboot {shlex.join(command_of(tunnel)).replace('%', chr(92) + '%')}",
        )
    return _install_unit(tunnel)


def remove(address: str) -> bool:
    """End a service, and remove it.

    Args:
        address: of the tunnel's server; see :class:`~remote_kernels.tunnel_notes.TunnelNote`.

    Returns:
        Whether there was one.
    """
    file = _file_of(address)
    if not file.exists():
        return False
    if sys.platform == "darwin":
        _run(["launchctl", "bootout", f"{_domain()}/{file.stem}"])
        file.unlink()
    else:
        _remove_unit(file)
    return True


def state_of(address: str) -> ServiceState:
    """How the service of a tunnel stands.

    Args:
        address: of its server.
    """
    file = _file_of(address)
    if not file.exists():
        return ServiceState(False)
    if sys.platform == "darwin":
        running = _run(["launchctl", "print", f"{_domain()}/{file.stem}"]).returncode == 0
        return ServiceState(True, True, running)
    enabled = _systemctl("is-enabled", "--quiet", file.name).returncode == 0
    running = _systemctl("is-active", "--quiet", file.name).returncode == 0
    return ServiceState(True, enabled, running)


def command_of(tunnel: Tunnel) -> list[str]:
    """Argv of what the service runs.

    Args:
        tunnel: that it holds.
    """
    way = tunnel.way
    if way.users_config not in (None, "none"):
        # It is started elsewhere.
        way = way._replace(users_config=os.path.abspath(os.path.expanduser(str(way.users_config))))
    words = ["reverse", *way.words()]
    numbers = ["--unattended", f"--port={tunnel.port}", f"--to={tunnel.to}"]
    return [os.path.abspath(sys.executable), "-m", "remote_kernels", *words, *numbers]


def _environment() -> dict[str, str]:
    """What the service has to know of ours, so that --status looks where it writes."""
    return {name: os.environ[name] for name in ("XDG_STATE_HOME",) if os.environ.get(name)}


# --- systemd --------------------------------------------------------------------------------------


def unit_text(tunnel: Tunnel) -> str:
    """The unit; see systemd.service(5).

    Args:
        tunnel: that it holds.
    """
    command = command_of(tunnel)
    if not command[0].isprintable() or "$" in command[0]:
        # The path itself may hold neither.
        command = ["/usr/bin/env", *command]
    environment = [
        f"Environment={_quoted(f'{name}={value}').replace('$$', '$')}\n"
        for name, value in _environment().items()
    ]
    return _UNIT.format(
        address=tunnel.address.replace("%", "%%"),
        command=" ".join(map(_quoted, command)),
        environment="".join(environment),
    )


def _quoted(word: str) -> str:
    """A word of a command line of systemd; see systemd.syntax(7) and systemd.unit(5)."""
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"}
    text = ""
    for byte in word.encode("utf-8", "surrogateescape").decode("latin-1"):
        text += escapes.get(byte, byte if " " <= byte <= "~" else f"\\x{ord(byte):02x}")
    return f'"{text}"'


def _install_unit(tunnel: Tunnel) -> Service:
    file = _file_of(tunnel.address)
    _write(file, unit_text(tunnel).encode())
    for words in (["daemon-reload"], ["enable", file.name], ["restart", file.name]):
        done = _systemctl(*words)
        if done.returncode:
            _remove_unit(file)
            raise RemoteKernelsError(
                f"systemctl --user {words[0]} failed: {_last_of(done)}",
                advice="systemd has to run for you, as it does after a login at the machine or by "
                "ssh (not with su or sudo): systemctl --user status",
            )
    hints = [f"Its log: journalctl --user -u {shlex.quote(file.name)}"]
    if not _lingers():
        hints.append(
            "It runs only while you are logged in here; let an administrator change that: "
            f"sudo loginctl enable-linger {_me()}"
        )
    return Service(file.name, file, tuple(hints))


def _remove_unit(file: Path) -> None:
    _systemctl("disable", "--now", file.name)
    file.unlink(missing_ok=True)
    _systemctl("daemon-reload")


def _lingers() -> bool:
    """Whether services of the user run without a login, from now on if that could be had."""
    if shutil.which("loginctl") is None:
        return False
    show = ["loginctl", "show-user", _me(), "--property=Linger", "--value"]
    if _run(show).stdout.strip() == "yes":
        return True
    # Nobody is to be asked for an administrator's password here.
    return _run(["loginctl", "--no-ask-password", "enable-linger"]).returncode == 0


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return _run(["systemctl", "--user", *words])


# --- launchd --------------------------------------------------------------------------------------


def agent_plist(tunnel: Tunnel) -> bytes:
    """The description of the agent; see launchd.plist(5).

    Args:
        tunnel: that it holds.
    """
    log = str(log_directory() / f"{_file_of(tunnel.address).stem}.log")
    description: dict[str, Any] = {
        "Label": _label(tunnel.address),
        "ProgramArguments": command_of(tunnel),
        "EnvironmentVariables": _environment(),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ProcessType": "Background",
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(description)


def _install_agent(tunnel: Tunnel) -> Service:
    file = _file_of(tunnel.address)
    log_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    _run(["launchctl", "bootout", f"{_domain()}/{file.stem}"])
    _write(file, agent_plist(tunnel))
    done = _run(["launchctl", "bootstrap", _domain(), str(file)])
    if done.returncode:
        file.unlink()
        raise RemoteKernelsError(
            f"launchctl bootstrap failed: {_last_of(done)}",
            advice="it works for who is logged in at the machine itself",
        )
    return Service(file.stem, file, ("It starts when you log in at this machine.",))


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _label(address: str) -> str:
    return f"remote-kernels-reverse-{name_of(address)}"


# --- both -----------------------------------------------------------------------------------------


def _file_of(address: str) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library/LaunchAgents" / f"{_label(address)}.plist"
    return Path.home() / ".config/systemd/user" / f"{_label(address)}.service"


def _write(file: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(data)
    part.replace(file)


def _last_of(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr + done.stdout).strip().splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ)
    runtime = f"/run/user/{os.getuid()}"
    if "XDG_RUNTIME_DIR" not in environ and os.path.isdir(runtime):
        # Without it systemctl does not find the user's systemd.
        environ["XDG_RUNTIME_DIR"] = runtime
    try:
        return subprocess.run(
            list(command),
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(command), 255, "", str(error))
