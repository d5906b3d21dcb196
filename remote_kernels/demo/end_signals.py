"""The signals that end the demo, at moments when nothing is half done."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(SystemExit):
    """Somebody ended the demo.

    Attributes:
        signum: with which signal.
    """

    def __init__(self, signum: int) -> None:
        """Leave with the exit code that a shell gives to that signal."""
        super().__init__(128 + signum)
        self.signum = signal.Signals(signum)


class EndSignals:
    """Takes note of SIGINT, SIGTERM and SIGHUP, for the demo to look when it can. A ``with`` block.

    So no process is started and no directory made without being cleaned up, and a second Ctrl-C
    does not disturb the clean-up after the first.
    """

    def __init__(self) -> None:
        self._received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndSignals:
        for signum in _SIGNALS:
            self._before[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Look whether one came.

        Raises:
            Ended: one did.
        """
        if self._received:
            raise Ended(self._received)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._received = self._received or signum
