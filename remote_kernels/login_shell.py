"""The login shell of the user on the far side.

The far side runs this file, too: Python 3.6, the standard library alone.
"""

import os


def login_shell() -> "list[str]":
    """Argv of the shell that reads the user's start-up files; -c and a command are to follow."""
    shell = os.environ.get("SHELL", "")
    name = os.path.basename(shell)
    if name in ("csh", "tcsh"):
        # One that is given a command cannot be a login shell.
        return [shell]
    if name in ("bash", "zsh", "mksh", "dash", "sh", "ash", "fish") or name.startswith("ksh"):
        return [shell, "-l", "-i"]
    return ["/bin/sh", "-l", "-i"]


def dialect_of(shell: str) -> str:
    """What a shell reads: sh, fish or csh."""
    return {"fish": "fish", "csh": "csh", "tcsh": "csh"}.get(os.path.basename(shell), "sh")
