"""A directory of our own for the moments in which a connection is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class PrivateDirectory:
    """A new directory with mode 0700, in the user's runtime directory or in /tmp.

    Attributes:
        path: of the directory. Short, since a socket's path has to fit in 104 bytes on macOS.
    """

    def __init__(self) -> None:
        base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
        if not os.access(base, os.W_OK | os.X_OK):
            base = "/tmp"
        # A name that nobody can guess, and mkdir fails where there is anything of that name.
        self.path = Path(base) / f"rk-{os.urandom(5).hex()}"
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove it with all that is in it; doing it twice does no harm."""
        shutil.rmtree(self.path, ignore_errors=True)
