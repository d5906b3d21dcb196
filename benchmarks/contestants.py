"""The kernelspecs that are compared, each by its name in Jupyter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from bed import Bed
from frontend import Site, add_kernel

USER = "ada"

# One ssh, which takes the connection file along, starts the kernel and forwards its five ports.
BY_HAND = r"""
ports=$(sed -n 's/.*_port": *\([0-9]*\).*/\1/p' "$1")
forwards=
for port in $ports; do
    forwards="$forwards -L 127.0.0.1:$port:127.0.0.1:$port"
done
exec ssh -T -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ExitOnForwardFailure=yes \
    $forwards "$2" "
    umask 077
    file=\$(mktemp) || exit
    cat >\"\$file\"
    exec $3 -m ipykernel_launcher -f \"\$file\"
" <"$1" >/dev/null
"""


def contestants(bed: Bed) -> dict[str, str]:
    """Write the kernelspecs; what the tables call them, and their kernel names."""
    site = Site(bed.far, USER, bed.far_python, ["--interface", "ssh", "--host", f"{USER}@far"])
    return {"L0": plain(site.python), "L1": by_hand(site), "ours": add_kernel(site)}


def plain(python: str) -> str:
    """The kernel without ssh: the far side's very Python, on this machine."""
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return write("plain", {"argv": argv})


def by_hand(site: Site) -> str:
    """What a patient person would write; ssh would end at a SIGINT, so interrupts are messages."""
    argv = ["sh", "-c", BY_HAND, "sh", "{connection_file}", f"{site.user}@far", site.python]
    return write("by-hand", {"argv": argv, "interrupt_mode": "message"})


def write(name: str, spec: dict[str, Any]) -> str:
    """Write a kernelspec for this user; its name."""
    directory = Path(jupyter_data_dir(), "kernels", name)
    directory.mkdir(parents=True)
    spec = {"display_name": name, "language": "python", **spec}
    (directory / "kernel.json").write_text(json.dumps(spec))
    return name
