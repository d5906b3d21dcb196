"""The life of a kernel that a keeper holds, on the host of the session itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from remote_kernels.channel import TOKEN_SIZE
from remote_kernels.keeper_order import kernel_order, order_for
from remote_kernels.kept_channel import KeptChannel
from remote_kernels.kept_kernel import KeptKernel
from remote_kernels.life import Life
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin
from remote_kernels.wakeups import Wakeups

if TYPE_CHECKING:
    from remote_kernels.kept_kernels import KeptOrder
    from remote_kernels.kernel_keeper import KernelOrder
    from remote_kernels.server_keeper import ServerOrder
    from remote_kernels.visiting_keeper import VisitOrder

#: The keeper gives a kernel 1.5 s to end in order; Jupyter kills us 2.5 s after it said SIGTERM.
END_PATIENCE = 2.2


class KeptLife:
    """One kernel, from the answer of its session to its end.

    Attributes:
        life: of the kernel.
        channel: to the keeper that the session has started.
        kernel: at the end of it.
    """

    channel: KeptChannel
    kernel: KeptKernel

    def __init__(
        self,
        life: Life,
        place: PrivateDirectory,
        held: KernelOrder | KeptOrder | ServerOrder | VisitOrder | None = None,
        hop: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
            held: which kernel is wanted; None for a new one.
            hop: see :class:`~remote_kernels.kept_channel.KeptChannel`.

        Raises:
            OptionsError: the kernel command cannot be used.
        """
        self.life = life
        order = order_for(life, held or kernel_order(life), os.urandom(TOKEN_SIZE))
        self.channel = KeptChannel(life, place, order, hop)
        self.kernel = KeptKernel(
            *(life, self.channel.loop, self.channel.channel),
            tell=self.channel.tell,
            ended=self.channel.leave,
            failed=self.channel.fail,
            is_away=lambda: self.channel.is_away,
        )
        self.channel.on_message = self.on_message

    def on_message(self, line: str) -> None:
        """Take what the keeper says.

        Args:
            line: of words.
        """
        self.kernel.on_message(line)

    def begin(self, login: tuple[PipeSession, SharedLogin | None] | None, stack: ExitStack) -> None:
        """Ask for a keeper, and open Jupyter's ports.

        Args:
            login: see :func:`~remote_kernels.way_in.log_in`; None where none is needed.
            stack: takes what is to be done at the end.

        Raises:
            ForwardError: the ports are taken.
        """
        if login is not None:
            self.channel.begin(*login, stack)
        stack.callback(self.kernel.close)
        if self.life.interface.carries:
            self.open_ports(stack)

    def open_ports(self, stack: ExitStack) -> None:
        """Open the ports that Jupyter connects to.

        Args:
            stack: takes what is to be done at the end.

        Raises:
            ForwardError: they are taken.
        """
        self.kernel.listen()

    def carry_until_the_end(self, wakeups: Wakeups) -> None:
        """Hold on until the kernel has ended.

        Args:
            wakeups: signals, and the end of Jupyter.

        Raises:
            RemoteKernelsError: it failed.
        """
        self.listen_to(wakeups)
        while not self.channel.over:
            self.channel.turn()
        if self.channel.failure is None:
            return
        self.channel.leave_now()
        if not self.life.terminated_by:
            raise self.channel.failure

    def from_thread(self, call: Callable[[], None]) -> Callable[[], None]:
        """What another thread calls, once, to have something called in the loop.

        Args:
            call: is called there.
        """
        read, write = os.pipe()

        def take() -> None:
            self.channel.loop.watch(read)
            os.close(read)
            call()

        self.channel.loop.watch(read, take)
        return partial(os.close, write)

    def listen_to(self, wakeups: Wakeups) -> None:
        """Take signals from now on."""
        for descriptor in list(wakeups.descriptors):
            self._watch(wakeups, descriptor)

    def _watch(self, wakeups: Wakeups, descriptor: int) -> None:
        def take() -> None:
            for signum in wakeups.take([descriptor]):
                self._on_signal(signum)
            if descriptor not in wakeups.descriptors:
                self.channel.loop.watch(descriptor)

        self.channel.loop.watch(descriptor, take)

    def _on_signal(self, signum: int) -> None:
        if signum == signal.SIGINT:
            self.interrupt()
        else:
            self.life.log(f"ending the kernel: {signal.Signals(signum).name}")
            self.life.terminated_by = signum
            self.terminate()
        self.channel.hope()

    def interrupt(self) -> None:
        """Jupyter wants the cell that runs to be interrupted."""
        self.kernel.interrupt()

    def terminate(self) -> None:
        """Jupyter wants all to end, soon."""
        if self.life.stage == "login":
            self.channel.end()
        else:
            self.kernel.terminate()
            self.channel.end_after(END_PATIENCE)

    def part(self) -> None:
        """Leave what the keeper holds, which stays."""
        self.life.was_left = True
        self.channel.part()

    def give_up(self) -> PipeSession | None:
        """Leave the kernel to somebody else, with Jupyter's ports.

        Returns:
            The session, which waits for a line of sh; None where others cannot use it, too.
        """
        self.kernel.close()
        return self.channel.give_up()
