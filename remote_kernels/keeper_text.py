"""How a keeper gets to the far side: a line of sh that finds a Python, and the program itself."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Sequence
from pathlib import Path

from remote_kernels.keeper import Order
from remote_kernels.shell_text import BOOTSTRAP, RUN_LINE, as_bytes, as_word

#: What the far side says before the first frame, after the mark.
KEEPER = "KEEPER"
#: When a session has come to another host than the keeper's; it goes on to that one, and has to be
#: sent the same again.
ELSEWHERE = "ELSEWHERE"
#: When a keeper is not there any more.
GONE = "GONE"
#: When there is no directory in which a keeper can have something of its own, and why.
NO_PLACE = "NOPLACE"
#: When the program may be sent through a terminal: a shell may read what comes too early.
SEND = "SEND"
#: And when it has no Python that can run a keeper; it waits for another line then.
NO_PYTHON = "NOPYTHON"

# The last is that of RHEL 8, whose users need not have another.
_PYTHONS = "python3 python /usr/libexec/platform-python"

# Any Python reads this, also one that is too old for the rest.
_LOADER = """
import sys
sys.path = [path for path in sys.path if path]
import os, zlib
{ready}
data = b""
while len(data) < {size}:
    more = os.read(0, {size} - len(data))
    if not more:
        os._exit(1)
    data += more
if sys.version_info < (3, 6):
    os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
exec(zlib.decompress(data))
"""

# The program that was sent is none for sh.
_NO_PYTHON = f"printf '\\n%s\\n' {{said}}; {RUN_LINE}"

_MODULES = ("lines", "channel", "carrier", "keeper")
_OF_KERNEL = (
    *(*_MODULES, "spool", "socket_keeper", "login_shell", "processes", "missed", "zmtp"),
    "kernel_keeper",
)
_OF_VISIT = (
    *(*_MODULES, "spool", "socket_keeper", "answers", "login_shell", "login_environment"),
    *("processes", "running", "namespaces", "visiting_keeper"),
)
_MODULES_OF = {
    "Kernel": _OF_KERNEL,
    # It may be a visit to one that was kept.
    "Kept": (*_OF_VISIT, "missed", "zmtp", "kernel_keeper", "kept_kernels"),
    "Command": (*_MODULES, "command_keeper"),
    "Visit": _OF_VISIT,
    "Server": (*_MODULES, "spool", "socket_keeper", "processes", "server_keeper"),
}


def start_of_keeper(order: Order) -> tuple[bytes, bytes]:
    """What a new keeper has to be sent.

    Args:
        order: what it is to do.

    Returns:
        The line for :data:`~remote_kernels.shell_text.BOOTSTRAP`, and the program, which may be
        sent at once unless the order is for a terminal.
    """
    rest = dict(vars(order))
    held = rest.pop("held")
    kind = type(held).__name__.removesuffix("Order")
    call = (
        "from remote_kernels.keeper import Order, run\n"
        f"run({kind}Keeper, Order({kind}Order(**{vars(held)!a}), **{rest!a}))"
    )
    return start_of_program(_MODULES_OF[kind], call, order.mark, asks=order.on_terminal)


def attachment(host: str, path: str, mark: str) -> tuple[bytes, bytes]:
    """What brings a new session to a keeper that is there.

    Args:
        host: on which it is.
        path: of its socket.
        mark: begins what is said over there.

    Returns:
        As :func:`start_of_keeper`.
    """
    return start_of_program(_MODULES, f"attach({host!a}, {path!a}, {mark!a}, {BOOTSTRAP!a})", mark)


def start_of_program(
    modules: Sequence[str], call: str, mark: str, *, asks: bool = False
) -> tuple[bytes, bytes]:
    """What has to be sent to run a program of ours over there.

    Args:
        modules: of ours that it consists of, each behind those that it imports.
        call: Python that is run in the end; it knows what is in these modules.
        mark: begins what is said over there.
        asks: the far side is to say SEND when the program may be sent.

    Returns:
        As :func:`start_of_keeper`.
    """
    imports = "\n".join(f"from remote_kernels.{module} import *" for module in modules)
    program = zlib.compress(f"{_as_text(modules)}\n{imports}\n{call}".encode())
    size = len(program)
    ready = f"os.write(1, {as_bytes(f'{mark} {SEND}')!r} + b'\\n')" if asks else ""
    no_python = _NO_PYTHON.format(said=shlex.quote(f"{mark} {NO_PYTHON}"))
    line = (
        f"rk_python=; for rk_python in {_PYTHONS}; do "
        "rk_python=$(command -v $rk_python) || continue; "
        f"exec $rk_python -EsSc {as_word(_LOADER.format(size=size, ready=ready))} "
        f"{shlex.quote(no_python)}; done; "
        f"dd bs=1 count={size} >/dev/null 2>&1; {no_python}\n"
    )
    return line.encode(), program


def _as_text(modules: Sequence[str]) -> str:
    """Python that makes modules of ours known over there."""
    lines = ["import sys", "new = type(sys)"]
    lines += ["sys.modules['remote_kernels'] = new('remote_kernels')"]
    for name in modules:
        text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        full = f"remote_kernels.{name}"
        lines += [
            f"sys.modules['{full}'] = module = new('{full}')",
            f"exec(compile({text!a}, '{name}.py', 'exec'), module.__dict__)",
        ]
    return "\n".join(lines)
