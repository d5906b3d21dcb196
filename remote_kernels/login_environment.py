"""The environment that a login shell on the far side gives to what it starts.

The far side runs this file: Python 3.6, the standard library alone.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile

from remote_kernels.login_shell import dialect_of, login_shell

# Seconds that a program may take; a file server that is away would keep us for ever.
_PATIENCE = 10.0
_FOLLOWS = "@rk-environment "


def login_environment() -> "dict[str, str]":
    """The environment that a login shell gives to what it starts; ours if it does not tell."""
    shell = login_shell()
    tell = 'import json, os; print(chr(10) + "@rk-environment " + json.dumps(dict(os.environ)))'
    # Without what is for another Python.
    command = f"exec {shlex.quote(sys.executable)} -EsS -c '{tell}'"
    if dialect_of(shell[0]) == "csh":
        command = f"if ( -r ~/.login ) source ~/.login\n{command}"
    said = output_of([*shell, "-c", command], dict(os.environ)) or ""
    try:
        found = json.loads(said.rpartition(_FOLLOWS)[2])
        return {str(name): str(value) for name, value in found.items()}
    except (ValueError, AttributeError):
        return dict(os.environ)


def output_of(
    command: "list[str]", env: "dict[str, str]", patience: "float | None" = None
) -> "str | None":
    """What a program prints; None if it cannot be started, fails or takes too long.

    Args:
        command: its argv.
        env: its environment.
        patience: seconds that it may take; None for as long as any program may.
    """
    try:
        # No pipe: what start-up files leave running may hold that as long as it likes.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                status = process.wait(patience or _PATIENCE)
            except subprocess.TimeoutExpired:
                # With all that it has started.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            said.seek(0)
            return said.read().decode("utf-8", "surrogateescape") if status == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
