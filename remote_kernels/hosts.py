"""A host as a person writes it: ``[user@]name[:port]``, with IPv6 addresses in brackets."""

from __future__ import annotations

import re
from typing import NamedTuple

from remote_kernels.errors import OptionsError

# ssh takes a destination that starts with "-" for an option (CVE-2017-1000117 and its like), hands
# "%" and quotes to ProxyCommand's shell, splits gateways at commas and ends them at "#". Jupyter
# puts a home in the place of a tilde at the beginning. What is not UTF-8 could not be shown.
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff,@/\\'\"`$;&|<>(){}\[\]*?!#~^=]+")
_USER = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff,:'\"`$;&|<>(){}\[\]*?!#]+")


class Host(NamedTuple):
    """A machine that ssh reaches.

    Attributes:
        name: host name, alias of the user's ssh configuration, or address (IPv6 without brackets).
        user: login name over there; None leaves it to ssh.
        port: port of the ssh server; None leaves it to ssh.
    """

    name: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """Read ``[user@]name[:port]``.

        More than one colon without brackets is an IPv6 address without a port.

        Raises:
            OptionsError: the text is no such thing, or could be taken for something else.
        """
        user, at, rest = text.rpartition("@")
        bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?", rest, re.DOTALL)
        if bracketed:
            name, port = bracketed.group(1), bracketed.group(2)
        elif rest.count(":") == 1:
            name, port = rest.split(":")
        else:
            name, port = rest, None
        if not _NAME.fullmatch(name) or name.startswith("-"):
            raise OptionsError(f"{text!r} is no host: write [user@]name[:port]")
        if at and (not _USER.fullmatch(user) or user.startswith(("-", "~"))):
            raise OptionsError(f"{text!r} has no usable user name: write [user@]name[:port]")
        if port is not None and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
            raise OptionsError(f"{text!r} has no usable port: write [user@]name[:port]")
        return cls(name, user if at else None, int(port) if port is not None else None)

    def __str__(self) -> str:
        """The text again, in the form that ssh's ProxyJump takes, too."""
        user = f"{self.user}@" if self.user is not None else ""
        name = f"[{self.name}]" if ":" in self.name else self.name
        port = f":{self.port}" if self.port is not None else ""
        return f"{user}{name}{port}"
