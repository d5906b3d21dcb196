"""A sync that is kept going: when something changes here, and every so often."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from remote_kernels.errors import OptionsError, ProgramMissingError, RemoteKernelsError
from remote_kernels.sync.outcome import Outcome
from remote_kernels.sync.pair import Pair

# Milliseconds: for what belongs together to come, and for a look whether we are to end.
_TOGETHER, _LOOK = 500, 200
# Seconds after a failure: the first, and the most.
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0


class Changes:
    """Hears when something changes below a directory. Use it in a ``with`` block.

    Attributes:
        problem: why nothing can be heard; empty if it can.
    """

    def __init__(self, directory: str, counts: Callable[[str], bool]) -> None:
        """Prepare.

        Args:
            directory: below which is listened; empty for none.
            counts: whether a path does.
        """
        self._directory, self._counts = directory, counts
        self._ready, self._changed = threading.Event(), threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.problem = ""

    def __enter__(self) -> Changes:
        """Begin; what changes from now on is heard."""
        if self._directory:
            self._thread.start()
            self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._directory:
            self._thread.join()

    def _listen(self) -> None:
        from watchfiles import Change, watch

        def counts(change: Change, path: str) -> bool:
            return self._counts(path)

        try:
            for changes in watch(
                # What it tells of is named so.
                os.path.realpath(self._directory),
                watch_filter=counts,
                stop_event=self._stop,
                raise_interrupt=False,
                debounce=_TOGETHER,
                rust_timeout=_LOOK,
                yield_on_timeout=True,
            ):
                # It tells that it has begun, too.
                self._ready.set()
                if changes:
                    self._changed.set()
        except (OSError, RuntimeError) as failure:
            self.problem = str(failure)
        finally:
            self._ready.set()

    def forget(self) -> None:
        """What has been heard is known."""
        self._changed.clear()

    def wait(self, seconds: float | None) -> bool:
        """Wait until something changes, or so long; whether something did."""
        return self._changed.wait(seconds)


def keep_going(
    pair: Pair,
    every: float,
    *,
    hears: bool,
    looks: bool,
    told: Callable[[Outcome, RemoteKernelsError | None], None],
    say: Callable[[str], None],
) -> RemoteKernelsError:
    """Make two directories alike, again and again, until an exception ends it, as of a Ctrl-C.

    Args:
        pair: the directories.
        every: seconds between two looks over there.
        hears: a change here is a reason.
        looks: so is one over there.
        told: takes what has come of each sync, and how it failed.
        say: takes a line about what has happened.

    Returns:
        A failure that there would be each time.
    """
    failures = 0
    with Changes(pair.here if hears else "", pair.counts) as changes:
        if changes.problem:
            say(f"Changes here cannot be heard ({changes.problem}); looking every {every:.0f} s.")
        while True:
            changes.forget()
            outcome, error = Outcome(), None
            try:
                pair.sync(outcome)
            except RemoteKernelsError as failure:
                error = failure
            told(outcome, error)
            if error is not None and (_stays(error) or not pair.was_there):
                return error
            failures = failures + 1 if error is not None else 0
            pause = every if looks or changes.problem else None
            if failures:
                pause = min(_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
            changes.wait(pause)


def _stays(error: RemoteKernelsError) -> bool:
    return error.refused or isinstance(error, (OptionsError, ProgramMissingError))
