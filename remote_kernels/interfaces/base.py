"""What an interface is: a name, what it can use, and the way there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

from remote_kernels.errors import OptionsError
from remote_kernels.kernel_environment import KernelEnvironment
from remote_kernels.options import DECLARED, KernelOptions, given
from remote_kernels.resources import kibibytes, seconds
from remote_kernels.shell_text import BOOTSTRAP
from remote_kernels.way import NOT_SHARED, OPTIONS, Way

#: What means something where the kernel's sockets are carried.
CHANNEL_USES = frozenset(
    {
        *("channel", "transport", "lease", "spool", "no_share", "existing", "keep"),
        *("synced", "fallback", "probe_timeout"),
    }
)


class Interface:
    """One way to a kernel. Pure: it builds commands and reads texts, it runs nothing.

    Attributes:
        name: the value of ``--interface``.
        label: the beginning of the display name.
        name_part: what it puts into the kernel name; PBS never put anything.
        uses: fields of :class:`KernelOptions`, beside the general ones, that mean something to it.
        carries: the kernel's sockets have to be carried; otherwise Jupyter reaches them itself.
        terminal: the kernel's session is a job's terminal.
        job_variable: the variable that holds the job's id where the kernel runs; empty: no job.
        starts_with: fields that say how a kernel is started, and nothing of one that runs.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    name_part: ClassVar[str]
    uses: ClassVar[frozenset[str]]
    carries: ClassVar[bool] = True
    terminal: ClassVar[bool] = False
    job_variable: ClassVar[str] = ""
    starts_with: ClassVar[frozenset[str]] = frozenset(
        {
            *("kernel_cmd", "keep", "activate", "env", "precmd", "workdir", "transport"),
            *("synced", "fallback"),
        }
    )

    @classmethod
    def unusable(cls, options: KernelOptions) -> list[str]:
        """The names of the given fields of which this interface can make no use."""
        return [
            name for name in given(options) if name not in cls.uses and not DECLARED[name].general
        ]

    @classmethod
    def check(cls, options: KernelOptions) -> None:
        """Refuse what cannot work, before anything is written.

        Raises:
            OptionsError: an option is of no use here, or its value cannot be read.
        """
        for name in cls.unusable(options):
            flag = DECLARED[name].flags[0]
            raise OptionsError(f"the interface {cls.name} cannot use {flag}")
        for name, value in given(options).items():
            option = DECLARED[name]
            if option.choices and value not in option.choices:
                raise OptionsError(f"{option.flags[0]} is one of {', '.join(option.choices)}")
        for name in ("existing", "keep"):
            if name in given(options) and options.channel == "forward":
                flag = DECLARED[name].flags[0]
                raise OptionsError(f"{flag} needs a keeper, and cannot use --channel forward")
        for name in given(options) if options.existing is not None else ():
            if name in cls.starts_with:
                flag = DECLARED[name].flags[0]
                raise OptionsError(f"--existing starts no kernel, and cannot use {flag}")
        lease_of(options)
        spool_of(options)
        if options.probe_timeout is not None:
            seconds(options.probe_timeout, "--probe-timeout")
        KernelEnvironment.parse(options.activate, options.env)
        cls.way(options)
        cls.shell(options)

    @classmethod
    def way(cls, options: KernelOptions) -> Way | None:
        """The way to the machine on which the session begins; None for this machine.

        Raises:
            OptionsError: a host is no host, or ssh's arguments cannot be read.
        """
        return None

    @classmethod
    def shell(cls, options: KernelOptions) -> list[str]:
        """Argv of the shell that runs the kernel command; empty for the login shell over there."""
        return []

    @classmethod
    def left_behind(cls) -> tuple[str, ...]:
        """The variables that our commands set and the kernel must not have."""
        return ()

    @classmethod
    def session_command(cls, options: KernelOptions, directory: Path, bootstrap: str) -> list[str]:
        """Argv of the program that opens the session.

        Args:
            options: of the kernel.
            directory: a private one; where ssh is used, its configuration lies there.
            bootstrap: the command for the login shell over there.
        """
        way = cls.way(options)
        if way is None:
            return ["/bin/sh", "-c", bootstrap]
        return way.command(directory, bootstrap, terminal=cls.terminal)

    @classmethod
    def keeps(cls, options: KernelOptions) -> bool:
        """Whether a keeper is asked to start the kernel, unless there is no Python over there."""
        return options.channel != "forward"

    @classmethod
    def keeper_command(
        cls, options: KernelOptions, directory: Path, *, alone: bool = False
    ) -> list[str]:
        """Argv of the program that opens a session to a keeper.

        Args:
            options: of the kernel.
            directory: as for :meth:`session_command`.
            alone: over a connection of its own.
        """
        way = cls.way(options)
        if way is None:
            return cls.session_command(options, directory, BOOTSTRAP)
        return way.command(
            directory, BOOTSTRAP, options=(*OPTIONS, NOT_SHARED) if alone else OPTIONS
        )


def words(text: str, flag: str) -> list[str]:
    """The words of a command as a shell reads them.

    Args:
        text: the command.
        flag: of the option, for the error.

    Raises:
        OptionsError: quotation marks are not paired, or a command is empty.
    """
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise OptionsError(f"{flag} cannot be read: {error}") from None
    if not found and text:
        raise OptionsError(f"{flag} is empty")
    return found


def arguments(options: KernelOptions) -> list[str]:
    """The words of --remote-launch-args, which are followed by words of ours.

    Raises:
        OptionsError: they cannot be read, or would let nothing that follows be an option.
    """
    found = words(options.launch_args or "", "--remote-launch-args")
    if "--" in found:
        raise OptionsError("--remote-launch-args cannot hold '--': our own options follow")
    return found


def lease_of(options: KernelOptions) -> float | None:
    """--lease in seconds; None for ever.

    Raises:
        OptionsError: it is no time.
    """
    if options.lease in ("0", "forever"):
        return 0.0 if options.lease == "0" else None
    return float(seconds(options.lease or ("7d" if options.keep else "1h"), "--lease"))


def spool_of(options: KernelOptions) -> int:
    """--spool in bytes.

    Raises:
        OptionsError: it is no amount of memory.
    """
    return 1024 * kibibytes(options.spool or "1G", "--spool")
