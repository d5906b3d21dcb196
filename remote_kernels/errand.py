"""A session in which a program of ours over there is asked, and answers.

One login is enough for as many questions as there are; :mod:`~remote_kernels.answers` is the other
end. It goes over the connection that kernels share, or makes one for them.
"""

from __future__ import annotations

import json
import os
import select
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from remote_kernels import errors
from remote_kernels.answers import DONE, FAIL, TELL
from remote_kernels.keeper_text import NO_PYTHON, start_of_program
from remote_kernels.kernel_log import printable
from remote_kernels.lines import LONGEST_LINE
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.questions import Answerer, Questions, find_answerer
from remote_kernels.refusals import why_refused
from remote_kernels.session import PipeSession
from remote_kernels.shared_login import KeptLogin, SharedLogin
from remote_kernels.shell_text import BOOTSTRAP
from remote_kernels.way import NOT_SHARED, OPTIONS, Way
from remote_kernels.way_in import LOGIN_PATIENCE, prepare

# For an answer, or a part of one.
_PATIENCE = 120.0
# An answer, packed and unpacked, in bytes: the far side may be anything.
_LARGEST, _LARGEST_UNPACKED = 1 << 25, 1 << 28
# For an ssh whose session has ended to say why.
_LAST_WORDS = 2.0
# Lines that are remembered.
_MOST_SAID = 40
# So long the session stays open behind us, so that what comes next needs no login.
_STAYS_FOR = 2


