"""A session in which a program of sh over there is told lines, and says words.

A machine that only lets through, or only holds a port, need not have a Python.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Iterable
from typing import Any

from remote_kernels import errors
from remote_kernels.errand import Errand
from remote_kernels.shell_text import TELL, as_line
from remote_kernels.way import Way
from remote_kernels.way_in import LOGIN_PATIENCE

# For a word that is asked for.
_PATIENCE = 30.0
_NODE = "NODE"
# In bytes; it does not talk by itself.
_MOST_UNASKED = 1 << 20
# What ssh says from LogLevel=VERBOSE on; the gateways' ssh do not.
_LOGGED_IN = "Authenticated to "
_PARTLY = re.compile(r"Authenticated using \S+ with partial success")
_ACCEPTED = re.compile(r"debug1: Server accepts key: .*(SHA256:\S+)")
# No reason of a failure.
_ASIDE = re.compile(r"debug\d: |Authenticated |Transferred: |Bytes per second: ")


class ShellErrand(Errand):
    """A session to a host with a program of sh. Use it in a ``with`` block.

    Attributes:
        node: the name that the host gives to itself.
        logged_in: ssh got in, whatever came of the program; known if ssh tells (LogLevel).
        half_way: what it has shown was taken, and more is wanted; likewise.
        accepted: the fingerprint of the key with which it got in; likewise.
    """

    def __init__(
        self, way: Way | None, program: str, log: Callable[[str], None], **how: Any
    ) -> None:
        """Prepare.

        Args:
            way: to the host; None for this machine.
            program: of sh. It can call rk_tell with words for us, and reads what it is told from
                its standard input.
            log: see :class:`Errand`.
            how: likewise.
        """
        super().__init__(way, (), log, **how)
        self._text = program
        self._unasked = 0
        self.logged_in = self.half_way = False
        self.accepted = ""

    @property
    def asked(self) -> bool:
        """Whether ssh has asked somebody."""
        return self._questions is not None and self._questions.asked

    def tell(self, word: str) -> None:
        """Tell the program something.

        Args:
            word: one line.
        """
        self._session.send(f"{word}\n".encode())

    def hear(self, patience: float = _PATIENCE) -> list[str]:
        """The next words of the program.

        Args:
            patience: seconds until they come.

        Raises:
            RemoteKernelsError: they do not.
        """
        mark = f"{self._mark} "
        deadline = time.monotonic() + patience
        while True:
            asked = self._questions is not None and self._questions.is_open
            left = patience if asked else deadline - time.monotonic()
            line = self._line(max(left, 0.0)).decode("utf-8", "replace").rstrip("\r")
            if line.startswith(mark):
                return line[len(mark) :].split(" ")
            if line.strip():
                self._note([line])

    def hear_last_words(self) -> None:
        """Wait for the end of the program, and of what ssh says of it."""
        self._hear_last_words()

    def wait(self, seconds: float, *others: int) -> set[int]:
        """Wait, while nothing is asked of the program.

        Args:
            seconds: to wait at most.
            others: descriptors to wait for as well.

        Returns:
            Those of them that can be read.

        Raises:
            RemoteKernelsError: the session has ended.
        """
        messages = self._session.fileno() if self._session.open else -1
        own = [self._session.read_from, *([messages] if messages >= 0 else [])]
        ready = select.select([*own, *others], [], [], seconds)[0]
        if messages in ready:
            self._note(self._session.read_messages())
        if self._session.read_from in ready:
            self._take_unasked()
        if not self._session.open:
            raise self._ended()
        return {each for each in ready if each in others}

    def _take_unasked(self) -> None:
        """Take what the program says by itself: a few words of what it has called, or its end."""
        self._read(_PATIENCE)
        self._unasked += len(self._data)
        if self._unasked > _MOST_UNASKED:
            raise self._nonsense("more than it was asked for")
        self._note(self._data.decode("utf-8", "replace").splitlines())
        self._data.clear()

    def _program(self, stays_for: int) -> Iterable[bytes]:
        told = f"printf '\\n'; rk_tell {_NODE} \"$(uname -n)\""
        return [as_line(f"rk_mark={self._mark}\n{TELL}\n{told}\n{self._text}")]

    def _hear_node(self) -> None:
        word, *names = self.hear(LOGIN_PATIENCE)
        if word != _NODE:
            raise self._nonsense(word)
        self.node = " ".join(names) or "?"

    def _note(self, lines: Iterable[str]) -> None:
        kept = []
        for line in lines:
            self.logged_in |= line.startswith(_LOGGED_IN)
            self.half_way |= bool(_PARTLY.search(line))
            if found := _ACCEPTED.match(line):
                self.accepted = found[1]
            if not _ASIDE.match(line):
                kept.append(line)
        super()._note(kept)

    def _ended(self) -> errors.RemoteKernelsError:
        if self.logged_in and not self.node:
            return errors.ShellError(
                "the login worked, but no program of ours could be run over there",
                host=self._where,
                said=self._said[-20:],
            )
        return super()._ended()
