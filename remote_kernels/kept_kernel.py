"""A kernel with a keeper: its session, its channel, and the way back when the line breaks."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from remote_kernels import errors
from remote_kernels.carrier import Connection, Line, Loop, Timer, take_lines
from remote_kernels.channel import TOKEN_SIZE, Channel, ChannelError
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.base import lease_of
from remote_kernels.keeper import (
    FIRST_SOCKET,
    MESSAGES,
    MESSAGES_RANK,
    OUTPUT,
    OUTPUT_RANK,
    SOCKETS,
    SOCKETS_RANK,
)
from remote_kernels.keeper_text import (
    ELSEWHERE,
    GONE,
    KEEPER,
    NO_PYTHON,
    attachment,
    start_of_keeper,
)
from remote_kernels.life import Life
from remote_kernels.lines import LONGEST_LINE, Lines
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin
from remote_kernels.ssh_connection import shared_connection_pid
from remote_kernels.wakeups import Wakeups
from remote_kernels.way_back import WayBack
from remote_kernels.way_in import log_in

# An ssh that gives its login up says so; this is for a far side that accepts and then is silent.
_LOGIN_PATIENCE = 120.0
# The keeper gives a kernel 1.5 s to end in order; Jupyter kills us 2.5 s after it said SIGTERM.
_END_PATIENCE = 2.2
# After the kernel is gone, for what it left running over there.
_CLOSE_PATIENCE = 0.5

# sshd's default (MaxStartups 10:30:100) drops three of ten logins when ten are on their way.
_BURSTS, _BURST_PAUSE = 4, 0.4

# A line on which nothing came for so long is taken for dead. It is looked at so often, and the
# other end is asked whether it is there.
_SILENCE, _BEAT = 9.0, 5.0
# The same when this machine has slept.
_WOKEN_SILENCE = 2.5
# For a login that is to lead back; one over a shared connection that hangs is to be left soon.
_ATTEMPT_PATIENCE, _SHARED_PATIENCE = 30.0, 8.0
# Of what is refused a second attempt would make it worse.
_REFUSED = (
    errors.PermissionDeniedError,
    errors.HostKeyChangedError,
    errors.HostKeyUnknownError,
)


class Login:
    """A session, from its start until a keeper speaks through it, and beyond.

    Attributes:
        session: the ssh, or the sh.
        said: the lines that came before the keeper.
    """

    def __init__(
        self,
        loop: Loop,
        session: PipeSession,
        mark: str,
        *,
        line: Callable[[str], None],
        word: Callable[[Login, str, bytes], None],
        ended: Callable[[Login], None],
    ) -> None:
        """Wait for what is said.

        Args:
            loop: to wait in.
            session: that was started.
            mark: begins the line that we wait for.
            line: takes every line before it, and what the program itself says.
            word: takes what the line says, and the bytes behind it; the descriptor to read from
                is then for somebody else to watch.
            ended: called when the session has ended.
        """
        self._loop, self.session, self._line, self._word, self._ended = (
            *(loop, session, line, word, ended),
        )
        self._mark = f"{mark} ".encode()
        self._lines = Lines()
        self.said: list[str] = []
        loop.watch(session.fileno(), self._read_messages)
        self.wait()

    def wait(self) -> None:
        """Wait for a word of the far side."""
        self._loop.watch(self.session.read_from, self._read)

    def close(self) -> None:
        """End the session."""
        self.leave()
        self.session.close()

    def leave(self) -> None:
        """Wait for nothing any more."""
        for descriptor in self.session.descriptors:
            self._loop.watch(descriptor)
        self._loop.watch(self.session.write_to)

    def _say(self, line: str) -> None:
        self.said = [*self.said[-40:], line]
        self._line(line)

    def _read_messages(self) -> None:
        for line in self.session.read_messages():
            self._say(line)
        if not self.session.open:
            self._loop.watch(self.session.fileno())
            self._ended(self)

    def _read(self) -> None:
        # So much at once that what follows the mark is never cut as a line.
        data = os.read(self.session.read_from, LONGEST_LINE)
        if not data:
            # How it ended, its messages tell.
            self._loop.watch(self.session.read_from)
        lines = self._lines.take(data)
        for number, line in enumerate(lines):
            if line.startswith(self._mark):
                self._loop.watch(self.session.read_from)
                rest = b"\n".join([*lines[number + 1 :], self._lines.rest()])
                self._word(self, line[len(self._mark) :].decode("utf-8", "surrogateescape"), rest)
                return
            self._say(line.decode("utf-8", "replace").rstrip("\r"))


class KeptKernel:
    """One kernel with its keeper, as the launcher has it.

    Attributes:
        has_no_python: the far side cannot run a keeper.
    """

    def __init__(self, life: Life, place: PrivateDirectory) -> None:
        """Prepare.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
        """
        self.life = life
        self._place = place
        self._loop = Loop()
        self._token = os.urandom(TOKEN_SIZE)
        self._channel = Channel(self._token)
        self._messages = self._channel.open(MESSAGES, MESSAGES_RANK)
        self._output = self._channel.open(OUTPUT, OUTPUT_RANK)
        take_lines(self._messages, self._on_message)
        take_lines(self._output, self._on_output)
        self._login: Login | None = None  # on its way
        self._carrier: Login | None = None  # that the line goes through
        self._line: Line | None = None
        self._keeper_place = ("", "")  # its host, and the path of its socket
        self._way_back: WayBack | None = None
        self._shared: SharedLogin | None = None
        self._hanging_pid = 0  # of a shared connection
        self._bursts = _BURSTS
        self._alone = False  # not over a connection that is shared
        self._clocks = _clocks()
        self._pings = 0
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, Connection] = {}
        self._number = FIRST_SOCKET
        self._patience: Timer | None = None
        self._over = self._leaving = False
        self._failure: RemoteKernelsError | None = None
        self.has_no_python = False

    # --- the way in -----------------------------------------------------------------------------

    def begin(self, session: PipeSession, shared: SharedLogin | None, stack: ExitStack) -> None:
        """Ask for a keeper, and open Jupyter's ports.

        Args:
            session: that was started.
            shared: the connection that it shares.
            stack: takes what is to be done at the end.

        Raises:
            RemoteKernelsError: that cannot be done.
        """
        from remote_kernels.keeper_order import order_of

        stack.callback(self._close)
        self._sent = start_of_keeper(order_of(self.life, self._token))
        self._use(session, shared)
        if shared is not None and shared.existed:
            self._loop.after(_SHARED_PATIENCE, self._on_silent_share)
        self._patience = self._loop.after(_LOGIN_PATIENCE, self._on_silent_login)
        if self.life.interface.carries:
            self._listen()
        self._place.remove_stale()

    def _use(self, session: PipeSession, shared: SharedLogin | None) -> None:
        """Ask a session for the keeper, and wait for what it says."""
        self._shared = shared
        session.send(b"".join(self._sent))
        self._login = Login(
            *(self._loop, session, self.life.mark),
            line=self._on_line,
            word=self._on_word,
            ended=self._on_session_end,
        )

    def _on_silent_share(self) -> None:
        # A connection that hangs hangs for all that go over it.
        if self.life.stage == "login" and self._login is not None:
            self.life.log("the shared login is silent; logging in anew")
            self._login.close()
            self._use(*log_in(self.life, self._place.path, alone=True))

    def _on_silent_login(self) -> None:
        self._fail(
            errors.LoginError(
                f"the far side did not start our program within {_LOGIN_PATIENCE:.0f} s",
                said=self.life.said,
            )
        )

    def _on_line(self, line: str) -> None:
        self.life.line(line)

    def _on_word(self, login: Login, word: str, rest: bytes) -> None:
        """A session has said what it has come to."""
        if self._shared is not None:
            self._shared.logged_in()
        if word.startswith(KEEPER):
            _, host, path = word.split(" ", 2)
            self._keeper_place = (host, path)
            self._begin_line(login, rest)
        elif word.startswith(NO_PYTHON):
            self.has_no_python = self._over = True
        elif word.startswith(ELSEWHERE):
            self.life.log(f"going on to {self._keeper_place[0]}, where the kernel is")
            login.session.send(b"".join(self._sent))
            login.wait()
        elif word.startswith(GONE):
            self._fail(
                errors.ConnectionLostError(
                    "the kernel is not there any more: its machine was started anew, or its lease "
                    f"has run out ({word.partition(' ')[2]})"
                )
            )

    def _give_turn(self) -> None:
        if self._shared is not None:
            self._shared.give_turn()

    def _begin_line(self, login: Login, rest: bytes) -> None:
        """Let the channel go through a session in which the keeper speaks."""
        if self._patience is not None:
            self._patience.cancel()
        before, self._carrier, self._login = self._carrier, login, None
        if self._line is not None:
            self._line.close()
        descriptors = (login.session.read_from, login.session.write_to)
        self._line = Line(self._loop, self._channel, descriptors, self._on_line_end)
        if before is not None:
            before.close()
        if self._hanging_pid:
            # Nothing else would end it before it notices for itself, after a minute.
            with suppress(ProcessLookupError):
                os.kill(self._hanging_pid, signal.SIGKILL)
            self._hanging_pid = 0
        if self._way_back is not None:
            away = time.monotonic() - self._way_back.lost_at
            self.life.warn(f"remote-kernels: back at {self.life.way} after {away:.0f} s")
            self._end_way_back()
        # ssh has what it needs of it; a launcher that is killed leaves nothing.
        self._place.remove()
        self._line.take(rest)

    def give_up(self) -> PipeSession | None:
        """Leave the kernel to somebody else, with Jupyter's ports.

        Returns:
            The session, which waits for a line of sh; None where others cannot use it, too.
        """
        login, self._login = self._login, None
        assert login is not None
        login.leave()
        self._close_ports()
        if self._shared is not None:
            return login.session
        login.session.close()
        return None

    # --- while it lives -------------------------------------------------------------------------

    def carry_until_the_end(self, wakeups: Wakeups) -> None:
        """Hold on until the kernel has ended.

        Args:
            wakeups: signals, and the end of Jupyter.

        Raises:
            RemoteKernelsError: it failed.
        """
        for descriptor in list(wakeups.descriptors):
            self._listen_to(wakeups, descriptor)
        self._loop.before_waiting.insert(0, self._look_at_old_line)
        self._loop.after(_BEAT, self._beat)
        while not self._over:
            try:
                self._loop.turn()
            except ChannelError as error:
                self.life.log(f"the channel failed: {error}")
                self._on_line_end()
        if self._failure is not None and not self.life.terminated_by:
            raise self._failure

    def _listen_to(self, wakeups: Wakeups, descriptor: int) -> None:
        def take() -> None:
            for signum in wakeups.take([descriptor]):
                self._on_signal(signum)
            if descriptor not in wakeups.descriptors:
                self._loop.watch(descriptor)

        self._loop.watch(descriptor, take)

    def _fail(self, error: RemoteKernelsError) -> None:
        self._failure = error
        self._over = True

    def _on_signal(self, signum: int) -> None:
        if signum == signal.SIGINT:
            if self.life.stage == "up":
                self.life.log("interrupt")
                self._tell("INT")
                if self._way_back is not None:
                    self._way_back.hope()
            else:
                # A kernel that does not listen yet runs no cell, and an interrupt would end it.
                self.life.log("interrupt: nothing runs yet")
            return
        self.life.log(f"ending the kernel: {signal.Signals(signum).name}")
        self.life.terminated_by = signum
        if self.life.stage == "login":
            self._over = True
            return
        self._tell("TERM")
        if self._way_back is not None:
            self._way_back.hope()
        self._loop.after(_END_PATIENCE, self._end)

    def _end(self) -> None:
        self._over = True

    def _tell(self, *words: str) -> None:
        self._messages.write(" ".join(words).encode() + b"\n")

    def _on_message(self, line: str) -> None:
        self.life.log(f"far side: {line}")
        if line == "PAUSED":
            self.life.warn(
                "remote-kernels: the kernel pauses, since so much of its output waits for the line "
                "(--spool)"
            )
        elif line == "GOES ON":
            self.life.warn("remote-kernels: the kernel goes on")
        self.life.event(line)
        self._leave_if_ended()

    def _on_output(self, line: str) -> None:
        _, event = self.life.line(line)
        if event:
            self.life.event(event)
        self._leave_if_ended()

    def _leave_if_ended(self) -> None:
        """When the kernel has ended and all its words are here, let the keeper end."""
        if self.life.far_status is None or not self._output.peer_ended or self._leaving:
            return
        self._leaving = True
        self._tell("END")
        self._loop.after(_CLOSE_PATIENCE, self._end)

    # --- when the line breaks -------------------------------------------------------------------

    def _beat(self) -> None:
        """Ask the keeper whether it is there, and notice when it was silent for too long."""
        before, self._clocks = self._clocks, _clocks()
        slept = (self._clocks[0] - before[0]) - (self._clocks[1] - before[1]) > 1
        self._loop.after(_BEAT, self._beat)
        if self._line is None or self._way_back is not None:
            if slept and self._way_back is not None:
                self._way_back.hope()
            return
        self._pings += 1
        self._channel.ping(self._pings)
        if slept:
            self.life.log("this machine has slept")
            self._loop.after(_WOKEN_SILENCE, lambda: self._look_for_silence(_WOKEN_SILENCE))
        self._look_for_silence(_SILENCE)

    def _look_for_silence(self, seconds: float) -> None:
        line = self._line
        if line is not None and time.monotonic() - line.heard_at >= seconds:
            self._abandon_connection()
            # It stays open: the end of a line that we close would be taken for our own.
            self._lose_line(f"has been silent for {seconds:.0f} s")

    def _abandon_connection(self) -> None:
        """A connection that hangs is for nobody; it ends when there is another way."""
        hanging = self._shared.abandon() if self._shared is not None else None
        if hanging is not None:
            assert self.life.way is not None
            self._hanging_pid = shared_connection_pid(self.life.way.program, hanging)
            hanging.unlink(missing_ok=True)

    def _on_line_end(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._leaving:
            self._over = True
        elif self._way_back is None:
            self._lose_line("was lost")

    def _lose_line(self, how: str) -> None:
        lease = lease_of(self.life.options)
        if self.life.way is None or lease == 0:
            self.life.session_status = 255
            self._over = True
            return
        self.life.warn(f"remote-kernels: the line to {self.life.way} {how}; trying to get back")
        self._sent = attachment(*self._keeper_place, self.life.mark)
        self._way_back = WayBack(self._loop, self._attempt)
        self._line_was_heard_at = self._line.heard_at if self._line is not None else 0.0
        if lease is not None:
            self._patience = self._loop.after(lease, self._on_lease_end)

    def _on_lease_end(self) -> None:
        self._fail(
            errors.ConnectionLostError(
                f"there was no line to {self.life.way} for as long as the kernel waits (--lease)",
                said=self._login.said if self._login is not None else (),
            )
        )

    def _attempt(self) -> None:
        """Log in anew, to the keeper that is there."""
        self._place = PrivateDirectory()
        self._use(*log_in(self.life, self._place.path, alone=self._alone, again=True))
        login = self._login

        def give_up() -> None:
            if self._login is login:
                # A connection that hangs hangs for all that go over it.
                self._alone = True
                self._end_attempt()
                self._keep_trying()

        self._loop.after(_ATTEMPT_PATIENCE if self._alone else _SHARED_PATIENCE, give_up)

    def _keep_trying(self) -> None:
        if self._way_back is not None:
            self._way_back.failed()

    def _end_attempt(self) -> None:
        self._give_turn()
        login, self._login = self._login, None
        if login is not None:
            login.close()
        self._place.remove()

    def _on_session_end(self, login: Login) -> None:
        if self._leaving:
            self._over = True
        elif login is self._login and self._way_back is None:
            self._give_turn()
            self.life.session_status = login.session.exit_status
            if not self._is_burst(login):
                self._over = True
        elif login is self._login:
            error = self.life.refusal(login.said, self._place.path)
            self.life.log(f"not yet back: {error.sentence}")
            self._end_attempt()
            if isinstance(error, _REFUSED):
                self._on_refusal(error)
            else:
                self._keep_trying()

    def _is_burst(self, login: Login) -> bool:
        """Try the first login again where sshd closed it unseen, as it does when many come."""
        if self._bursts == 0 or self.life.way is None or login.session.exit_status != 255:
            return False
        error = self.life.refusal(login.said, self._place.path)
        if not isinstance(error, errors.HostClosedError):
            return False
        self._bursts -= 1
        self._loop.after(_BURST_PAUSE * (1 + os.urandom(1)[0] / 255), self._log_in_again)
        return True

    def _log_in_again(self) -> None:
        if self._login is not None:
            self._login.close()
        self.life.said.clear()
        self._use(*log_in(self.life, self._place.path))

    def _on_refusal(self, error: errors.LoginError) -> None:
        """A refused login is not tried again by itself: some servers then shut everybody out."""
        assert self._way_back is not None
        self._way_back.refused()
        error.stage = "getting back to the kernel"
        error.advice += "\nthen interrupt the kernel: that makes another attempt"
        self.life.warn(self.life.error_block(error))

    def _end_way_back(self) -> None:
        assert self._way_back is not None
        self._way_back.end()
        self._way_back = None
        self._alone = False

    def _look_at_old_line(self) -> None:
        """A line that was silent may speak again before there is another."""
        if self._way_back is None or self._line is None:
            return
        if self._line.heard_at > self._line_was_heard_at:
            self.life.warn(f"remote-kernels: {self.life.way} answers again")
            self._end_way_back()
            self._end_attempt()
            if self._patience is not None:
                self._patience.cancel()

    # --- the sockets ----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Open the five sockets that Jupyter connects to."""
        info = self.life.connection.info
        for index, name in enumerate(SOCKETS):
            endpoint = self.life.connection.local_endpoint(name)
            try:
                listener = _listening(str(info.get("ip") or "127.0.0.1"), endpoint, info[name])
            except OSError as error:
                raise errors.ForwardError(
                    "Jupyter's ports on this machine cannot be opened",
                    said=[f"{endpoint}: {error.strerror}"],
                    advice="look for another program that holds these ports (ss -tlnp); "
                    "start the kernel again for new ones",
                ) from None
            self._listeners.append(listener)
            self._watch_listener(listener, index)

    def _watch_listener(self, listener: socket.socket, index: int) -> None:
        def accept() -> None:
            try:
                connection = listener.accept()[0]
            except OSError:
                # It has gone again, or there are no descriptors left.
                return
            self._carry(connection, index)

        self._loop.watch(listener.fileno(), accept)

    def _carry(self, near: socket.socket, index: int) -> None:
        """Carry a connection that Jupyter has made to one of the sockets."""
        number = self._number
        self._number += 1
        if near.family != socket.AF_UNIX:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream = self._channel.open(number, SOCKETS_RANK + index)
        except ChannelError:
            near.close()
            return
        self._tell("OPEN", str(number), str(index))

        def closed() -> None:
            self._connections.pop(number, None)

        self._connections[number] = Connection(self._loop, near, stream, closed)

    def _close(self) -> None:
        """Leave nothing of ours on this machine."""
        if self._line is not None:
            self._line.flush()
            self._line.close()
        for login in (self._login, self._carrier):
            if login is not None:
                login.close()
        self._close_ports()
        self._place.remove()

    def _close_ports(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()
        for listener in self._listeners:
            self._loop.watch(listener.fileno())
            _close_listener(listener)
        self._listeners = []


def _listening(ip: str, endpoint: str, port: int) -> socket.socket:
    """A socket that listens where Jupyter expects one of the kernel's."""
    if endpoint == f"{ip}-{port}":
        with suppress(OSError):
            if stat.S_ISSOCK(os.stat(endpoint).st_mode):
                os.unlink(endpoint)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(endpoint)
        finally:
            os.umask(before)
        listener.listen()
    else:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        listener = socket.create_server((ip, port), family=family)
    listener.setblocking(False)
    return listener


def _close_listener(listener: socket.socket) -> None:
    if listener.family == socket.AF_UNIX:
        with suppress(OSError):
            os.unlink(listener.getsockname())
    listener.close()


def _clocks() -> tuple[float, float]:
    """One clock that goes on while this machine sleeps, and one that does not."""
    running = time.monotonic()
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME), running
    return time.time(), running
