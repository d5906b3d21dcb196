"""What may wake the launcher beside its session: signals, and the end of the Jupyter server."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Wakeups:
    """Signals as bytes on a pipe, and a descriptor that tells when Jupyter has died.

    Attributes:
        descriptors: to wait on.
        jupyter_died: the end of the Jupyter server was among them.
    """

    def __init__(self) -> None:
        self.descriptors: list[Any] = []
        self.jupyter_died = False

    def __enter__(self) -> Wakeups:
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in _SIGNALS:
            # Whoever started us may have had them ignored (nohup, a shell's "&").
            signal.signal(signum, _noted)
        self._parent = _end_of(os.environ.get("JPY_PARENT_PID"))
        self.descriptors = [self._read, *([] if self._parent is None else [self._parent])]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The handlers stay: a second SIGTERM must not disturb the clean-up that the first began.
        signal.set_wakeup_fd(-1)

    def take(self, ready: Sequence[Any]) -> list[int]:
        """The signals that have come; SIGTERM stands for a Jupyter server that has died."""
        signals = list(os.read(self._read, 1024)) if self._read in ready else []
        if self._parent is not None and self._parent in ready:
            self.descriptors.remove(self._parent)
            self.jupyter_died = True
            signals.append(signal.SIGTERM)
        return signals


def _noted(signum: int, frame: FrameType | None) -> None:
    """The number is in the pipe already."""


def _end_of(parent: str | None) -> Any:
    """Something to wait on that is readable once the process has ended; None if there is none.

    ipykernel watches the same variable, but by asking every second.
    """
    if parent is None or not parent.isdecimal():
        return None
    try:
        if sys.platform == "linux":
            return os.pidfd_open(int(parent))
        queue = select.kqueue()
        event = select.kevent(
            int(parent), select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
        )
        queue.control([event], 0)
        return queue
    except OSError:
        return None
