"""A keeper: the program on the far side that holds what must outlive a session.

It carries that over the channel, and outlives its session: the next one finds it through a socket
in its private directory. It ends with what it holds, or when nobody has come back for as long as
the lease allows. What it holds is a kernel (:mod:`~remote_kernels.kernel_keeper`), or the command
of a scheduler (:mod:`~remote_kernels.command_keeper`).

The first stream of the channel carries lines of words in both directions, the second one what is
printed; remote-kernels-channel(7) has the words. Python 3.6, the standard library alone: it is sent
through the session, and never installed.
"""

import os
import select
import signal
import socket
import struct
import time

from remote_kernels.carrier import Line, Loop, Timer, numbers, take_lines, write_line
from remote_kernels.channel import FIRST_OF_LINE, Channel, ChannelError
from remote_kernels.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The streams that are there from the beginning, with the rank of the first.
MESSAGES, OUTPUT, FIRST_SOCKET = 0, 1, 2
MESSAGES_RANK = 0
#: Seconds that something is kept whose launcher has closed the line instead of losing it.
CLOSED_LEASE = 6.0
#: What is asked on the socket of a keeper, beside the descriptors that a session brings.
STATUS = "STATUS"
#: Seconds after the last word of a visitor.
VISIT_LASTS = 30.0
#: In the private directory, leads to what lies outside and has to go with it.
FILE_LINK = "file"
#: Seconds that a socket on the same host may take.
CONNECT_PATIENCE = 1.0
#: Seconds between two looks whether a line is alive, and how long it may be silent.
BEAT, SILENCE = 20.0, 75.0
# Of what is asked on its socket, in bytes.
_LONGEST_WORDS = 512
# No session stays open for an hour after its keeper.
_LONGEST_STAY = 3600
# A scheduler does not kill all at the same moment.
_RECEIVER_ENDS_TOO = 0.3
# Whether the sshd of a closed session lives on shows in less.
_SSHD_ENDS_TOO = 1.0

#: From one host of a cluster to another, where nobody can be asked.
HOP = (
    "ssh",
    "-T",
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=accept-new",
    "-oRemoteCommand=none",
)

# Where our private directory may lie, and how a socket's name ends that does not listen yet.
_PLACES = ["/tmp", "/var/tmp", "/dev/shm"]
_NOT_YET = "-"

_TWO = struct.Struct("@ii")  # descriptors

# Of a path that needs no quoting in any shell.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_.+,:=@%-")

# Its standard input is a pipe from the keeper, that says what is to be removed if that is killed.
_GUARD = r"""
trap '' HUP INT TERM
directory= group= file=
while IFS= read -r line; do
  case $line in
    "DIRECTORY "*) directory=${line#* } ;;
    "GROUP "*) group=${line#* } ;;
    "FILE "*) file=${line#* } ;;
    "DONE "*) exec sleep "${line#* }" ;;
  esac
done
if [ -n "$group" ]; then
  kill -TERM "-$group"
  kill -CONT "-$group"
  for try in 1 2 3 4 5 6 7 8 9 10; do kill -0 "-$group" || break; sleep 0.1; done
  kill -KILL "-$group"
fi
[ -n "$directory" ] || exit 0
[ -z "$file" ] || rm -f -- "$file"
rm -rf -- "$directory"
"""


class NoPlaceError(Exception):
    """There is no directory in which something of our own can be; says why."""


class Order:
    """What a keeper is told by the launcher.

    Attributes:
        held: what it is to hold, for the kind of keeper.
        mark: begins each line that is said for the launcher.
        token: of the channel.
        lease: seconds that a launcher that was lost is waited for; None: for ever.
        stays_near: the line cannot be lost, only closed.
        on_terminal: the first line is a job's terminal, without which there is no job. Another one
            may be brought beside it.
        about: what a person who asks is told of it: a text of JSON.
        keeps: what is held outlives its launcher, however that ends, for as long as the lease.
    """

    def __init__(
        self,
        held: object,
        *,
        mark: str,
        token: bytes,
        lease: "float | None",
        stays_near: bool,
        on_terminal: bool,
        about: str,
        keeps: bool,
    ) -> None:
        self.held = held
        self.mark = mark
        self.token = token
        self.lease = lease
        self.stays_near = stays_near
        self.on_terminal = on_terminal
        self.about = about
        self.keeps = keeps


