"""Files that follow a kernel (``--sync``), as its launcher has them.

What brings them is a process of its own (:mod:`~remote_kernels.sync.follow`): whatever becomes of
it, the kernel starts and runs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from remote_kernels.life import Life
from remote_kernels.wakeups import Wakeups

if TYPE_CHECKING:
    from typing import IO

#: What the process says: that the first sync has come to its end, with the directory over there if
#: that is known; and what is for the log alone. Anything else is for a person.
READY, LOG = "READY", "LOG"
# Seconds for that. Front ends wait for a kernel for a minute.
_PATIENCE = 40.0
# Seconds for the process to bring back what is new; it goes on by itself then.
_END_PATIENCE = 1.0


class Following:
    """The process that brings files to the kernel's host, and back.

    Attributes:
        there: the directory over there; empty as long as it is not known that there is one.
    """

    def __init__(self, life: Life, stack: ExitStack) -> None:
        """Start it.

        Args:
            life: of the kernel, with a directory to sync.
            stack: takes what is to be done at the end.
        """
        assert life.way is not None
        self.there = ""
        self._life = life
        options = life.options
        told = {
            "way": life.way.options(),
            "here": options.synced,
            "there": options.workdir,
            "both": bool(life.spares),
            "alone": options.no_share,
        }
        # A session of its own: what ends the kernel at once does not end it.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "remote_kernels.sync.follow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        stack.callback(self._end)
        self._write(json.dumps(told))
        self._lines, self._to_us = os.pipe()
        threading.Thread(target=self._hear, args=(self._child.stdout,), daemon=True).start()

    def wait(self, wakeups: Wakeups) -> None:
        """Wait until the files are over there, or will not be, or for long enough.

        Args:
            wakeups: an end of the kernel that is wanted before it has begun.
        """
        deadline = time.monotonic() + _PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            ready = select.select([self._lines, *wakeups.descriptors], [], [], left)[0]
            if self._lines in ready:
                return
            for signum in wakeups.take(ready) if ready else ():
                if signum != signal.SIGINT:
                    self._life.terminated_by = signum
                    return
        self._life.warn("remote-kernels: the files are not all over there yet; the kernel starts")

    def _hear(self, said: IO[bytes]) -> None:
        """Take what the process says, until it has ended."""
        for line in said:
            text = line.decode("utf-8", "replace").rstrip("\n")
            word, _, rest = text.partition(" ")
            if word == READY:
                self.there = rest
                self._is_ready()
            elif word == LOG:
                self._life.log(rest)
            else:
                self._life.warn(f"remote-kernels: {text}")
        self._is_ready()

    def _is_ready(self) -> None:
        descriptor, self._to_us = self._to_us, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, line: str) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write(f"{line}\n".encode())
            self._child.stdin.flush()

    def _end(self) -> None:
        """Let it bring back what is new; it needs us for that no more."""
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_PATIENCE)
