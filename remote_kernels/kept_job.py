"""The life of a kernel that a keeper holds, in a job.

A keeper on the login host holds the scheduler's command, and one on the node, in the job's
terminal, the kernel. The channel to the second goes through that terminal, which is a stream of the
channel to the first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from remote_kernels import errors
from remote_kernels.allocation import Allocation
from remote_kernels.carrier import StreamLine, Timer, take_lines, write_line
from remote_kernels.channel import TOKEN_SIZE, Channel, ChannelError, Stream
from remote_kernels.command_keeper import TERMINAL_RANK, CommandOrder
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.holding import RELEASE_PATIENCE, Held, Holder
from remote_kernels.interfaces.base import lease_of
from remote_kernels.interfaces.scheduler import Job, Scheduler
from remote_kernels.keeper import CLOSED_LEASE, FIRST_SOCKET, MESSAGES, MESSAGES_RANK, OUTPUT
from remote_kernels.keeper_order import about, kernel_order, order_for
from remote_kernels.keeper_text import (
    KEEPER,
    NO_PLACE,
    NO_PYTHON,
    SEND,
    attachment,
    start_of_keeper,
)
from remote_kernels.kept_channel import KeptChannel, no_place, place_of
from remote_kernels.kept_kernel import KeptKernel
from remote_kernels.kept_life import END_PATIENCE, KeptLife
from remote_kernels.kernel_keeper import KernelOrder
from remote_kernels.life import Life
from remote_kernels.lines import Lines
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import AdoptedPipeSession, PipeSession
from remote_kernels.shared_login import SharedLogin
from remote_kernels.shell_text import READY, to_receiver
from remote_kernels.wakeups import Wakeups

# For start-up files on the login host, and for our program on the node.
_ANSWER_PATIENCE = 120.0
# After a kernel has ended, for the node's receiver to say that it is still there.
_RECEIVER_PATIENCE = 3.0
# A job that ends takes the kernel with it, and the receiver a moment later.
_JOB_ENDS_TOO = 0.5
# For what the scheduler says of that.
_REASON_PATIENCE = 20.0
# What lies behind the login host only we can ask.
_PING_EVERY, _NODE_PATIENCE = 20.0, 50.0


class NodeStream:
    """A stream on which lines of text come first, and then a channel to the keeper on the node.

    Attributes:
        stream: of the channel to the login host.
        channel_line: that goes over it; None while lines of text do.
    """

    def __init__(
        self,
        kept: KeptChannel,
        stream: Stream,
        *,
        line: Callable[[NodeStream, str], bool],
        heard: Callable[[], None] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        """Wait for lines.

        Args:
            kept: whose stream it is.
            stream: of it.
            line: takes each line; whether what follows is a channel's.
            heard: called when text arrives, be it a whole line or not.
            ended: called when nothing arrives any more.
        """
        self.stream = stream
        self.channel_line: StreamLine | None = None
        self._kept, self._line, self._heard, self._ended = kept, line, heard, ended
        self._lines = Lines()
        self._parser: Channel | None = None
        self._is_answered = False
        stream.receiver = self._receive

    def answer(self, data: bytes) -> None:
        """Send what was asked for; who asks again and again gets nothing."""
        if not self._is_answered:
            self._is_answered = True
            self.stream.write(data)

    def carry(self, channel: Channel) -> None:
        """Let a channel go over it from here on."""
        self._parser = None
        self.channel_line = StreamLine(self._kept.loop, channel, self.stream)

    def drop_frames(self, channel: Channel) -> None:
        """Let the channel that went over it go another way; text may come beside what is left."""
        rest = channel.unread
        self.be_text()
        self._parser = Channel(channel.token, channel.on_terminal)
        self._parser.noise = self.text
        self._parser.receive(rest)

    def be_text(self) -> None:
        """Let what is under way go, and wait for lines again."""
        if self.channel_line is not None:
            self.channel_line.flush()
            self.channel_line.close()
            self.channel_line = None

    def text(self, data: bytes) -> None:
        """Take what is none of the channel's."""
        found = self._lines.take_until(data, self._is_last)
        if found is not None:
            assert self.channel_line is not None
            self.channel_line.take(found[1])

    def _is_last(self, line: bytes) -> bool:
        return self._line(self, line.decode("utf-8", "replace").rstrip("\r"))

    def _receive(self, data: memoryview) -> None:
        self.stream.consumed(len(data))
        try:
            self._take(data)
        except ChannelError as error:
            sentence = f"the keeper on the node does not keep to the protocol: {error}"
            self._kept.fail(errors.ConnectionLostError(sentence, said=self._kept.life.said))

    def _take(self, data: memoryview) -> None:
        if self.channel_line is not None and data:
            self.channel_line.take(bytes(data))
        elif self._parser is not None:
            self._parser.receive(bytes(data))
        elif data:
            if self._heard is not None:
                self._heard()
            self.text(bytes(data))
        if not data and self._ended is not None:
            self._ended()