class Keeper:
    """The channel to a launcher, and the sessions through which it comes.

    What is held belongs to the classes below: :meth:`begin`, :meth:`before_waiting`,
    :meth:`on_words`, :meth:`on_child`, :meth:`on_sigterm`, :meth:`finish` and :meth:`clean_up`.

    Attributes:
        loop: that waits.
        channel: to the launcher.
        directory: private.
        told_end: the launcher was told, or is to be, how what is held has ended.
        over: all is done.
        is_up: what is held has begun, and is worth to be kept.
        visited_at: when a visitor was heard of last, in seconds since 1970.
        visitor: the visitor's launcher, its process number and its machine; empty without one.
    """

    def __init__(self, order: Order, guard: int, parent: int) -> None:
        """Prepare; the first line is still to come.

        Args:
            order: what is to be done.
            guard: descriptor of the pipe to the guard.
            parent: process number of what has started us; on a terminal, the receiver.
        """
        self._order = order
        self._guards = [guard]
        self._guarded: dict[str, str] = {}
        self._since = time.time()
        self._about = order.about
        self.visited_at, self.visitor = 0.0, ""
        self._visiting_keeper = ""  # its socket
        self.loop = Loop()
        self.channel = Channel(order.token, order.on_terminal)
        self._noise = Lines()
        self.channel.noise = self._on_noise
        self._messages = self.channel.open(MESSAGES, MESSAGES_RANK)
        take_lines(self._messages, lambda line: self.on_words(line.split()))
        self._line: Line | None = None
        self._line_files: tuple[int, int] = (-1, -1)
        self._terminal: tuple[int, int] | None = None
        self._parent = parent
        self._passed = b""  # the last bytes that came on it beside another line
        self._session: socket.socket | None = None
        self._sshd = 0
        self._lease: Timer | None = None
        self._lease_seconds = order.lease
        self._heard_at = time.monotonic()  # from the terminal, beside another line
        self._stays_for = 0  # seconds that the first session stays open after us
        self.told_end = self.over = self.is_up = False
        self._listener = _private_listener()
        self._path = self._listener.getsockname()[: -len(_NOT_YET)]
        self.directory = os.path.dirname(self._path)
        _remove_stale(os.path.dirname(self.directory))
        self.tell_guards("DIRECTORY", self.directory)

    # --- its life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Begin, and stay until all is over."""
        try:
            self._watch_signals()
            self._listen()
            if self._order.on_terminal:
                self.loop.watch(self._guards[0], self._on_guard_end)
            if self._order.on_terminal or not self._order.stays_near:
                self.loop.after(BEAT, self._look_for_silence)
            self.begin()
            self.loop.before_waiting.insert(0, self.before_waiting)
            while not self.over:
                try:
                    self.loop.turn()
                except ChannelError:
                    self._line_ended()
        finally:
            self.clean_up()
            if self._terminal is not None:
                # The receiver may read from what is the same open file.
                os.set_blocking(self._terminal[0], True)
            _remove(self.directory)
            # What visitors had who were killed together with the step of a job.
            _remove_stale(os.path.dirname(self.directory))
            self.tell_guards("DONE", str(self._stays_for))
        # A session that stays open may show no end of the line.
        self._messages.end()
        if self._line is not None:
            self._line.flush()

    def begin(self) -> None:
        """Start what is held."""
        raise NotImplementedError

    def before_waiting(self) -> None:
        """Look after it, before each wait."""
        raise NotImplementedError

    def on_words(self, words: "list[str]") -> None:
        """Take what the launcher says.

        Raises:
            ChannelError: it makes no sense.
        """
        if words[:1] == ["END"]:
            (self._stays_for,) = numbers(words[1:] or ["0"], _LONGEST_STAY)
            self.finish()
        elif words[:1] == ["LEASE"]:
            # That of a launcher which waits for another to follow it.
            self._lease_seconds = _seconds(words[1:])
        elif words[:1] == ["ABOUT"]:
            self._about = from_hex(words[1:]).decode("utf-8", "replace")
        elif words[:1] == ["LEAVE"]:
            self._leave(*numbers(words[1:], _LONGEST_STAY))

    def _on_noise(self, data: bytes) -> None:
        """What is on a terminal beside the channel: the login host's keeper tells us what to do."""
        for line in self._noise.take(data):
            mark, _, word = line.decode("utf-8", "replace").rpartition(" ")
            if mark == self._order.mark:
                if word == "END":
                    self.finish()
                elif word == "LEAVE":
                    self._part()
                else:
                    self.on_wish(word)

    def on_child(self) -> None:
        """A process of ours has ended."""
        raise NotImplementedError

    def on_sigterm(self) -> None:
        """We were told to end."""
        raise NotImplementedError

    def on_silence(self) -> None:
        """Nobody holds the job any more in which this runs."""

    def finish(self) -> None:
        """End what is held, and be over then."""
        raise NotImplementedError

    def remove_files(self) -> None:
        """Remove what lies outside the private directory."""

    def clean_up(self) -> None:
        """Leave nothing of it."""
        raise NotImplementedError

    def _watch_signals(self) -> None:
        read, write = os.pipe()
        for descriptor in (read, write):
            os.set_blocking(descriptor, False)
        for signum in (signal.SIGHUP, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, _noted)
        signal.set_wakeup_fd(write)

        def take() -> None:
            if signal.SIGTERM in os.read(read, 512):
                self.on_sigterm()
            self.on_child()

        self.loop.watch(read, take)

    def tell(self, *words: str) -> None:
        """Say words to the launcher; empty ones are left out."""
        write_line(self._messages, *words)

    def tell_guards(self, kind: str, value: str) -> None:
        """Say to the guards what is to be removed if we cannot.

        Args:
            kind: DIRECTORY, GROUP or FILE; or DONE, and nothing is.
            value: which one, in the place of the one before.
        """
        self._guarded[kind] = value
        for guard in self._guards:
            _tell_guard(guard, f"{kind} {value}")

    def add_guard(self) -> None:
        """In a job: another guard, outside of its session and younger than what is held.

        Grid Engine 8.1 kills a job's processes in the order of their numbers, and may stop in the
        midst of it: its shepherd ends when the job's shell has.
        """
        if not (self._order.on_terminal or self._order.keeps):
            return
        theirs, ours = os.pipe()
        if os.fork() == 0:
            os.setsid()
            _become_guard(theirs)
        os.close(theirs)
        self._guards.append(ours)
        for kind, value in self._guarded.items():
            _tell_guard(ours, f"{kind} {value}")

    # --- sessions -------------------------------------------------------------------------------

    def begin_line(self, descriptors: "tuple[int, int]", sshd: int) -> bool:
        """Use a new session's line in place of the one before.

        Args:
            descriptors: to read and to write; ours from now on.
            sshd: process number of the sshd whose session it is; 0 if there is none.

        Returns:
            Whether it is still there; a launcher that has lost patience leaves it.
        """
        place = f"{os.uname().nodename} {self._path}"
        try:
            os.write(descriptors[1], f"\n{self._order.mark} KEEPER {place}\n".encode())
        except OSError:
            for descriptor in set(descriptors):
                os.close(descriptor)
            if self._line is None and self._lease is None:
                self._await_launcher(closed=True)
            return False
        if self._order.on_terminal and self._terminal is None:
            self._terminal = descriptors
        self._use_line(descriptors, sshd)
        return True

    def _use_line(self, descriptors: "tuple[int, int]", sshd: int) -> Line:
        self._end_line()
        self._end_session()
        self.on_line()
        if self._lease is not None:
            self._lease.cancel()
        self._line_files, self._sshd = descriptors, sshd
        self._line = Line(self.loop, self.channel, descriptors, self._line_ended)
        return self._line

    def _listen(self) -> None:
        self._listener.listen(8)
        os.rename(self._path + _NOT_YET, self._path)
        self.loop.watch(self._listener.fileno(), lambda: self._attach(self._listener.accept()[0]))

    def _attach(self, session: socket.socket) -> None:
        """A new session brings its descriptors, and stays for as long as its socket is open."""
        session.settimeout(CONNECT_PATIENCE)
        try:
            said, extra, _, _ = session.recvmsg(_LONGEST_WORDS, socket.CMSG_SPACE(_TWO.size))
            if not said:
                # Somebody has only looked whether we are there.
                session.close()
                return
            if not extra:
                self._answer(session, said.decode("ascii", "replace"))
                return
            (_, _, data), sshd = extra[0], int(said)
            read, write = _TWO.unpack(data)
        except (OSError, IndexError, ValueError, struct.error):
            session.close()
            return
        if self.begin_line((read, write), sshd):
            self._session = session
        else:
            session.close()

    def _answer(self, session: socket.socket, word: str) -> None:
        """Answer a program of the user's on this machine: how it stands, or that it is done."""
        if word == STATUS:
            # Not needed but here.
            import json

            answer = json.dumps({"about": json.loads(self._about), **self.status()})
        elif word in ("OUTPUT", "TAKE"):
            answer = self.missed(take=word == "TAKE")
        else:
            answer = "yes" if self.on_wish(word) else "no"
        session.sendall(answer.encode("ascii"))
        session.close()

    def status(self) -> "dict[str, object]":
        """How it stands, for a person."""
        left = None
        if self._lease is not None and self._lease.when is not None:
            left = max(0.0, self._lease.when - time.monotonic())
        return {
            "since": self._since,
            "connected": not self.is_alone,
            "lease": self._lease_seconds,
            "lease_left": left,
            "visitor": self.visitor or None,
        }

    def missed(self, *, take: bool) -> str:
        """What was published while nobody was there, as JSON; and forget it, if it is taken."""
        return "[]"

    def on_wish(self, word: str) -> bool:
        """Do what a person wants: STOP, INT or RESTART; whether that can be done here.

        Or take note of visitors: of one who wants to come back (CLAIM), is there (STAY), or has
        gone (AWAY). There is one at a time.
        """
        word, *rest = word.split(" ")
        if word == "STOP":
            self._tell_stopped()
            self.on_sigterm()
        elif word == "STOPPED":
            self._tell_stopped()
        elif word in ("CLAIM", "STAY", "AWAY"):
            return self._on_visitor(word, " ".join(rest[:2]), "".join(rest[2:3]))
        else:
            return False
        return True

    def _tell_stopped(self) -> None:
        """Let the launchers know that a person ends what is held: nobody is to start it again."""
        self.tell("STOPPED")
        if self._visiting_keeper:
            with socket.socket(socket.AF_UNIX) as visit:
                visit.settimeout(CONNECT_PATIENCE)
                try:
                    visit.connect(self._visiting_keeper)
                    visit.sendall(b"STOPPED")
                except OSError:
                    # It has gone.
                    pass

    def _on_visitor(self, word: str, visitor: str, keeper: str) -> bool:
        is_another = self._is_visited and visitor != self.visitor
        if is_another or (word == "CLAIM" and not self.is_alone):
            return False
        is_there = word != "AWAY"
        if not is_there and not self.visitor:
            # That is known, and its lease has begun.
            return True
        self.visited_at = time.time() if is_there else 0.0
        self.visitor, self._visiting_keeper = (visitor, keeper) if is_there else ("", "")
        self.on_parted()
        if self._line is None:
            self._await_launcher(closed=False)
        return True

    @property
    def _is_visited(self) -> bool:
        return time.time() - self.visited_at <= VISIT_LASTS

    @property
    def is_alone(self) -> bool:
        """Whether no launcher is there, on a line of ours or on another way."""
        return self._line is None and not self._is_visited

    def _leave(self, stays_for: int) -> None:
        """Let the launcher and its session go; what is held stays."""
        if len(self._guards) > 1:
            # The first guard is the session's process.
            guard = self._guards.pop(0)
            _tell_guard(guard, f"DONE {stays_for}")
            os.close(guard)
        self._part()

    def _part(self) -> None:
        self._end_line()
        self._end_session()
        self.on_parted()
        self._await_launcher(closed=False)

    def say_on(self, terminal: int, *words: str) -> bool:
        """Say words to the keeper at the other end of a job's terminal; whether it took them.

        Args:
            terminal: descriptor of our end.
            words: none for a sign of life.
        """
        line = " ".join((self._order.mark, *words)) if words else ""
        try:
            os.write(terminal, f"\n{line}\n".encode() if line else b"\n")
        except OSError:
            # The job ends, or nobody reads what was said before.
            return False
        return True

    def on_line(self) -> None:
        """A launcher is there, for the first time or again."""

    def on_parted(self) -> None:
        """The launcher does not come back; another may, by another way."""

    def _end_line(self) -> None:
        if self._line is None:
            return
        self._line.close()
        self._line = None
        if self._line_files == self._terminal:
            self.loop.watch(self._terminal[0], self._read_terminal)
        else:
            for descriptor in self._line_files:
                os.close(descriptor)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _read_terminal(self) -> None:
        """The launcher comes back to the terminal, or the job has lost it."""
        assert self._terminal is not None
        try:
            data = os.read(self._terminal[0], 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._terminal_ended()
            return
        self._heard_at = time.monotonic()
        # Of the line before there may still be something on its way.
        self._passed = self._passed[-len(FIRST_OF_LINE) :] + data
        begins = self._passed.find(FIRST_OF_LINE)
        if begins < 0:
            self._on_noise(data)
            return
        data, self._passed = self._passed[begins:], b""
        self._use_line(self._terminal, 0).take(data)

    def _look_for_silence(self) -> None:
        """Notice that nobody is at the other end, which neither sshd nor every scheduler does.

        The launcher asks whether we are there. While it is away from a job, the login host's keeper
        is heard on the terminal.
        """
        latest = time.monotonic() - SILENCE
        line_is_silent = self._line is None or self._line.heard_at < latest
        if self._order.on_terminal and line_is_silent and self._heard_at < latest:
            self._job_is_lost()
            return
        if not self._order.on_terminal and self._line is not None and line_is_silent:
            self._end_line()
            self._end_session()
            self._await_launcher(closed=False)
        self.loop.after(BEAT, self._look_for_silence)

    def _job_is_lost(self) -> None:
        self.on_silence()
        # The receiver ends of it, and the job with that.
        if _runs(self._parent):
            os.kill(self._parent, signal.SIGTERM)
        self.finish()

    def _on_guard_end(self) -> None:
        """Some schedulers kill what has the terminal, and then wait for us to leave it."""
        self.loop.watch(self._guards[0])
        self.loop.after(_RECEIVER_ENDS_TOO, self._look_after_receiver)

    def _look_after_receiver(self) -> None:
        if not _runs(self._parent):
            self._terminal_ended()

    def _terminal_ended(self) -> None:
        assert self._terminal is not None
        self.loop.watch(self._terminal[0])
        # Whatever ends the job may not let us live until the end of what we hold.
        self.remove_files()
        _remove(self.directory)
        self.finish()

    def _line_ended(self) -> None:
        if self._line is None:
            return
        closed = self._order.stays_near or not _is_gone(self._line_files[1])
        ends_job = self._line_files == self._terminal
        self._end_line()
        if ends_job:
            self._terminal_ended()
            return
        if self.told_end and closed:
            self.finish()
            return
        if self._terminal is None:
            self._await_launcher(closed)
            if not closed and self._sshd:
                # What the session is to wait for must not end before.
                self.loop.after(_SSHD_ENDS_TOO, self._look_after_sshd)
                return
        self._end_session()

    def _look_after_sshd(self) -> None:
        # The session was closed over there, if its sshd has nothing else to end of.
        if self._line is None:
            if _runs(self._sshd):
                self._await_launcher(closed=True)
            self._end_session()

    def _await_launcher(self, closed: bool) -> None:
        if self._lease is not None:
            self._lease.cancel()
        if closed and self._order.keeps and self.is_up:
            closed = False
            self.on_parted()
        lease = self._lease_seconds
        if closed:
            lease = CLOSED_LEASE if lease is None else min(lease, CLOSED_LEASE)
        if lease is not None:
            self._lease = self.loop.after(lease, self.finish)


def run(kind: "Callable[[Order, int, int], Keeper]", order: Order) -> None:
    """Begin a keeper on this session's standard input and output; does not return.

    Args:
        kind: of keeper.
        order: for it.
    """
    parent = os.getppid()
    guard, to_guard = os.pipe()
    line = _own_terminal() if order.on_terminal else (os.dup(0), os.dup(1))
    if os.fork():
        _become_guard(guard)
    os.setsid()
    os.close(guard)
    error = os.dup(2)
    to_null(0, 1, 2)
    try:
        keeper = kind(order, to_guard, parent)
        keeper.begin_line(line, _sshd_above(parent))
        keeper.run()
    except NoPlaceError as failure:
        os.write(line[1], f"\n{order.mark} NOPLACE {failure}\n".encode())
    except BaseException:
        # Not needed but then.
        import traceback

        os.write(error, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def attach(host: str, path: str, mark: str, command: str) -> None:
    """Bring this session's standard input and output to a keeper; does not return.

    Args:
        host: on which it is; behind one login name there may be several.
        path: of its socket.
        mark: begins what is said here.
        command: that waits over there for what was sent here.
    """
    if os.uname().nodename != host:
        os.write(1, f"\n{mark} ELSEWHERE {host}\n".encode())
        os.execvp("ssh", [*HOP, "--", host, command])
    keeper = socket.socket(socket.AF_UNIX)
    try:
        keeper.connect(path)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _TWO.pack(0, 1))
        keeper.sendmsg([str(_sshd_above(os.getppid())).encode()], [rights])
    except OSError as error:
        os.write(1, f"\n{mark} GONE {error.strerror}\n".encode())
        os._exit(0)
    _wait_instead_of_us(keeper.fileno(), ["cat"])


def _become_guard(descriptor: int) -> None:
    _wait_instead_of_us(descriptor, ["/bin/sh", "-c", _GUARD])


def _tell_guard(guard: int, line: str) -> None:
    try:
        os.write(guard, f"{line}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        # Somebody has killed it.
        pass


def _own_terminal() -> "tuple[int, int]":
    """The terminal of this session, opened once more: nobody else is to find it non-blocking."""
    try:
        terminal = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY)
    except OSError:
        # It is another user's.
        return os.dup(0), os.dup(1)
    return terminal, terminal


def _wait_instead_of_us(descriptor: int, argv: "list[str]") -> None:
    """Become a small program that waits for the end of what a descriptor gives."""
    os.dup2(descriptor, 0)
    to_null(1, 2)
    os.execvp(argv[0], argv)


def become(argv: "Sequence[str | bytes]", env: "dict[bytes, bytes] | None" = None) -> None:
    """In a child: run a program, of which nothing was said if there is none but in its output."""
    for signum in range(1, signal.NSIG):
        # Python ignores some signals, and so would what it becomes.
        if signum not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(signum, signal.SIG_DFL)
            except (OSError, ValueError):
                # Not every number is a signal's.
                pass
    os.closerange(3, 1024)
    try:
        os.execvpe(argv[0], list(argv), os.environ if env is None else env)
    except OSError as error:
        os.write(2, f"{argv[0]!a}: {error.strerror}\n".encode())
        os._exit(127)


def reaped(pid: int) -> "int | None":
    """How a child has ended, as a shell tells it; None while it runs."""
    pid, status = os.waitpid(pid, os.WNOHANG)
    if not pid:
        return None
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def to_null(*descriptors: int) -> None:
    """Let descriptors lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def needs_no_quotes(path: str) -> bool:
    """Whether a path is itself in every shell."""
    return set(path) <= _PLAIN


def _private_listener() -> socket.socket:
    """A socket that will listen, in a new directory of our own.

    The path of that leaves room for a socket's name.

    Raises:
        NoPlaceError: there is no place for it.
    """
    named = os.environ.get("TMPDIR", "")
    usable = len(named) <= 40 and needs_no_quotes(named) and os.path.isabs(named)
    failures = []
    for base in [named] * usable + _PLACES:
        directory = os.path.join(base, f"rk-{os.getpid()}-{os.urandom(5).hex()}")
        listener = socket.socket(socket.AF_UNIX)
        try:
            os.mkdir(directory, 0o700)
            # One that is there and does not listen is taken for a dead keeper's.
            listener.bind(os.path.join(directory, f"keeper{_NOT_YET}"))
            return listener
        except OSError as error:
            failures.append(f"{base}: {error.strerror}")
            listener.close()
            _remove(directory)
    raise NoPlaceError(", ".join(failures))


def _remove_stale(base: str) -> None:
    """Remove what keepers have left that were killed together with their guards."""
    try:
        names = os.listdir(base)
    except OSError:
        # Not everybody may look.
        return
    for name in names:
        if not name.startswith("rk-"):
            continue
        directory = os.path.join(base, name)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                if os.lstat(directory).st_uid == os.getuid():
                    probe.connect(os.path.join(directory, "keeper"))
            except ConnectionRefusedError:
                _remove_left_file(os.path.join(directory, FILE_LINK))
                _remove(directory)
            except OSError:
                # It has only begun, or is none of a keeper.
                pass


def _remove_left_file(link: str) -> None:
    try:
        path = os.readlink(link)
        if os.lstat(path).st_uid == os.getuid():
            os.unlink(path)
    except OSError:
        # There is none, or somebody else has removed it.
        pass


def _remove(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:
        # Somebody else has.
        pass


def _is_gone(descriptor: int) -> bool:
    """Whether nobody reads any more what is written here."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sshd_above(pid: int) -> int:
    """The nearest sshd among the ancestors of a process, itself included; 0 if there is none."""
    while pid > 1:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
        except OSError:
            return 0
        if name in (b"sshd", b"sshd-session"):
            return pid
        pid = int(rest.split()[1])
    return 0


def _seconds(words: "list[str]") -> "float | None":
    """A lease as it is said; None for ever.

    Raises:
        ChannelError: it is none.
    """
    try:
        (lease,) = map(float, words)
    except ValueError:
        lease = -1.0
    if not lease >= 0:
        raise ChannelError("no lease: {}".format(" ".join(words)[:100]))
    return None if lease == float("inf") else lease


def from_hex(words: "list[str]") -> bytes:
    """Bytes that are said in hexadecimal digits, since they may be anything.

    Args:
        words: of which there is to be one.

    Raises:
        ChannelError: they are no such digits.
    """
    try:
        (word,) = words
        return bytes.fromhex(word)
    except ValueError:
        raise ChannelError("these are no hexadecimal digits") from None


def _noted(signum: int, frame: object) -> None:
    """Its number is in the pipe already."""