class Errand:
    """A session to a host, for questions. Use it in a ``with`` block.

    Attributes:
        node: the name that the host gives to itself.
    """

    def __init__(
        self,
        way: Way | None,
        modules: Sequence[str],
        log: Callable[[str], None],
        *,
        alone: bool = False,
        hop: bytes = b"",
        options: Sequence[str] | None = None,
        answerer: Answerer | None = None,
        **how: Any,
    ) -> None:
        """Prepare.

        Args:
            way: to the host; None for this machine.
            modules: of ours that the program over there consists of; the last has its FUNCTIONS.
            log: takes ASKING, and ASKED when that has come to an end; see
                :mod:`~remote_kernels.questions`.
            alone: over a connection of its own.
            hop: is sent first, and lets what follows go on from the host to a node.
            options: said to ssh with -o, in place of the usual ones.
            answerer: of what ssh asks; None for whoever can be found.
            how: see :func:`~remote_kernels.way_in.write_config`.
        """
        self._how, self._hop = how, hop
        self._options, self._answerer = options, answerer
        self._way, self._modules, self._log, self._alone = way, modules, log, alone
        self._mark = f"@rk-{os.urandom(8).hex()}"
        self._said: list[str] = []
        self._data = bytearray()
        self._questions: Questions | None = None
        self._shared: SharedLogin | None = None
        self._kept: KeptLogin | None = None
        self.node = ""

    def __enter__(self) -> Errand:
        self._place = PrivateDirectory()
        try:
            self._log_in()
        except BaseException:
            self._place.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shared is not None and self._session.open:
            # Others may go through its ssh, which ends when nobody does.
            os.close(self._session.write_to)
            os.close(self._session.read_from)
            self._session.let_go()
        else:
            self._session.close()
        self._place.remove()

    def ask(
        self,
        name: str,
        *arguments: Any,
        told: Callable[[Any], None] | None = None,
        patience: float | None = None,
    ) -> Any:
        """Ask for something, and wait for it.

        Args:
            name: of one of the program's FUNCTIONS.
            arguments: for it, as JSON has them.
            told: takes each part of the answer but the last, as it comes.
            patience: seconds for each part of the answer; None for as long as a look around may
                take.

        Returns:
            The last part of the answer; None if there is none.

        Raises:
            RemoteKernelsError: that side says that it cannot, or is not there any more.
        """
        self._session.send(json.dumps([name, arguments]).encode("ascii") + b"\n")
        parts: list[Any] = []
        try:
            for found in self._answers(_PATIENCE if patience is None else patience):
                if told is not None and parts:
                    told(parts.pop())
                parts[:] = [found]
        except errors.RemoteKernelsError:
            # The last words say most about a failure.
            if told is not None and parts:
                told(parts.pop())
            raise
        return parts[-1] if parts else None

    # --- the way in -----------------------------------------------------------------------------

    def _log_in(self) -> None:
        stays_for = 0
        command = ["/bin/sh", "-c", BOOTSTRAP]
        if self._way is not None:
            answerer = self._answerer
            if answerer is None:
                answerer = find_answerer(os.environ, terminal_first=True)
            login = prepare(
                self._way, self._place.path, answerer, log=self._log, alone=self._alone, **self._how
            )
            self._questions, self._shared, self._kept = login
            stays_for = _STAYS_FOR if self._shared is not None else 0
            options: Sequence[str] = (*OPTIONS, NOT_SHARED) if self._alone else OPTIONS
            if self._options is not None:
                options = self._options
            command = self._way.command(self._place.path, BOOTSTRAP, options=options)
        self._session = PipeSession(command, self._questions)
        try:
            for part in (self._hop, *self._program(stays_for)):
                self._session.send(part)
            self._hear_node()
        except BaseException:
            self._session.close()
            raise
        finally:
            if self._questions is not None:
                self._questions.end()
            if self._shared is not None:
                self._shared.give_turn()

    def _program(self, stays_for: int) -> Iterable[bytes]:
        """What has to be sent so that our program runs over there."""
        call = f"answer({self._mark!a}, FUNCTIONS, {stays_for})"
        return start_of_program(self._modules, call, self._mark)

    def _hear_node(self) -> None:
        """Wait until our program tells where it runs."""
        kind, found = self._frame(LOGIN_PATIENCE)
        if kind != TELL:
            raise self._nonsense(kind)
        self.node = str(found)

    @property
    def _where(self) -> str:
        return "this machine" if self._way is None else str(self._way)

    def _ended(self) -> errors.RemoteKernelsError:
        if self._way is not None and not self.node:
            return why_refused(
                *(self._way, self._said[-20:], self._place.path, self._questions, self._kept)
            )
        sentence = "the connection broke" if self.node else "our program was not run over there"
        return errors.ConnectionLostError(sentence, host=self._where, said=self._said[-20:])

    def _nonsense(self, what: str) -> errors.RemoteKernelsError:
        if what.startswith(NO_PYTHON):
            return errors.ShellError(
                "there is no Python 3.6 or newer over there, which looks around for us",
                host=self._where,
                advice="install one there, or let the PATH of a command that ssh runs lead to it",
            )
        return errors.ConnectionLostError(
            f"the far side says what makes no sense: {printable(what[:200])}", host=self._where
        )

    # --- what is said ---------------------------------------------------------------------------

    def _answers(self, patience: float) -> Iterator[Any]:
        while True:
            kind, found = self._frame(patience)
            if kind == TELL:
                yield found
            elif kind == DONE:
                return
            else:
                raise errors.RemoteKernelsError(printable(str(found)), host=self._where)

    def _frame(self, patience: float) -> tuple[str, Any]:
        """The next frame: its kind, and what it holds.

        Raises:
            RemoteKernelsError: something else was said instead, or nothing.
        """
        mark = f"{self._mark} ".encode()
        while True:
            line = self._line(patience)
            if line.startswith(mark):
                break
            if line.strip():
                self._note([line.decode("utf-8", "replace").rstrip("\r")])
        word = line[len(mark) :].decode("utf-8", "replace")
        kind, _, size = word.partition(" ")
        # No more digits than Python reads.
        is_size = size.isdecimal() and len(size) < 20 and int(size) <= _LARGEST
        if kind not in (TELL, DONE, FAIL) or not is_size:
            raise self._nonsense(word)
        while len(self._data) < int(size):
            self._read(patience)
        data = bytes(self._data[: int(size)])
        del self._data[: int(size)]
        try:
            unpacked = zlib.decompressobj().decompress(data, _LARGEST_UNPACKED)
            return kind, json.loads(unpacked)
        except (ValueError, zlib.error, RecursionError):
            raise self._nonsense("what cannot be unpacked") from None

    def _line(self, patience: float) -> bytes:
        while (at := self._data.find(b"\n")) < 0 and len(self._data) < LONGEST_LINE:
            self._read(patience)
        at = LONGEST_LINE if at < 0 else at
        line = bytes(self._data[:at])
        del self._data[: at + 1]
        return line

    def _read(self, patience: float) -> None:
        """Wait until more has come.

        Raises:
            RemoteKernelsError: nothing does.
        """
        deadline = time.monotonic() + patience
        has_ended = False
        while not has_ended:
            if self._questions is not None and self._questions.is_open:
                # For how long it waits for an answer, the far side decides.
                deadline = time.monotonic() + patience
            left = deadline - time.monotonic()
            if left <= 0:
                sentence = f"nothing came within {patience:.0f} s"
                raise errors.ConnectionLostError(sentence, host=self._where, said=self._said[-20:])
            messages = self._session.fileno() if self._session.open else -1
            waits_for = [self._session.read_from, *([messages] if messages >= 0 else [])]
            ready = select.select(waits_for, [], [], min(left, 1.0))[0]
            if messages in ready:
                self._note(self._session.read_messages())
            if self._session.read_from in ready:
                data = os.read(self._session.read_from, 1 << 16)
                self._data += data
                if data:
                    return
                has_ended = True
        self._hear_last_words()
        raise self._ended()

    def _hear_last_words(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS
        while self._session.open and (left := deadline - time.monotonic()) > 0:
            select.select([self._session], [], [], left)
            self._note(self._session.read_messages())

    def _note(self, lines: Iterable[str]) -> None:
        """Remember what was said that is no answer, for who wants to know why this failed."""
        self._said += map(printable, lines)
        del self._said[:-_MOST_SAID]