class KeptJob(KeptLife):
    """One kernel in a job."""

    def __init__(
        self, life: Life, place: PrivateDirectory, taken: tuple[Held, list[int]] | None
    ) -> None:
        """Prepare; see :class:`KeptLife`.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
            taken: the session of the kernel that was there before; see
                :func:`~remote_kernels.holding.take_over`.
        """
        assert issubclass(life.interface, Scheduler)
        self.life = life
        self._taken = taken
        if taken is not None:
            life.mark = taken[0].mark
        self.allocation = Allocation(
            *(life.interface, life.options, life.mark),
            send=lambda data: self._terminal.stream.write(data),
            log=life.log,
            warn=life.warn,
            by_keeper=True,
        )
        token = bytes.fromhex(taken[0].token) if taken else os.urandom(TOKEN_SIZE)
        command = CommandOrder(["/bin/sh", "-c", self.allocation.program])
        self.channel = KeptChannel(life, place, order_for(life, command, token))
        self.channel.on_message = self.on_login_host
        stream = self.channel.channel.open(OUTPUT, TERMINAL_RANK)
        self._terminal = NodeStream(
            self.channel, stream, heard=self.allocation.on_output, line=self._on_terminal_line
        )
        order = order_for(life, self.order(), os.urandom(TOKEN_SIZE), on_terminal=True)
        self._sent_to_node = start_of_keeper(order)
        self._step: NodeStream | None = None
        self._node_place = ("", "")
        node = Channel(order.token, order.on_terminal)
        node.noise = self._terminal.text
        self._node_messages = node.open(MESSAGES, MESSAGES_RANK)
        self._node = node
        self.kernel = KeptKernel(
            *(life, self.channel.loop, node),
            tell=self._tell_node,
            ended=self._on_kernel_end,
            failed=self.channel.fail,
            is_away=lambda: self.channel.is_away,
        )
        take_lines(self._node_messages, self._on_node_message)
        self._told: tuple[Job | None, bool, str, dict[str, Any]] | None = None
        self._status: dict[str, Any] = {}
        self._alarm: Timer | None = None
        self._wakes_at: float | None = None
        self._answer: Timer | None = None
        self._kernel_has_ended = self._receiver_is_back = self._holds = False
        life.where = partial(self.allocation.where, life)

    def order(self) -> KernelOrder:
        """What the keeper on the node is to hold."""
        return kernel_order(self.life, self.allocation.cancel_command)

    # --- the way in -----------------------------------------------------------------------------

    def begin(self, login: tuple[PipeSession, SharedLogin | None] | None, stack: ExitStack) -> None:
        """See :class:`KeptLife`; without a login, go on in the job that was taken over."""
        if self._taken is not None:
            held, descriptors = self._taken
            self.channel.adopt(AdoptedPipeSession(descriptors), held, stack)
            self._go_on(held)
        super().begin(login, stack)
        self.channel.loop.before_waiting.append(self._set_alarm)
        self.channel.loop.after(_PING_EVERY, self._ping)

    def _go_on(self, held: Held) -> None:
        lease = lease_of(self.life.options)
        self.channel.tell("LEASE", "inf" if lease is None else str(lease))
        self.life.node = held.node
        self.allocation.go_on(held.job)
        self.life.log(f"restarting in {self.allocation.name_of_job()} on {held.node}")
        self._start_on_node()

    def _start_on_node(self) -> None:
        line, _ = self._sent_to_node
        self._terminal.stream.write(to_receiver(line.decode("utf-8", "surrogateescape")))
        self._expect_answer()

    def _expect_answer(self) -> None:
        self._stop_expecting()

        def fail() -> None:
            sentence = f"the far side did not start our program within {_ANSWER_PATIENCE:.0f} s"
            self.channel.fail(errors.LoginError(sentence, said=self.life.said))

        self._answer = self.channel.loop.after(_ANSWER_PATIENCE, fail)

    def _stop_expecting(self) -> None:
        if self._answer is not None:
            self._answer.cancel()

    def give_up(self) -> PipeSession | None:
        """See :class:`KeptLife`; others need a terminal."""
        session = super().give_up()
        if session is not None:
            session.close()
        return None

    # --- what is said ---------------------------------------------------------------------------

    def on_login_host(self, line: str) -> None:
        """Take what the keeper on the login host says."""
        self.life.log(f"login host: {line}")
        words = line.split()
        if words[:1] == ["HELLO"]:
            self._expect_answer()
        elif words[:1] == ["ASKED"]:
            self._on_wish(words[1:])
        elif words[:1] == ["EXIT"] and self.allocation.command_status is None:
            self.channel.fail(
                errors.ConnectionLostError(
                    f"what held the job on the login host has ended ({' '.join(words[1:])})",
                    said=self.life.said,
                    advice=self.allocation.advice_when_lost(),
                )
            )

    def _on_terminal_line(self, stream: NodeStream, text: str) -> bool:
        """Take a line of the terminal; whether a channel follows it."""
        before, event = self.life.line(text)
        if event:
            return self._on_word(stream, event)
        if self.allocation.on_node:
            if READY in before and self._kernel_has_ended:
                self._receiver_is_back = True
                self.channel.tell("KERNEL", "NO")
            self.allocation.note(before)
        elif self.allocation.on_line(before):
            self._start_on_node()
        return False

    def _on_word(self, stream: NodeStream, event: str) -> bool:
        words = event.split()
        if self.allocation.on_event(words, event):
            if self.allocation.waiting and self.life.stage == "login":
                self.life.stage = "queue"
                self._stop_expecting()
                self.life.said.clear()
        elif words == [SEND]:
            stream.answer(self._sent_to_node[1])
        elif words[:1] == [KEEPER]:
            self._stop_expecting()
            self.channel.tell("KERNEL", "YES")
            self._node_place = place_of(event)
            stream.carry(self._node)
            return True
        elif words == [NO_PYTHON]:
            self.channel.fail(
                errors.LoginError(
                    "the node has no Python 3.6 or newer, which carries the kernel's sockets",
                    advice="let ssh carry them: --channel forward",
                )
            )
        elif words[:1] == [NO_PLACE]:
            raise no_place(event)
        else:
            self.life.event(event)
        return False

    def _on_node_message(self, line: str) -> None:
        words = line.split()
        if words[:1] == ["STATUS"]:
            with suppress(ValueError):
                self._status = json.loads(bytes.fromhex(words[1]))
            return
        if words[:1] == ["HELLO"]:
            self.allocation.on_job_id(" ".join(words[2:]))
        self.on_message(line)
        if words == ["UP"] and self._step is None:
            # It may have been started anew, and the channel go through a step already.
            self._begin_step()

    def _on_wish(self, words: list[str]) -> None:
        """A person on the login host wants something of the kernel."""
        if words == ["INT"]:
            self.kernel.interrupt()
        elif words == ["STOP"] and not self._node_place[0]:
            sentence = f"the job was given back with '{self.life.stop_command}'"
            self.channel.fail(errors.KernelStoppedError(sentence))
        elif words in (["STOP"], ["RESTART"]):
            self._tell_node(words[0])

    def _tell_about(self) -> None:
        """Let the login host's keeper know what a person may ask there."""
        state = (self.allocation.job, self.allocation.waiting, self.life.node, self._status)
        if state == self._told:
            return
        self._told = state
        job, is_waiting, node, status = state
        told = {
            **about(self.life),
            "job": job.id if job is not None else "",
            "job_name": self.allocation.name,
            "says": str(job or "the job") if is_waiting else "",
            "node": node,
            "kernel": status,
        }
        self.channel.tell("ABOUT", json.dumps(told).encode().hex())

    def _tell_node(self, *words: str) -> None:
        write_line(self._node_messages, *words)

    # --- a quicker way than the terminal --------------------------------------------------------

    def _begin_step(self) -> None:
        """Enter the job on pipes, where its scheduler has a way to."""
        program = self.allocation.step_program(self.life.node)
        if not program:
            return
        # None that a launcher before us may have had.
        number = FIRST_SOCKET + int.from_bytes(os.urandom(3), "big")
        stream = self.channel.channel.open(number, TERMINAL_RANK)
        argv = "\0".join(["/bin/sh", "-c", program])
        self.channel.tell("RUN", str(number), argv.encode("utf-8", "surrogateescape").hex())
        self._step = NodeStream(
            self.channel, stream, line=self._on_step_line, ended=self._on_step_end
        )

    def _on_step_line(self, step: NodeStream, text: str) -> bool:
        """Take a line of what enters the job; whether the channel follows it."""
        before, event = self.life.line(text)
        if READY in before:
            step.answer(b"".join(attachment(*self._node_place, self.life.mark)))
        elif event.startswith(KEEPER) and not self._kernel_has_ended:
            self._terminal.drop_frames(self._node)
            step.carry(self._node)
            return True
        return False

    def _on_step_end(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.stream.end()
            if step.channel_line is not None:
                self.life.log("going on over the job's terminal")
                step.be_text()
                self._terminal.carry(self._node)

    # --- while it lives -------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        """Wake up when the allocation has something to do."""
        wake_at = self.allocation.wake_at()
        if wake_at == self._wakes_at:
            return
        self._wakes_at = wake_at
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if wake_at is not None:
            wait = max(0.0, wake_at - time.monotonic())
            self._alarm = self.channel.loop.after(wait, lambda: None)

    def _ping(self) -> None:
        """Ask the keeper on the node whether it is there."""
        now = time.monotonic()
        self.channel.loop.after(_PING_EVERY, self._ping)
        line = self._terminal.channel_line
        if self._step is not None and self._step.channel_line is not None:
            line = self._step.channel_line
        if line is None:
            return
        if self.channel.is_away:
            line.heard_at = now
        silent = now - line.heard_at
        if silent >= _NODE_PATIENCE:
            sentence = f"the node {self.life.node} has not answered for {silent:.0f} s"
            self.channel.fail(errors.NodeSilentError(sentence, said=self.life.said))
        self._node.ping(int(now))

    def interrupt(self) -> None:
        """See :class:`KeptLife`."""
        if self.allocation.waiting:
            job = self.allocation.job
            self.life.warn(f"remote-kernels: still waiting for {job or 'the job'}")
        else:
            self.kernel.interrupt()

    def terminate(self) -> None:
        """See :class:`KeptLife`."""
        if self.life.stage in ("login", "queue"):
            self.channel.end()
        else:
            self.kernel.terminate()
            self.channel.end_after(END_PATIENCE)

    def _on_kernel_end(self) -> None:
        if not self._kernel_has_ended:
            self._kernel_has_ended = True
            self._tell_node("END")
            for stream in (self._step, self._terminal):
                if stream is not None and stream.channel_line is not None:
                    stream.drop_frames(self._node)

    def carry_until_the_end(self, wakeups: Wakeups) -> None:
        """See :class:`KeptLife`."""
        self.listen_to(wakeups)
        try:
            self._turn_until(lambda: self._kernel_has_ended or self.allocation.over)
            if self.channel.has_no_python:
                return
            if self._kernel_has_ended:
                self._leave_node(hold=not wakeups.jupyter_died)
            error = self._error()
            if error is not None and self.life.copy_path and not self.life.was_left:
                # The scheduler may have killed the keeper on the node before it could.
                path = self.life.copy_path.encode("utf-8", "surrogateescape")
                self.channel.tell("FORGET", path.hex())
        finally:
            if not self._holds:
                self.channel.leave_now()
        if error is not None and not self.life.terminated_by:
            raise error

    def _turn_until(self, enough: Callable[[], bool]) -> None:
        while not self.channel.over and not enough():
            self.channel.turn()
            self.allocation.act()
            self._tell_about()

    def _error(self) -> RemoteKernelsError | None:
        """What has ended the job; None if it was the kernel that ended."""
        if self.channel.failure is not None:
            return self.channel.failure
        return None if self._receiver_is_back else self.allocation.error(self.life)

    # --- leaving the node -----------------------------------------------------------------------

    def _leave_node(self, *, hold: bool) -> None:
        """After the kernel: see whether the job is still there, and hold it for a restart."""
        self._turn_for(
            _RECEIVER_PATIENCE,
            lambda: (self._receiver_is_back and self._is_quiet()) or self.allocation.over,
        )
        if self._receiver_is_back and self.life.far_status:
            self._turn_for(_JOB_ENDS_TOO, self.allocation.is_ending)
            self._receiver_is_back = not self.channel.over and not self.allocation.is_ending()
        if not self._receiver_is_back and self.allocation.is_ending():
            # The scheduler is asked why.
            self._turn_for(_REASON_PATIENCE, lambda: self.allocation.over)
        if hold and self._receiver_is_back and self._is_quiet():
            self.hold()

    def _is_quiet(self) -> bool:
        """Whether nothing but the terminal is carried, which waits."""
        only_ours = set(self.channel.channel.streams) == {MESSAGES, OUTPUT}
        return only_ours and not self.channel.is_away

    def _turn_for(self, seconds: float, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        timer = self.channel.loop.after(seconds, lambda: None)
        self._turn_until(lambda: enough() or time.monotonic() >= deadline)
        timer.cancel()

    def hold(self) -> None:
        """Leave a process that holds the job, for a launcher that may come."""
        job = self.allocation.job.id if self.allocation.job else ""
        self.life.log(f"holding {self.allocation.name_of_job()} in case of a restart")
        # Should we be killed while we hold it.
        self.channel.tell("LEASE", str(CLOSED_LEASE))
        assert self.channel.line is not None
        assert self.channel.carrier is not None
        self.channel.line.flush()
        # Jupyter's ports are for the launcher that may come.
        self.kernel.close()
        held = Held(
            *(self.life.mark, self.life.node, job, self.life.connection.local_endpoints),
            token=self.channel.channel.token.hex(),
            place=self.channel.place,
            positions={str(n): p for n, p in self.channel.channel.positions.items()},
        )
        session = self.channel.carrier.session
        descriptors = [session.read_from, session.write_to, session.fileno()]
        give_back = partial(self.channel.leave_now, RELEASE_PATIENCE)
        Holder(held, descriptors, self.life.connection.path, give_back, self.life.log).stay_behind()
        self._holds = True
        self.channel.let_go()
