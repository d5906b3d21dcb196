"""The environment that a login shell on the far side gives to what it starts.

The far side runs this file: Python 3.6, the standard library alone.
"""

import json
import os
import shlex
import subprocess
import sys

from remote_kernels.login_shell import dialect_of, login_shell

# Seconds that a program may take; a file server that is away would keep us for ever.
_PATIENCE = 10.0
_FOLLOWS = "@rk-environment "


def login_environment() -> "dict[str, str]":
    """The environment that a login shell gives to what it starts; ours if it does not tell."""
    shell = login_shell()
    tell = 'import json, os; print(chr(10) + "@rk-environment " + json.dumps(dict(os.environ)))'
    command = f"exec {shlex.quote(sys.executable)} -c '{tell}'"
    if dialect_of(shell[0]) == "csh":
        command = f"if ( -r ~/.login ) source ~/.login\n{command}"
    said = output_of([*shell, "-c", command], dict(os.environ)) or ""
    try:
        found = json.loads(said.rpartition(_FOLLOWS)[2])
        return {str(name): str(value) for name, value in found.items()}
    except (ValueError, AttributeError):
        return dict(os.environ)


def output_of(command: "list[str]", env: "dict[str, str]") -> "str | None":
    """What a program prints; None if it cannot be started, fails or takes too long.

    Args:
        command: its argv.
        env: its environment.
    """
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
