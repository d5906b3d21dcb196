"""What an interface is: a name, what it can use, and how its session is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from remote_kernels.errors import InterfaceCannotRunError, LoginError, OptionsError
from remote_kernels.hosts import Host
from remote_kernels.options import KernelOptions, given, option_of

#: Name of the ssh configuration in the launcher's private directory.
CONFIG_NAME = "ssh_config"


class Interface:
    """One way to a kernel. Pure: it builds commands and reads texts, it runs nothing.

    Attributes:
        name: the value of ``--interface``.
        label: the beginning of the display name.
        name_part: what it puts into the kernel name; PBS never put anything.
        uses: fields of :class:`KernelOptions`, beside the general ones, that mean something to it.
        runs: this version can start its kernels.
        carries: the kernel's sockets have to be carried; otherwise Jupyter reaches them itself.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    name_part: ClassVar[str]
    uses: ClassVar[frozenset[str]]
    runs: ClassVar[bool] = False
    carries: ClassVar[bool] = True

    @classmethod
    def unusable(cls, options: KernelOptions) -> list[str]:
        """The names of the given fields of which this interface can make no use."""
        return [
            name
            for name in given(options)
            if name not in cls.uses
            and not option_of(KernelOptions.__dataclass_fields__[name]).general
        ]

    @classmethod
    def check(cls, options: KernelOptions) -> None:
        """Refuse what cannot work, before anything is written.

        Raises:
            OptionsError: an option is of no use here, or a host is no host.
        """
        for name in cls.unusable(options):
            flag = option_of(KernelOptions.__dataclass_fields__[name]).flags[0]
            raise OptionsError(f"the interface {cls.name} cannot use {flag}")
        for text in (*options.tunnel_hosts, *([options.host] if options.host else [])):
            Host.parse(text)

    @classmethod
    def shell(cls, options: KernelOptions) -> list[str]:
        """Argv of the shell that runs the kernel command; empty for the login shell over there."""
        return []

    @classmethod
    def session_command(cls, options: KernelOptions, directory: Path, bootstrap: str) -> list[str]:
        """Argv of the program that opens the session.

        Args:
            options: of the kernel.
            directory: a private one; where ssh is used, :meth:`ssh_config` lies there.
            bootstrap: the command for the login shell over there; empty for none.
        """
        raise InterfaceCannotRunError(
            f"this version can add kernels of the interface {cls.name}, but not start them",
            advice="use the interface ssh, or a newer version",
        )

    @classmethod
    def ssh_config(cls, options: KernelOptions, directory: Path) -> str | None:
        """Text of the file CONFIG_NAME in that directory; None where ssh is not used."""
        return None

    @classmethod
    def ssh_program(cls, options: KernelOptions) -> list[str]:
        """The ssh to run."""
        return ["ssh"]

    @classmethod
    def way(cls, options: KernelOptions) -> str | None:
        """The host and the way there, for a person; None for this machine."""
        return None

    @classmethod
    def login_error(
        cls, options: KernelOptions, said: Sequence[str], real_name: Callable[[str], str]
    ) -> LoginError:
        """Why a login failed.

        Args:
            options: of the kernel.
            said: the lines that were printed.
            real_name: the host name that ssh's configuration gives to an alias.
        """
        return LoginError("the session ended before anything was run in it")


#: What every scheduler's interface can use.
SCHEDULER_USES = frozenset({"launch_cmd", "cpus", "launch_args", "tunnel_hosts"})
