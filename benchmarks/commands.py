"""Commands that look around on a host or attach, beside what is typed where there are none."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attached import PORTS, RUNTIME, Attached, by_hand, client_of
from bed import Bed, wait_until
from benchmarks.contestants import USER
from benchmarks.measure import Clock, processes
from frontend import ran

SPECS, ENVIRONMENTS = 200, 20
HOST = f"{USER}@far"
SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new")
# A home in which much is to be found; each environment has ipykernel.
FURNISH = r"""
set -e
site=$("$1" -c 'import ipykernel, os; print(os.path.dirname(ipykernel.__path__[0]))')
for n in $(seq "$2"); do
    mkdir -p ~/.local/share/jupyter/kernels/k$n
    printf '{"argv": ["%s", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Kernel %s", "language": "python"}' "$1" $n \
        >~/.local/share/jupyter/kernels/k$n/kernel.json
done
/usr/bin/python3 -m venv --without-pip ~/venvs/v1
echo "$site" >"$(echo ~/venvs/v1/lib/python3*/site-packages)/far.pth"
for n in $(seq 2 "$3"); do
    cp -r ~/venvs/v1 ~/venvs/v$n
done
"""
# What tells of kernels that run.
LOOK = f"ps -u {USER} -o pid,etime,rss,time,args; cat {RUNTIME}/*.json"
NEWEST = f"cat $(ls -t {RUNTIME}/*.json | head -n 1)"


@contextmanager
def furnished(bed: Bed) -> Iterator[None]:
    """``far`` with kernelspecs, environments, and a kernel that runs."""
    words = [bed.far_python, str(SPECS), str(ENVIRONMENTS)]
    try:
        bed.far.run(["sh", "-c", FURNISH, "sh", *words], user=USER)
        with by_hand(bed):
            yield
    finally:
        bed.far.run(["sh", "-c", "rm -rf ~/venvs ~/.local/share/jupyter"], user=USER)


def command_figures(bed: Bed, name: str, directory: Path) -> dict[str, float]:
    """How long each takes, with a login of its own.

    Args:
        bed: with a ``far`` that is furnished.
        name: L0 (typed on ``far`` itself), L1 (typed behind ssh), or ours.
        directory: to write to.
    """
    before = processes()
    jupyter = Path(bed.far_python).with_name("jupyter")
    typed = {"discover": f"{jupyter} kernelspec list --json", "ps": LOOK}
    found = {}
    for command, text in typed.items():
        clock = Clock()
        if name == "ours":
            (told,) = json.loads(ran(command, HOST, "--json").stdout)
            assert len(told["kernels"]) >= (SPECS if command == "discover" else 1), told
        elif name == "L1":
            subprocess.run([*SSH, HOST, text], capture_output=True, check=True)
        else:
            bed.far.run(["sh", "-c", text], user=USER)
        found[f"{command}_s"] = clock.s()
        wait_until(lambda: processes() <= before, 30, "the end of the connection")
    if name != "L0":
        found["attach_s"] = _attach_s(name, directory)
    return found


def _attach_s(name: str, directory: Path) -> float:
    """How long it takes until a client here has an answer of the kernel over there."""
    with ExitStack() as stack:
        clock = Clock()
        if name == "ours":
            file = stack.enter_context(Attached()).file
        else:
            file = stack.enter_context(attached_by_hand(directory))
        stack.enter_context(client_of(file))
        return clock.s()


@contextmanager
def attached_by_hand(directory: Path) -> Iterator[Path]:
    """The newest connection file is copied, and its five ports are forwarded."""
    copy = subprocess.run([*SSH, HOST, NEWEST], capture_output=True, check=True).stdout
    file = directory / "kernel-newest.json"
    file.write_bytes(copy)
    ports = [json.loads(copy)[port] for port in PORTS]
    forwards = [word for port in ports for word in ("-L", f"127.0.0.1:{port}:127.0.0.1:{port}")]
    with subprocess.Popen([*SSH, "-N", *forwards, HOST]) as ssh:
        try:
            wait_until(lambda: _listens(ports[-1]), 30, "the forwards")
            yield file
        finally:
            ssh.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
