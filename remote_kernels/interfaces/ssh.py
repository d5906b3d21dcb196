"""The interface ``ssh``: the user's own ssh, with the user's own configuration."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from remote_kernels import errors
from remote_kernels.errors import LoginError, OptionsError
from remote_kernels.hosts import Host
from remote_kernels.interfaces.base import CONFIG_NAME, Interface
from remote_kernels.options import KernelOptions

# Said on the command line, so that they hold whatever the user's configuration says:
_OURS = (
    # our command takes the place of one that is configured (as in "RemoteCommand tmux"),
    "RemoteCommand=none",
    # a forward that belongs to a person's own logins would be refused to the second kernel,
    "ClearAllForwardings=yes",
    # the forwards of this kernel are asked for once its ports are known (ssh -O forward),
    "ControlMaster=auto",
    # and what ssh says is what the person gets to read.
    "LogLevel=INFO",
)


class Ssh(Interface):
    """The interface ``ssh``."""

    name = "ssh"
    label = "SSH"
    name_part = "ssh"
    uses = frozenset({"host", "launch_cmd", "launch_args", "tunnel_hosts"})
    runs = True

    @classmethod
    def check(cls, options: KernelOptions) -> None:
        """Refuse what cannot work; see :meth:`Interface.check`."""
        if options.host is None:
            raise OptionsError("A host is required for ssh.")
        super().check(options)
        split_args(options)

    @classmethod
    def ssh_config(cls, options: KernelOptions, directory: Path) -> str:
        """The configuration file that :meth:`session_command` names."""
        return config_text(split_args(options)[2], directory, "SSH_ASKPASS" in os.environ)

    @classmethod
    def ssh_program(cls, options: KernelOptions) -> list[str]:
        """The ssh to run."""
        return split_args(options)[0]

    @classmethod
    def session_command(cls, options: KernelOptions, directory: Path, bootstrap: str) -> list[str]:
        """What the launcher spawns; see :meth:`Interface.session_command`."""
        assert options.host is not None
        host = Host.parse(options.host)
        gateways = ",".join(str(Host.parse(text)) for text in options.tunnel_hosts)
        program, args, _ = split_args(options)
        return [
            *program,
            "-F",
            str(directory / CONFIG_NAME),
            *args,
            *(part for option in _OURS for part in ("-o", option)),
            # Last, since it outweighs any -t of the person's: bytes have to pass as they are.
            "-T",
            *(["-J", gateways] if gateways else []),
            *(["-p", str(host.port)] if host.port is not None else []),
            *(["-l", host.user] if host.user is not None else []),
            "--",
            host.name,
            *([bootstrap] if bootstrap else []),
        ]

    @classmethod
    def way(cls, options: KernelOptions) -> str:
        """The host and the way there, for a person."""
        via = f" (via {', '.join(options.tunnel_hosts)})" if options.tunnel_hosts else ""
        return f"{options.host}{via}"

    @classmethod
    def login_error(
        cls, options: KernelOptions, said: Sequence[str], real_name: Callable[[str], str]
    ) -> LoginError:
        """Why a login failed, from what ssh printed; see :meth:`Interface.login_error`."""
        assert options.host is not None
        host = Host.parse(options.host)
        gateways = [Host.parse(text) for text in options.tunnel_hosts]
        for cls_, pattern, sentence in _REFUSALS:
            found = next((m for line in said if (m := re.search(pattern, line))), None)
            if found is None:
                continue
            name = found.groupdict().get("host")
            if name and name not in (host.name, real_name(host.name)):
                gateway = next((g for g in gateways if name in (g.name, real_name(g.name))), None)
                # Not one of --tunnel-hosts: a ProxyJump of the person's configuration.
                failed = sentence.format(host=gateway or name)
                return errors.GatewayError(f"the gateway {gateway or name} failed: {failed}")
            if cls_ is errors.GatewayError:
                return cls_(sentence.format(host=host, gateway=_names(gateways)))
            return cls_(sentence.format(host=host))
        return LoginError(f"the login to {host} failed")


def _names(gateways: Sequence[Host]) -> str:
    return ", ".join(str(gateway) for gateway in gateways) or "the ProxyJump or ProxyCommand"


# What OpenSSH prints (texts of 7.4 to 10.0), the most telling first: a changed key is followed by
# "Host key verification failed", a gateway's failure by "Connection closed by UNKNOWN".
_REFUSALS: tuple[tuple[type[LoginError], str, str], ...] = (
    (
        errors.HostKeyChangedError,
        r"Host key for \[?(?P<host>[^\s\]]+)\]?(?::\d+)? has changed",
        "the host key of {host} has changed",
    ),
    (
        errors.HostKeyUnknownError,
        r"No .* host key is known for \[?(?P<host>[^\s\]]+)\]?",
        "the host key of {host} is not known",
    ),
    (
        errors.HostKeyUnknownError,
        r"Host key verification failed",
        "the host key of {host} is not known",
    ),
    (
        errors.HostUnknownError,
        r"Could not resolve hostname (?P<host>\S+?): |hostname contains invalid characters",
        "no machine named {host} is known",
    ),
    (
        errors.HostRefusedError,
        r"connect to (?:host (?P<host>\S+)|address \S+) port \d+: Connection refused",
        "{host} refused the connection",
    ),
    (
        errors.HostUnreachableError,
        r"connect to (?:host (?P<host>\S+)|address \S+) port \d+: "
        r"(?:Connection timed out|Operation timed out|No route to host|Network is unreachable)|"
        r"Connection timed out during banner exchange|Connection to \S+ port \d+ timed out",
        "{host} could not be reached",
    ),
    (
        errors.GatewayError,
        r"open failed: administratively prohibited|open failed: unknown channel type",
        "{gateway} does not forward connections to {host}",
    ),
    (
        errors.GatewayError,
        r"open failed: connect failed|stdio forwarding failed",
        "{gateway} could not reach the next host on the way to {host}",
    ),
    (
        errors.PermissionDeniedError,
        r"(?:\S+@(?P<host>\S+): )?Permission denied \(|Too many authentication failures|"
        r"Received disconnect from \S+ port \d+:2: Too many",
        "{host} denied permission",
    ),
    (
        errors.HostUnreachableError,
        r"Connection (?:closed|reset) by|kex_exchange_identification|banner exchange",
        "{host} closed the connection",
    ),
)


def split_args(options: KernelOptions) -> tuple[list[str], list[str], str | None]:
    """The ssh program, its further arguments, and the configuration file among them (-F).

    Raises:
        OptionsError: --launch-cmd or --remote-launch-args have unpaired quotation marks.
    """
    try:
        program = shlex.split(options.launch_cmd or "ssh")
        args = shlex.split(options.launch_args or "")
    except ValueError as error:
        raise OptionsError(
            f"--launch-cmd or --remote-launch-args cannot be read: {error}"
        ) from None
    if not program:
        raise OptionsError("--launch-cmd is empty")
    configuration = None
    for position, arg in enumerate(args):
        if arg.startswith("-F"):
            width = 1 if len(arg) > 2 else 2
            configuration = arg[2:] or "".join(args[position + 1 : position + 2])
            del args[position : position + width]
            break
    return program, args, configuration


def config_text(users: str | None, directory: Path, can_ask: bool) -> str:
    """An ssh configuration that is the user's own, with our defaults where that says nothing.

    ssh takes the first value that it finds. A file, unlike options on the command line, holds for
    gateways as well.

    Args:
        users: the file that the person named with -F, if any.
        directory: in which the shared connection's socket is made.
        can_ask: somebody answers ssh's questions (SSH_ASKPASS is set).
    """
    lines = [] if can_ask else ["BatchMode yes"]
    if users is None:
        lines += ["Include ~/.ssh/config", "Include /etc/ssh/ssh_config"]
    elif users != "none":
        # ssh would look for a relative path of an Include in ~/.ssh.
        lines += [f'Include "{Path(users).expanduser().absolute()}"']
    lines += [
        "Host *",
        "    StreamLocalBindUnlink yes",
        "    StrictHostKeyChecking accept-new",
        "    ConnectTimeout 30",
        "    ServerAliveInterval 15",
        "    ServerAliveCountMax 4",
        f'    ControlPath "{directory}/%C"',
    ]
    return "\n".join(lines) + "\n"
