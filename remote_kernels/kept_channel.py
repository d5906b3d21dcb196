"""A channel to a keeper: its session, its line, and the way back when the line breaks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from remote_kernels import errors, steps
from remote_kernels.asleep import SleepWatch
from remote_kernels.carrier import Line, Loop, Timer, take_lines, write_line
from remote_kernels.channel import Channel, ChannelError
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.base import lease_of
from remote_kernels.keeper import MESSAGES, MESSAGES_RANK, Order
from remote_kernels.keeper_text import (
    ELSEWHERE,
    GONE,
    KEEPER,
    NO_PLACE,
    NO_PYTHON,
    attachment,
    start_of_keeper,
)
from remote_kernels.life import LONGEST_SHOWN, Life, nonsense
from remote_kernels.lines import LONGEST_LINE, Lines
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import SharedLogin, place_for_sockets
from remote_kernels.way_back import WayBack
from remote_kernels.way_in import LOGIN_PATIENCE, kept_login, log_in

if TYPE_CHECKING:
    from remote_kernels.holding import Held

# After the kernel is gone, for what it left running over there.
_CLOSE_PATIENCE = 0.5
# Seconds that a session over a shared connection stays open over there after its kernel: a restart
# goes over the same connection.
_STAYS_FOR = 2

# sshd's default (MaxStartups 10:30:100) drops three of ten logins when ten are on their way.
_TRIES, _BURST_PAUSE = 4, 0.4

# A line on which nothing came for so long is taken for dead. It is looked at so often, and the
# other end is asked whether it is there.
_SILENCE, _BEAT = 9.0, 7.0
# The same when this machine has slept.
_WOKEN_SILENCE = 2.5
# For a login that is to lead back; one over a shared connection that hangs is to be left soon.
_ATTEMPT_PATIENCE, _SHARED_PATIENCE = 30.0, 8.0
_LOOK_FOR_LOGIN = 2.0
# From one host of a cluster to the next; what is sent at each has to find room.
_MOST_HOPS = 3
# A line may be to blame for what arrives on it; that so many lines in a row are, it is not.
_MOST_BROKEN = 3


class Login:
    """A session, from its start until a keeper speaks through it, and beyond.

    Attributes:
        session: the ssh, or the sh.
        said: the lines that came before the keeper.
        hops: how often it has gone on to another host.
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
        self.hops = 0
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
        self.said = [*self.said[-40:], line[:LONGEST_SHOWN]]
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
        found = self._lines.take_until(data, self._is_word)
        if found is not None:
            self._loop.watch(self.session.read_from)
            line, rest = found
            self._word(self, line[len(self._mark) :].decode("utf-8", "surrogateescape"), rest)

    def _is_word(self, line: bytes) -> bool:
        if line.startswith(self._mark):
            return True
        self._say(line.decode("utf-8", "replace").rstrip("\r"))
        return False


