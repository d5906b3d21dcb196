"""Whether this machine has slept."""

from __future__ import annotations

import time

# In seconds; less is no sleep, but two clocks that were not read at once.
_LEAST = 1.0


class SleepWatch:
    """Compares a clock that goes on while the machine sleeps with one that does not."""

    def __init__(self) -> None:
        self._clocks = _clocks()

    def has_slept(self) -> bool:
        """Whether it has since this was asked last."""
        before, self._clocks = self._clocks, _clocks()
        return (self._clocks[0] - before[0]) - (self._clocks[1] - before[1]) > _LEAST


def _clocks() -> tuple[float, float]:
    running = time.monotonic()
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME), running
    return time.time(), running
