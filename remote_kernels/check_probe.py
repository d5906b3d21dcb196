"""What ``remote-kernels check`` runs in place of a kernel, to look around over there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

# One word of a shell, as it stands.
_FIRST_WORD = re.compile(r"""\s*((?:[^\s'"\\;&|<>()]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+)""")
_MODULE = re.compile(r"(.*\S)\s+-m\s+([A-Za-z_]\w*)", re.DOTALL)

_FOUND = re.compile(r"^rk-found (\w+) (.*)$")

# No newline and no "!", since csh may read it.
_PLACE = (
    'echo "rk-found space $(df -Pk . 2>/dev/null | tail -n 1)"; '
    'echo "rk-found quota $(quota 2>/dev/null | tail -n 1)"; '
    'echo "rk-found python $(python3 -V 2>&1 | tail -n 1)"'
)
_VERSION = (
    "import platform, sys; "
    'name = sys.argv[1].replace("_launcher", ""); '
    'version = getattr(__import__(name), "__version__", ""); '
    'print("rk-found command", name, version, "of Python", platform.python_version())'
)
# Of programs that are known to end after it.
_WHERE = (
    'if at=$(command -v -- "$1"); then version=; case ${at##*/} in '
    'R|julia|ipython|ipython3|octave) version=$("$1" --version </dev/null 2>&1 | head -n 1) ;; '
    'esac; echo "rk-found command $at $version"; '
    'else echo "$1: not found"; exit 127; fi; '
)


def look(kernel_cmd: str | None) -> str:
    """The command that looks at the place, and at a kernel command without running the kernel.

    Args:
        kernel_cmd: as the person typed it; None for none.
    """
    return f"{_sh(_PLACE)}; {_version(kernel_cmd)}" if kernel_cmd else _sh(_PLACE)


def _version(kernel_cmd: str) -> str:
    if found := _MODULE.match(kernel_cmd):
        # The person's own words, which their shell is to read.
        return f"{found[1]} -c {shlex.quote(_VERSION)} {found[2]}"
    word = _FIRST_WORD.match(kernel_cmd)
    return f"{_sh(_WHERE)} sh {word[1]}" if word else "true"


def scheduler(command: str, queue_is_known: str) -> str:
    """The command that looks for a scheduler's own.

    Args:
        command: of the scheduler.
        queue_is_known: a command of sh that ends with 0 if the queue is; empty for no queue.
    """
    text = _WHERE
    if queue_is_known:
        text += f"{queue_is_known} >/dev/null 2>&1 || exit 3; "
    return f"{_sh(text)} sh {shlex.quote(command)}"


def remains(paths: Sequence[str], group: str) -> str:
    """The command that names what of a kernel is still there.

    Args:
        paths: of its files.
        group: its process group; empty where that is not of this machine.
    """
    text = 'for at in "$@"; do [ -e "$at" ] && echo "rk-found remains $at"; done; '
    if group.isdecimal():
        text += f"kill -0 -{group} 2>/dev/null && echo rk-found remains processes; "
    return f"{_sh(text + 'true')} sh {shlex.join(paths)}"


def found(line: str) -> tuple[str, str] | None:
    """What one of these commands has printed: a name, and what was found; None for other lines."""
    match = _FOUND.match(line)
    return (match[1], match[2].strip()) if match else None


def _sh(text: str) -> str:
    return f"/bin/sh -c {shlex.quote(text)}"