class KeptChannel:
    """A channel to the keeper that a session has started, which comes back by itself.

    Attributes:
        loop: in which all of the launcher waits.
        channel: to the keeper.
        on_message: takes what the keeper says.
        line: that the channel uses; None while there is none.
        over: there is nothing more to wait for.
        failure: why, if something has failed.
        has_no_python: the far side cannot run a keeper.
        carrier: the session through which the line goes.
    """

    def __init__(self, life: Life, place: PrivateDirectory, order: Order, hop: bytes = b"") -> None:
        """Prepare.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
            order: for the keeper.
            hop: is sent first, and lets what follows go on from the host to a node.
        """
        self.life = life
        self.loop = Loop()
        self.channel = Channel(order.token, order.on_terminal)
        self.on_message: Callable[[str], None] = life.log
        self._place = place
        self._hop = hop
        self._sent = start_of_keeper(order)
        self._messages = self.channel.open(MESSAGES, MESSAGES_RANK)
        take_lines(self._messages, self._on_message)
        self._login: Login | None = None  # on its way
        self.carrier: Login | None = None
        self.line: Line | None = None
        self._keeper_place = ("", "")  # its host, and the path of its socket
        self._way_back: WayBack | None = None
        self._shared: SharedLogin | None = None
        self._hanging_pid = 0  # of a shared connection
        self._tries = _TRIES
        self._alone = False  # not over a connection that is shared
        self._sleep = SleepWatch()
        self._pings = 0
        self._broken = 0  # lines, by what had arrived on them
        self._patience: Timer | None = None
        self._leaving = self._has_parted = False
        self.over = self.has_no_python = False
        self.failure: RemoteKernelsError | None = None

    # --- the way in -----------------------------------------------------------------------------

    def begin(self, session: PipeSession, shared: SharedLogin | None, stack: ExitStack) -> None:
        """Ask for the keeper.

        Args:
            session: that was started.
            shared: the connection that it shares.
            stack: takes what is to be done at the end.
        """
        stack.callback(self._close)
        self._use(session, shared)
        if shared is not None and shared.existed:
            self.loop.after(_SHARED_PATIENCE, self._on_silent_share)
        self._patience = self.loop.after(LOGIN_PATIENCE, self._on_silent_login)
        self._begin_to_look()

    def adopt(self, session: PipeSession, held: Held, stack: ExitStack) -> None:
        """Go on with the channel of a launcher that has ended.

        Args:
            session: of that launcher.
            held: what it has left.
            stack: takes what is to be done at the end.
        """
        stack.callback(self._close)
        for number, (sent, received) in held.positions.items():
            self.channel.streams[int(number)].restore(sent, received)
        self._keeper_place = (held.place[0], held.place[1])
        self._begin_line(self._login_through(session), b"")
        # On a line that is not new for the keeper it says HELLO only when it is asked.
        self.channel.ping(self._pings)
        self._begin_to_look()

    @property
    def place(self) -> tuple[str, str]:
        """The keeper's host, and the path of its socket there."""
        return self._keeper_place

    @property
    def is_away(self) -> bool:
        """Whether there is no line that works."""
        return self.line is None or self._way_back is not None

    def _begin_to_look(self) -> None:
        self._place.remove_stale()
        self.loop.before_waiting.insert(0, self._look_at_old_line)
        self.loop.after(_BEAT, self._beat)

    def _use(self, session: PipeSession, shared: SharedLogin | None) -> None:
        """Ask a session for the keeper, and wait for what it says."""
        self._shared = shared
        session.send(self._hop + b"".join(self._sent))
        self._login = self._login_through(session)

    def _login_through(self, session: PipeSession) -> Login:
        return Login(
            *(self.loop, session, self.life.mark),
            line=self._on_line,
            word=self._on_word,
            ended=self._on_session_end,
        )

    def _on_silent_share(self) -> None:
        # A connection that hangs hangs for all that go over it.
        if not self._keeper_place[0] and self._login is not None:
            self.life.log("the shared login is silent; logging in anew")
            self._login.close()
            self._use(*log_in(self.life, self._place.path, alone=True))

    def _on_silent_login(self) -> None:
        if self.life.is_asking:
            # For how long it waits for an answer, the far side decides.
            self._patience = self.loop.after(LOGIN_PATIENCE, self._on_silent_login)
            return
        self.fail(
            errors.LoginError(
                f"the far side did not start our program within {LOGIN_PATIENCE:.0f} s",
                said=self.life.said,
            )
        )

    def _on_line(self, line: str) -> None:
        self.life.line(line)

    def _on_word(self, login: Login, word: str, rest: bytes) -> None:
        """A session has said what it has come to."""
        if self.life.questions is not None:
            self.life.questions.end()
        if self._shared is not None and not word.startswith(NO_PYTHON):
            self._shared.logged_in()
        if word.startswith(KEEPER):
            self._keeper_place = place_of(word)
            self._begin_line(login, rest)
        elif self._way_back is not None:
            self._on_word_of_way_back(login, word)
        elif word.startswith(NO_PYTHON):
            self.has_no_python = self.over = True
        elif word.startswith(NO_PLACE):
            raise no_place(word)
        else:
            raise nonsense(word)

    def _on_word_of_way_back(self, login: Login, word: str) -> None:
        if word.startswith(GONE):
            self.fail(
                errors.ConnectionLostError(
                    f"the {self.life.kind} is not there any more: its machine was started anew, "
                    f"or its lease has run out ({word.partition(' ')[2]})"
                )
            )
        elif word.startswith(ELSEWHERE) and login.hops < _MOST_HOPS:
            self.life.log(f"going on to {self._keeper_place[0]}, where the kernel is")
            login.hops += 1
            login.session.send(b"".join(self._sent))
            login.wait()
        else:
            self.life.log(f"not yet back: over there it is said {word[:LONGEST_SHOWN]}")
            self._end_attempt()
            self._keep_trying()

    def _give_turn(self) -> None:
        if self._shared is not None:
            self._shared.give_turn()

    def _begin_line(self, login: Login, rest: bytes) -> None:
        """Let the channel go through a session in which the keeper speaks."""
        if self._patience is not None:
            self._patience.cancel()
        before, self.carrier, self._login = self.carrier, login, None
        if self.line is not None:
            self.line.close()
        descriptors = (login.session.read_from, login.session.write_to)
        self.line = Line(self.loop, self.channel, descriptors, self._on_line_end)
        if before is not None:
            before.close()
        if self._hanging_pid:
            # Nothing else would end it before it notices for itself, after a minute.
            with suppress(ProcessLookupError):
                os.kill(self._hanging_pid, signal.SIGKILL)
            self._hanging_pid = 0
        # ssh has what it needs of it; a launcher that is killed leaves nothing.
        self._place.remove()
        if self._way_back is not None:
            away = time.monotonic() - self._way_back.lost_at
            self.life.warn(f"remote-kernels: back at {self.life.way} after {away:.0f} s")
            self._end_way_back()
        self.line.take(rest)

    def give_up(self) -> PipeSession | None:
        """Leave the session to somebody else.

        Returns:
            The session, which waits for a line of sh; None where others cannot use it, too.
        """
        login, self._login = self._login, None
        assert login is not None
        login.leave()
        if self._shared is not None and self._shared.take_for(self._place.path):
            return login.session
        login.session.close()
        return None

    # --- while it lives -------------------------------------------------------------------------

    def turn(self) -> None:
        """Wait until something happens, and do what has to be done then."""
        try:
            self.loop.turn()
        except ChannelError as error:
            self._on_broken_rule(error)
        except RemoteKernelsError as error:
            self.fail(error)

    def _on_broken_rule(self, error: ChannelError) -> None:
        """What arrives is none of the channel's: another line may help, or none does."""
        self.life.log(f"the channel failed: {error}")
        self._broken += 1
        if self._leaving or (self._can_come_back and self._broken < _MOST_BROKEN):
            self._on_line_end()
        else:
            sentence = f"the keeper does not keep to the protocol: {error}"
            self.fail(errors.ConnectionLostError(sentence, said=self.life.said))

    def _on_message(self, line: str) -> None:
        if line:
            self.on_message(line)
        elif self._leaving:
            self.over = self._has_parted = True

    def tell(self, *words: str) -> None:
        """Say words to the keeper."""
        write_line(self._messages, *words)

    def leave(self, seconds: float = _CLOSE_PATIENCE) -> None:
        """Let the keeper end, and be over when it has, or in so many seconds."""
        if not self._leaving:
            self._leaving = True
            self.tell("END", str(_STAYS_FOR if self._shared is not None else 0))
            self.end_after(seconds)

    def part(self, seconds: float = _CLOSE_PATIENCE) -> None:
        """Leave a keeper that stays, with what it holds; be over when it lets us go, or soon."""
        if not self._leaving:
            self._leaving = self._has_parted = True
            self.tell("LEAVE", str(_STAYS_FOR if self._shared is not None else 0))
            self.end_after(seconds)

    def leave_now(self, seconds: float = _CLOSE_PATIENCE) -> None:
        """Let the keeper end, and wait for that, but not for long."""
        if not self.is_away and not self._leaving:
            self.over = False
            self.leave(seconds)
            while not self.over:
                self.turn()

    def let_go(self) -> None:
        """Leave the channel to a process that was forked from this one."""
        self._leaving = True
        if self.carrier is not None:
            self.carrier.session.let_go()

    def end_after(self, seconds: float) -> None:
        """Be over in so many seconds."""
        self.loop.after(seconds, self.end)

    def end(self) -> None:
        """Be over."""
        self.over = True

    def fail(self, error: RemoteKernelsError) -> None:
        """Be over, with an error; the first of them tells most."""
        self.failure = self.failure or error
        self.over = True

    def hope(self) -> None:
        """Try to get back now, if the line is lost."""
        if self._way_back is not None:
            self._way_back.hope()

    # --- when the line breaks -------------------------------------------------------------------

    def _beat(self) -> None:
        """Ask the keeper whether it is there, and notice when it was silent for too long."""
        slept = self._sleep.has_slept()
        self.loop.after(_BEAT, self._beat)
        if self.line is None or self._way_back is not None:
            if slept and self._way_back is not None:
                self._way_back.hope()
            return
        self._pings += 1
        self.channel.ping(self._pings)
        if slept:
            self.life.log("this machine has slept")
            self.loop.after(_WOKEN_SILENCE, lambda: self._look_for_silence(_WOKEN_SILENCE))
        self._look_for_silence(_SILENCE)

    def _look_for_silence(self, seconds: float) -> None:
        line = self.line
        if line is not None and time.monotonic() - line.heard_at >= seconds:
            self._abandon_connection()
            # It stays open: the end of a line that we close would be taken for our own.
            self._lose_line(f"has been silent for {seconds:.0f} s")

    def _abandon_connection(self) -> None:
        """A connection that hangs is for nobody; it ends when there is another way."""
        hanging = self._shared.abandon() if self._shared is not None else None
        if hanging is not None:
            # Else no kernel pays for it.
            from remote_kernels.ssh_connection import shared_connection_pid

            assert self.life.way is not None
            self._hanging_pid = shared_connection_pid(self.life.way.program, hanging)
            hanging.unlink(missing_ok=True)

    def _on_line_end(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None
        if self._leaving:
            self.over = self._has_parted = True
        elif self._way_back is None:
            self._lose_line("was lost")

    @property
    def _can_come_back(self) -> bool:
        return self.life.way is not None and lease_of(self.life.options) != 0

    def _lose_line(self, how: str) -> None:
        if not self._can_come_back:
            self.life.session_status = 255
            self.over = True
            return
        lease = lease_of(self.life.options)
        self.life.warn(f"remote-kernels: the line to {self.life.way} {how}; trying to get back")
        if self.life.spares:
            spares = " or ".join(self.life.spares)
            self.life.warn(f"remote-kernels: a restart of the kernel would go to {spares}")
        self._sent = attachment(*self._keeper_place, self.life.mark)
        self._way_back = WayBack(self.loop, self._attempt)
        self._line_was_heard_at = self.line.heard_at if self.line is not None else 0.0
        if lease is not None:
            self._patience = self.loop.after(lease, self._on_lease_end)

    def _on_lease_end(self) -> None:
        self.fail(
            errors.ConnectionLostError(
                f"there was no line to {self.life.way} for as long as the {self.life.kind} waits "
                "(--lease)",
                said=self._login.said if self._login is not None else (),
            )
        )

    def _attempt(self) -> None:
        """Log in anew, to the keeper that is there."""
        self._place = PrivateDirectory()
        self._use(*log_in(self.life, self._place.path, alone=self._alone, again=True))
        login = self._login

        def give_up() -> None:
            if self._login is login and self.life.is_asking:
                self.loop.after(_ATTEMPT_PATIENCE, give_up)
            elif self._login is login:
                # A connection that hangs hangs for all that go over it.
                self._alone = True
                self._end_attempt()
                self._keep_trying()

        self.loop.after(_ATTEMPT_PATIENCE if self._alone else _SHARED_PATIENCE, give_up)

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
            self.over = True
        elif login is self._login and self._way_back is None:
            self._give_turn()
            self.life.session_status = login.session.exit_status
            if not self._may_try_again(login):
                self.over = True
        elif login is self._login and self._is_needless():
            self._end_attempt()
            self._keep_trying()
        elif login is self._login:
            error = self.life.refusal(login.said, self._place.path)
            self.life.log(f"not yet back: {error.sentence}")
            self._end_attempt()
            if error.refused:
                self._on_refusal(error)
            else:
                self._keep_trying()

    def _may_try_again(self, login: Login) -> bool:
        """Make another first login, unless that would come to the same end.

        There is one over a connection that was made meanwhile, and one where sshd closed the first
        unseen, as it does when many come.
        """
        if self._tries == 0 or self.life.way is None:
            return False
        if not self._is_needless():
            asked = self.life.questions is not None and self.life.questions.asked
            error = self.life.refusal(login.said, self._place.path)
            unseen = login.session.exit_status == 255 and isinstance(error, errors.HostClosedError)
            if asked or not unseen:
                return False
        self._tries -= 1
        self.loop.after(_BURST_PAUSE * (1 + os.urandom(1)[0] / 255), self._log_in_again)
        return True

    def _is_needless(self) -> bool:
        return self.life.questions is not None and self.life.questions.elsewhere

    def _log_in_again(self) -> None:
        if self._login is not None:
            self._login.close()
        self.life.said.clear()
        self._use(*log_in(self.life, self._place.path))

    def _on_refusal(self, error: errors.LoginError) -> None:
        """A refused login is not tried again by itself: some servers then shut everybody out."""
        assert self._way_back is not None
        self._way_back.refused()
        error.step = steps.BACK
        error.advice += f"\n{self.life.advice_when_refused()}"
        self.life.warn(self.life.error_block(error))
        self._alone = False
        self._look_for_login(time.time())

    def _look_for_login(self, since: float) -> None:
        """After a refusal: go on when the person has logged in with ``remote-kernels login``."""
        if self._way_back is None or not self._way_back.was_refused:
            return
        assert self.life.way is not None
        kept = kept_login(self.life.way, place_for_sockets())
        if kept is not None and kept.is_open and kept.since > since:
            self._way_back.hope()
        else:
            self.loop.after(_LOOK_FOR_LOGIN, lambda: self._look_for_login(since))

    def _end_way_back(self) -> None:
        assert self._way_back is not None
        self._way_back.end()
        self._way_back = None
        self._alone = False

    def _look_at_old_line(self) -> None:
        """A line that was silent may speak again before there is another."""
        if self._way_back is None or self.line is None:
            return
        if self.line.heard_at > self._line_was_heard_at:
            self.life.warn(f"remote-kernels: {self.life.way} answers again")
            self._end_way_back()
            self._end_attempt()
            if self._patience is not None:
                self._patience.cancel()

    def _close(self) -> None:
        """Leave nothing of ours on this machine."""
        self._leaving = True
        if self.line is not None:
            self.line.flush()
        if self.line is not None:
            # Its end has not shown yet.
            self.line.close()
        if self.carrier is not None and self._has_parted and self._shared is not None:
            # Others may go through its ssh, which ends when nobody does.
            self.carrier.leave()
            self.carrier.session.let_go()
        elif self.carrier is not None:
            self.carrier.close()
        if self._login is not None:
            self._login.close()
        self._place.remove()


def place_of(word: str) -> tuple[str, str]:
    """The host of a keeper and the path of its socket, as it says them.

    Raises:
        ConnectionLostError: it does not.
    """
    match word.split(" ", 2):
        case [_, host, path]:
            return host, path
    raise nonsense(word)


def no_place(word: str) -> RemoteKernelsError:
    """The error where a keeper says that it has no directory of its own.

    Args:
        word: that it says.
    """
    return errors.ConnectionCopyError(
        f"no private directory can be made over there: {word.partition(' ')[2]}",
        advice="make room there, or let TMPDIR name a directory that can be written to",
    )
