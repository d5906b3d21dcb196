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


def session_environment() -> dict[str, str]:
    """The environment of what logs in."""
    env = dict(os.environ)
    if "SSH_ASKPASS" in env:
        # Our terminal is nobody's to type into; ssh older than 8.4 wants a DISPLAY to obey.
        env["SSH_ASKPASS_REQUIRE"] = "force"
        env.setdefault("DISPLAY", ":0")
    return env
