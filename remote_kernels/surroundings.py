"""What of our own surroundings matters to what we start."""

from __future__ import annotations

import os


def working_directory() -> str | None:
    """Where Jupyter has started us, mostly the notebook's directory."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        # Somebody has removed it under us.
        return None
