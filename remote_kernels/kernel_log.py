"""The log of one kernel: a file in the platform's log directory, without secrets."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import platformdirs

from remote_kernels.options import KernelOptions

#: How many logs are kept.
KEPT = 20
#: Behind it a log tells which kernel it is of.
KERNEL_LINE = " kernel: "
# What a kernel prints goes into its log, and some print for days.
_LARGEST = 10 * 1024 * 1024


def log_directory() -> Path:
    """Where the logs are."""
    return platformdirs.user_log_path("remote-kernels", appauthor=False)


def identity(options: KernelOptions) -> str:
    """Which kernel it is, in one line; another command or other resources make no other kernel.

    Args:
        options: of the kernel.
    """
    known = (options.interface, options.name, options.host, *options.tunnel_hosts)
    return json.dumps(known)


def printable(text: str) -> str:
    """The text without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)


class KernelLog:
    """Lines with their time, in a file that only the user can read.

    Attributes:
        path: of the file; None if it could not be made, which must not keep a kernel from starting.
    """

    def __init__(self, name: str, secrets: Sequence[str], verbose: bool) -> None:
        """Begin a log, and remove the oldest.

        Args:
        name: of the kernel; the time is added.
        secrets: texts that are replaced wherever they appear.
        verbose: write every line to standard error, too.
        """
        self._secrets = secrets
        self._verbose = verbose
        self._left = _LARGEST
        self._file: TextIO | None = None
        self.path: Path | None = None
        try:
            directory = log_directory()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_oldest(directory)
            path = directory / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}.log"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", buffering=1)
        self.path = path

    def write(self, text: str) -> None:
        """Write one line."""
        if self._left <= 0 and not self._verbose:
            return
        line = f"{time.strftime('%H:%M:%S')}.{time.time() % 1 * 1000:03.0f} {self.clean(text)}"
        if self._verbose:
            print(line, file=sys.stderr, flush=True)
        if self._file is None or self._left <= 0:
            return
        self._left -= len(line) + 1
        if self._left <= 0:
            line = "The log ends here: it has become too large."
        try:
            self._file.write(line + "\n")
        except OSError:
            # A full disk must not end a kernel.
            self._left = 0

    def clean(self, text: str) -> str:
        """The text without secrets and without anything that a terminal would obey."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return printable(text)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _remove_oldest(directory: Path) -> None:
    logs = sorted(directory.glob("*.log"), key=lambda path: path.name)
    for path in logs[: max(0, len(logs) - KEPT + 1)]:
        path.unlink(missing_ok=True)
