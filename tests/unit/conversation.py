"""A conversation with a scheduler, as an allocation takes part in it."""

from __future__ import annotations

import textwrap

from remote_kernels.allocation import Allocation
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.options import KernelOptions
from remote_kernels.shell_text import READY


def passed_on(text: str) -> str:
    """What a command prints, as the program on the login host passes it on (rk_line)."""
    return textwrap.dedent(text).strip("\n").replace("\n", " ") + " "


class Conversation:
    """An allocation, and all that it says."""

    def __init__(self, interface: type[Scheduler]) -> None:
        """Up to the moment in which the scheduler's command is run."""
        self.sent: list[bytes] = []
        self.logged: list[str] = []
        self.warned: list[str] = []
        self.allocation = Allocation(
            interface,
            KernelOptions(interface=interface.name, name="Python 3"),
            "@rk-0123456789abcdef",
            send=self.sent.append,
            log=self.logged.append,
            warn=self.warned.append,
        )
        self.allocation.on_line(READY)
        self.event("LOGIN login1")
        self.event("ASKED")
        self.logged.clear()

    def event(self, text: str) -> None:
        """Our program on the login host says something."""
        assert self.allocation.on_event(text.split(), text.partition(" ")[2])

    def look(self, text: str) -> None:
        """The scheduler's command that looks at jobs prints something."""
        self.event(f"LOOK {passed_on(text)}")

    def lines(self, text: str) -> None:
        """The scheduler's command that asks for the job prints something."""
        for line in textwrap.dedent(text).strip("\n").split("\n"):
            self.allocation.on_line(line)

    def ends(self, status: int, look_back: str = "") -> RemoteKernelsError:
        """The error, where there was no node before the command ended."""
        self.event(f"DONE {status}")
        if look_back:
            self.look(look_back)
        self.event("GONE")
        return self.allocation.refusal()
