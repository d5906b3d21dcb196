"""``python -m bed run -- COMMAND…``: run a command on the laptop of a bed of its own.

Needs root and Linux namespaces; the exit status is the command's. Nothing on the host is
changed: the bed's files lie below a /run that only this process and its machines see.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bed import boot, machines, plan
from bed.requests import Requests

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(sys.prefix).resolve()
# What the person who runs the tests may want to tell them.
PASSED_ON = ("CI", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTEST_ADDOPTS", "TERM")


def main() -> int:
    """Enter namespaces of our own first, then build the bed in them."""
    stage, separator, *command = sys.argv[1:]
    if separator != "--" or not command or stage not in ("run", "inside"):
        sys.exit(__doc__)
    if stage == "run":
        enter_namespaces(command)
    # Started in the background by a shell, we ignore SIGINT, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    prepare_base()
    layout = boot.Layout(checkout=str(CHECKOUT), environment=str(ENVIRONMENT))
    with machines.switched_on(layout) as running:
        return run_on_laptop(running, command)


def enter_namespaces(command: Sequence[str]) -> NoReturn:
    """Become a process whose mounts and network nobody else sees."""
    again = [sys.executable, "-m", "bed", "inside", "--", *command]
    os.execvp("unshare", ["unshare", "--mount", "--net", *again])


def prepare_base() -> None:
    """Lay out what the machines are made from; ordinary users cannot look in here."""
    boot.mount_tmpfs("/run", "0755")
    os.mkdir(plan.BASE, 0o700)
    copy_source(Path(plan.BASE, "source"))
    os.mkdir(f"{plan.BASE}/environment")
    boot.run("mount", "--bind", str(ENVIRONMENT), f"{plan.BASE}/environment")
    for name, comment in (("key", "mia@laptop"), ("cluster-key", "cluster")):
        key = ("-t", "ed25519", "-N", "", "-C", comment, "-f", f"{plan.BASE}/{name}")
        boot.run("ssh-keygen", "-q", *key)
    for directory in plan.CLUSTER.shared:
        os.makedirs(f"{plan.BASE}/shared{directory}")


def copy_source(to: Path) -> None:
    """Copy the checkout: it may lie where ordinary users cannot go, and must not change midway."""

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if name in (".git", "build", "__pycache__")
            or name.endswith("_cache")
            or os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        ]

    shutil.copytree(CHECKOUT, to, symlinks=True, ignore=unwanted)
    boot.run("chmod", "-R", "a+rX,go-w", str(to))


def run_on_laptop(running: dict[str, machines.RunningMachine], command: Sequence[str]) -> int:
    """Run the command as the ordinary user, serve its requests, and return its exit status."""
    ours, theirs = socket.socketpair()
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ |= {
        "PATH": f"{ENVIRONMENT}/bin:{plan.SYSTEM_PATH}",
        "PWD": plan.SOURCE,
        "RK_BED_FD": str(theirs.fileno()),
        "XDG_RUNTIME_DIR": f"/run/user/{plan.MIA.uid}",
    }
    process = subprocess.Popen(
        running["laptop"].command(command, plan.MIA.name, environ),
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # no terminal, there as in CI: ssh must not ask at one
    )
    theirs.close()
    signal.signal(signal.SIGINT, lambda number, frame: interrupt(process.pid))
    facts = {
        "cgroup": machines.CGROUP,
        "far_python": f"{ENVIRONMENT}/far/bin/python",
        "torque": f"{ENVIRONMENT}/far/torque/usr/bin",
    }
    Requests(running, facts).serve(ours)
    status = process.wait()
    return status if status >= 0 else 128 - status


def interrupt(nsenter: int) -> None:
    """Hand a Ctrl-C on to the command itself: nsenter in between would die of it."""
    for pid in machines.children_of(nsenter):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Unwind, and so switch the machines off."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
