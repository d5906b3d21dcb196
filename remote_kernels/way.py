"""The way to a host by the user's own ssh, with the user's own configuration."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from remote_kernels import errors
from remote_kernels.errors import LoginError
from remote_kernels.hosts import Host

#: Name of the ssh configuration in the launcher's private directory.
CONFIG_NAME = "ssh_config"

#: Said on the command line, so that they hold whatever the user's configuration says:
OPTIONS = (
    # our command takes the place of one that is configured (as in "RemoteCommand tmux"),
    "RemoteCommand=none",
    # a forward that belongs to a person's own logins would be refused to the second kernel,
    "ClearAllForwardings=yes",
    # and what ssh says is what the person gets to read.
    "LogLevel=INFO",
)


#: Seconds.
CONNECT_TIMEOUT = 30
#: For forwards that are asked for once the kernel's ports are known (ssh -O forward). They are to
#: end with the kernel, whatever the user's configuration says.
ASKED_LATER = ("ControlMaster=auto", "ControlPersist=no")
#: For a connection of one's own.
NOT_SHARED = "ControlPath=none"


class Way(NamedTuple):
    """A host and how ssh gets there.

    Attributes:
        host: that is logged in to.
        gateways: to go through, the nearest first.
        program: the ssh to run.
        args: further arguments of it.
        users_config: the configuration file that was named instead of the user's own; "none" for
            no file.
    """

    host: Host
    gateways: tuple[Host, ...] = ()
    program: tuple[str, ...] = ("ssh",)
    args: tuple[str, ...] = ()
    users_config: str | None = None

    def __str__(self) -> str:
        """The host and the way there, for a person."""
        return f"{self.host} (via {_names(self.gateways)})" if self.gateways else str(self.host)

    @property
    def destination(self) -> list[str]:
        """The words for ssh that say where to, and through what."""
        host = self.host
        return [
            *(["-J", _jumps(self.gateways)] if self.gateways else []),
            *(["-p", str(host.port)] if host.port is not None else []),
            *(["-l", host.user] if host.user is not None else []),
            "--",
            host.name,
        ]

    def options(self) -> dict[str, str | tuple[str, ...]]:
        """The fields of :class:`KernelOptions` that lead this way."""
        args = [*self._named_config, *self.args]
        return {
            "host": str(self.host),
            **({"tunnel_hosts": tuple(map(str, self.gateways))} if self.gateways else {}),
            **({"launch_cmd": shlex.join(self.program)} if self.program != ("ssh",) else {}),
            **({"launch_args": shlex.join(args)} if args else {}),
        }

    def words(self) -> list[str]:
        """The words of a command line that lead this way: the host, and options for it."""
        options = self.options()
        words = [str(self.host)]
        if self.gateways:
            words += ["--tunnel-hosts", *map(str, self.gateways)]
        if "launch_cmd" in options:
            words.append(f"--launch-cmd={options['launch_cmd']}")
        if "launch_args" in options:
            words.append(f"--remote-launch-args={options['launch_args']}")
        return words

    def login_line(self) -> str:
        """The command that logs in beforehand, for all kernels of this way."""
        return shlex.join(["remote-kernels", "login", *self.words()])

    def plain_command(self) -> list[str]:
        """Argv of the ssh as a person would run it, with their configuration alone."""
        return [*self.program, *self._named_config, *self.args, *self.destination]

    @property
    def _named_config(self) -> list[str]:
        return [] if self.users_config is None else ["-F", self.users_config]

    def to_node(self, name: str) -> Way:
        """The way on to a machine that only this host knows, as the same user.

        Args:
            name: of that machine.
        """
        return self._replace(host=Host(name, self.host.user), gateways=(*self.gateways, self.host))

    def command(
        self,
        directory: Path,
        command: str = "",
        *,
        terminal: bool = False,
        options: Sequence[str] = (*OPTIONS, *ASKED_LATER),
    ) -> list[str]:
        """Argv of the ssh.

        Args:
            directory: in which :meth:`config` lies under CONFIG_NAME.
            command: for the login shell over there.
            terminal: it gets one over there.
            options: said with -o.
        """
        return [
            *self.program,
            "-F",
            str(directory / CONFIG_NAME),
            *self.args,
            *(part for option in options for part in ("-o", option)),
            # Last, since it outweighs any -t of the person's.
            "-tt" if terminal else "-T",
            *self.destination,
            *([command] if command else []),
        ]

    def config(
        self,
        *,
        can_ask: bool,
        socket: str | None = None,
        connect_timeout: int = CONNECT_TIMEOUT,
    ) -> str:
        """An ssh configuration: the user's own, with our defaults where that says nothing.

        ssh takes the first value that it finds. A file, unlike options on the command line, holds
        for gateways as well.

        Args:
            can_ask: somebody answers ssh's questions.
            connect_timeout: seconds for each machine on the way to answer.
            socket: path of the shared connection's socket, with ssh's %C in it; None for none.
        """
        lines = [] if can_ask else ["BatchMode yes"]
        if self.users_config is None:
            lines += ["Include ~/.ssh/config", "Include /etc/ssh/ssh_config"]
        elif self.users_config != "none":
            # ssh would look for a relative path of an Include in ~/.ssh.
            lines += [f'Include "{os.path.abspath(os.path.expanduser(self.users_config))}"']
        if socket is not None:
            # Not for gateways: each would be a process more.
            lines += [
                f"Host {self.host.name}",
                "    ControlMaster auto",
                f'    ControlPath "{socket}"',
            ]
        lines += [
            "Host *",
            "    StreamLocalBindUnlink yes",
            "    StrictHostKeyChecking accept-new",
            f"    ConnectTimeout {connect_timeout}",
            "    ServerAliveInterval 15",
            "    ServerAliveCountMax 4",
        ]
        return "\n".join(lines) + "\n"

    def login_error(self, said: Sequence[str], real_name: Callable[[str], str]) -> LoginError:
        """Why a login failed, from what ssh printed.

        Args:
            said: the lines that were printed.
            real_name: the host name that ssh's configuration gives to an alias.
        """
        host = self.host
        for cls, pattern, sentence in _REFUSALS:
            found = next((m for line in said if (m := re.search(pattern, line))), None)
            if found is None:
                continue
            name = found.groupdict().get("host")
            if name and name not in (host.name, real_name(host.name)):
                known = (g for g in self.gateways if name in (g.name, real_name(g.name)))
                gateway = next(known, None)
                # Not one of --tunnel-hosts: a ProxyJump of the person's configuration.
                failed = sentence.format(host=gateway or name)
                error = errors.GatewayError(f"the gateway {gateway or name} failed: {failed}")
                error.refused = cls.refused
                return _with_key(error, said)
            if cls is errors.GatewayError:
                gateways = _names(self.gateways) or "the ProxyJump or ProxyCommand"
                return cls(sentence.format(host=host, gateway=gateways))
            return _with_key(cls(sentence.format(host=host)), said)
        return LoginError(f"the login to {host} failed")


def _jumps(gateways: Sequence[Host]) -> str:
    """The gateways for -J: ssh starts an ssh for the last, which is handed those before it."""
    text = ""
    for gateway in gateways:
        before = f"{_through_shell(text)}," if text else ""
        user = None if gateway.user is None else _through_shell(gateway.user)
        text = before + str(gateway._replace(name=_through_shell(gateway.name), user=user))
    return text


def _through_shell(text: str) -> str:
    """What ssh puts as it is into a command for a shell, after it has replaced %h and the like."""
    return re.sub(r"[\\~^=]", r"\\\g<0>", text).replace("%", "%%")


def _with_key(error: LoginError, said: Sequence[str]) -> LoginError:
    """Say of a changed host key which it is, where the known one stands, and how to remove that."""
    text = "\n".join(said)
    named = re.search(r"^Host key for (\S+) has changed", text, re.MULTILINE)
    sent = re.search(r"^(SHA256:\S+?)\.?$", text, re.MULTILINE)
    known = re.search(r"^Offending .*key in (.+):(\d+)$", text, re.MULTILINE)
    if named and sent and known:
        error.sentence += f": it is {sent[1]} now, and another in {known[1]}, line {known[2]}"
        remove = shlex.join(["ssh-keygen", "-f", known[1], "-R", named[1]])
        error.advice = (
            f"if the machine was set up anew, remove its old key: {remove}\n"
            "if not, ask its administrator before you go on"
        )
    return error


def _names(gateways: Sequence[Host]) -> str:
    return ", ".join(str(gateway) for gateway in gateways)


# What OpenSSH prints (texts of 7.4 to 10.0), the most telling first: a changed key is followed by
# "Host key verification failed", a gateway's failure by "Connection closed by UNKNOWN".
_REFUSALS: tuple[tuple[type[LoginError], str, str], ...] = (
    (
        errors.ConfigurationError,
        r"Bad configuration option|^terminating, \d+ bad configuration|config line \d+: |"
        r"^Bad owner or permissions on .*config|^Can't open user config file",
        "the ssh configuration for {host} cannot be used",
    ),
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
        # PAM's words; sshd then closes the connection.
        errors.PermissionDeniedError,
        r"^Your account has expired",
        "{host} denied permission: the account has expired",
    ),
    (
        errors.PermissionDeniedError,
        r"(?:\S+@(?P<host>\S+): )?Permission denied \(|Too many authentication failures|"
        r"Received disconnect from \S+ port \d+:2: Too many",
        "{host} denied permission",
    ),
    (
        errors.HostClosedError,
        r"Connection (?:closed|reset) by|kex_exchange_identification|banner exchange",
        "{host} closed the connection",
    ),
)
