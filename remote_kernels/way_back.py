"""When to try again to reach a keeper whose line was lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from remote_kernels.carrier import Loop, Timer
from remote_kernels.network import NetworkChanges

#: Seconds between two attempts, the last of them again and again.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# A network that returns says so several times, and is not of use in the first moment.
_SETTLED = 0.3


class WayBack:
    """Attempts with growing pauses, and at once when there is reason to hope.

    Attributes:
        lost_at: when the line was lost, as time.monotonic() tells.
        was_refused: the last attempt was, and there is no other before somebody hopes.
    """

    def __init__(self, loop: Loop, attempt: Callable[[], None]) -> None:
        """Begin with the first attempt.

        Args:
            loop: to wait in.
            attempt: makes one; its end is told by :meth:`failed` or :meth:`refused`.
        """
        self.lost_at = time.monotonic()
        self._loop, self._attempt = loop, attempt
        self._failures = 0
        self._running = self.was_refused = False
        self._network = NetworkChanges()
        if self._network.descriptor >= 0:
            loop.watch(self._network.descriptor, self._on_network)
        self._timer: Timer | None = loop.after(PAUSES[0], self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._running = True
        self._attempt()

    def _on_network(self) -> None:
        self._network.take()
        if not self.was_refused:
            self.hope(_SETTLED)

    def hope(self, seconds: float = 0.0) -> None:
        """Try in so many seconds, with short pauses afterwards, also after a refusal."""
        self._failures, self.was_refused = 0, False
        if not self._running:
            self._try_in(seconds)

    def failed(self) -> None:
        """The attempt has come to nothing; the next one may not."""
        self._running = False
        self._failures += 1
        self._try_in(PAUSES[min(self._failures, len(PAUSES) - 1)])

    def refused(self) -> None:
        """The attempt was refused: there is no other before somebody hopes."""
        self._running, self.was_refused = False, True

    def _try_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(seconds, self._begin)

    def end(self) -> None:
        """Make no more attempts."""
        if self._timer is not None:
            self._timer.cancel()
        if self._network.descriptor >= 0:
            self._loop.watch(self._network.descriptor)
            self._network.close()
