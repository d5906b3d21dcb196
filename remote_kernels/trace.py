"""What a launcher tells ``remote-kernels check`` of its way, as it goes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

#: Names the file, which lies in a private directory.
VARIABLE = "REMOTE_KERNELS_TRACE"


class Trace:
    """Lines of JSON in a file: a time, a kind ("log", "ssh" or "error"), and what is told."""

    def __init__(self, path: str, secrets: Sequence[str]) -> None:
        """Begin.

        Args:
            path: of the file.
            secrets: texts that are replaced wherever they appear.
        """
        self._secrets = secrets
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._file: TextIO = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def tell(self, kind: str, what: object) -> None:
        """Write one line.

        Args:
            kind: of it.
            what: a text, or what JSON can hold.
        """
        line = json.dumps([time.time(), kind, what])
        for secret in self._secrets:
            line = line.replace(secret, "[key]")
        self._file.write(line + "\n")


def whole_lines(path: Path, position: int) -> bytes:
    """What stands in a file behind a position, up to the end of the last line that is whole.

    Args:
        path: of a file that somebody writes to.
        position: in bytes.
    """
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    return data[: data.rfind(b"\n") + 1]


class TraceReader:
    """The lines of a trace that have come since they were read last."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0

    def read(self) -> list[tuple[float, str, object]]:
        """Each line's time, kind and content."""
        try:
            whole = whole_lines(self._path, self._position)
        except FileNotFoundError:
            return []
        self._position += len(whole)
        return [(at, kind, what) for at, kind, what in map(json.loads, whole.splitlines())]
