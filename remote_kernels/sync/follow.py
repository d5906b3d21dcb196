"""Brings a directory to a kernel's host, and back: what ``--sync`` of a kernel starts.

Its launcher tells it on its standard input what is wanted. The end of that is the end of the
kernel, after which what is new is brought back once more. What is said goes to the launcher, or to
standard error when that has ended.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remote_kernels.errors import LoginError, RemoteKernelsError
from remote_kernels.following import LOG, READY
from remote_kernels.interfaces.ssh import Ssh
from remote_kernels.kernel_log import printable
from remote_kernels.options import KernelOptions
from remote_kernels.sync.outcome import Outcome
from remote_kernels.sync.pair import Listener, Pair, Request, remote_for
from remote_kernels.sync.plan import Direction

#: Seconds between two looks for what is new over there.
EVERY = 60.0
# Of one kind.
_MOST_NAMES = 5


class Follower:
    """The directory here, and that over there."""

    def __init__(self, told: dict[str, Any]) -> None:
        """Prepare.

        Args:
            told: by the launcher.

        Raises:
            OptionsError: it is not known which directory over there is meant.
        """
        way_options = {**told["way"], "tunnel_hosts": tuple(told["way"].get("tunnel_hosts", ()))}
        self._way = Ssh.way(KernelOptions(interface="ssh", **way_options))
        self._here = Path(told["here"]).expanduser().absolute()
        self._there = told["there"] or remote_for(self._here.resolve())
        self._both, self._alone = bool(told["both"]), bool(told["alone"])
        self._said: list[str] = []
        self._is_refused = False

    def run(self) -> None:
        """Follow the kernel, from before its start until its end."""
        if self._sync("both" if self._both else "push"):
            say(f"{READY} {self._there}")
        else:
            say(READY)
        back: Direction = "both" if self._both else "pull"
        # A login that was refused is not tried again by itself.
        while not _has_ended(EVERY) and not self._is_refused:
            self._sync(back)
        if not self._is_refused:
            self._sync(back)

    def _sync(self, direction: Direction) -> bool:
        """Make the directories alike; whether that could be done, or most of it."""
        # A line that is lost is waited for by the next one; the kernel does not wait.
        listener = Listener()
        try:
            with Pair(
                *(self._way, self._here, self._there, Request(direction), listener),
                alone=self._alone,
            ) as pair:
                outcome = pair.sync()
                self._there = pair.there
        except RemoteKernelsError as error:
            self._tell([f"{self._here} is not in step with {self._way}: {error.sentence}"])
            self._is_refused = isinstance(error, LoginError) and error.refused
            return False
        if outcome.has_changed:
            say(f"{LOG} {len(outcome.sent)} files synced, {len(outcome.removed)} deleted")
        self._tell(list(_of_note(outcome)))
        return True

    def _tell(self, lines: list[str]) -> None:
        """Say what is new."""
        for line in lines if lines != self._said else ():
            say(printable(line))
        self._said = lines


def _of_note(outcome: Outcome) -> Iterator[str]:
    """What a person has to know of it."""
    for path, second in outcome.conflicts.items():
        yield f"{path} was changed on both sides, and is kept twice: the other one is {second}"
    for word, found in (("left as it is", outcome.left), ("not synced", outcome.failed)):
        for path, why in list(found.items())[:_MOST_NAMES]:
            yield f"{path} is {word}: {why}"
        if len(found) > _MOST_NAMES:
            yield f"and {len(found) - _MOST_NAMES} more are {word}"


def say(line: str) -> None:
    """Say something to the launcher, or to whoever reads what it has written."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        sys.stdout = sys.stderr
        if not line.startswith(READY):
            print(f"remote-kernels: {line}", flush=True)


def _has_ended(seconds: float) -> bool:
    """Whether the kernel ends within so many seconds."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    return not os.read(0, 1 << 10)


def main() -> None:
    """Do what the launcher tells."""
    try:
        follower = Follower(json.loads(sys.stdin.readline()))
    except RemoteKernelsError as error:
        say(printable(error.sentence))
        return
    follower.run()


if __name__ == "__main__":
    main()
