"""The interface ``ssh``: the kernel runs on a host that ssh reaches."""

from __future__ import annotations

import re

from remote_kernels.errors import OptionsError
from remote_kernels.hosts import Host
from remote_kernels.interfaces.base import CHANNEL_USES, Interface, arguments, words
from remote_kernels.options import KernelOptions
from remote_kernels.way import Way

# What some ssh's Include reads otherwise, also in quotes.
_NOT_INCLUDED = re.compile(r"[\"\\*?\[\]$%\x00-\x1f\x7f]")


class Ssh(Interface):
    """The interface ``ssh``."""

    name = "ssh"
    label = "SSH"
    name_part = "ssh"
    uses = frozenset({"host", "launch_cmd", "launch_args", "tunnel_hosts"}) | CHANNEL_USES

    @classmethod
    def check(cls, options: KernelOptions) -> None:
        """Refuse what cannot work; see :meth:`Interface.check`."""
        if options.host is None:
            raise OptionsError("A host is required for ssh.")
        super().check(options)

    @classmethod
    def way(cls, options: KernelOptions) -> Way:
        """The way to the host, with the arguments that the person gave to ssh; see the base."""
        assert options.host is not None
        program = words(options.launch_cmd or "ssh", "--launch-cmd")
        args = arguments(options)
        users_config = None
        for position, arg in enumerate(args):
            if arg.startswith("-F"):
                width = 1 if len(arg) > 2 else 2
                users_config = arg[2:] or "".join(args[position + 1 : position + 2])
                del args[position : position + width]
                break
        if users_config is not None and _NOT_INCLUDED.search(users_config):
            raise OptionsError(
                f"--remote-launch-args: ssh cannot include a configuration of the name "
                f"{users_config!r}; give it another"
            )
        return Way(
            Host.parse(options.host),
            tuple(Host.parse(text) for text in options.tunnel_hosts),
            tuple(program),
            tuple(args),
            users_config,
        )
