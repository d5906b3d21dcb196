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


# One ssh asks the queue for a job, which tells its node; a second one forwards five ports to that.
BY_HAND_IN_A_JOB = r"""
ports=$(sed -n 's/.*_port": *\([0-9]*\).*/\1/p' "$1")
forwards=
for port in $ports; do
    forwards="$forwards -L 127.0.0.1:$port:127.0.0.1:$port"
done
options="-T -F $6"
ssh $options -J "$2" "$3" "$5" <"$1" | {
    read -r node
    ssh $options -o ExitOnForwardFailure=yes -N -J "$2,$3" $forwards "$4@$node" &
    cat >/dev/null
    kill $!
}
"""
# An option on the command line would not hold for the gateways.
SSH_CONFIG = "BatchMode yes\nStrictHostKeyChecking accept-new\n"
# What the job runs, in a home that all nodes have.
IN_THE_JOB = """\
#!/bin/sh
uname -n
umask 077
file=$(mktemp) || exit
cat >"$file"
exec {python} -m ipykernel_launcher -f "$file"
"""
ON_A_NODE = f"/home/{USER}/start-kernel"
GATEWAY, LOGIN_HOST = "gina@gw1", f"{USER}@login"
# Only a login shell knows Grid Engine's commands.
JOBS = {
    "slurm": f"srun --quiet {ON_A_NODE}",
    "sge": f"bash -lc 'qrsh -now no {ON_A_NODE}'",
}


def contestants(bed: Bed, host: str = f"{USER}@far") -> dict[str, str]:
    """Write the kernelspecs for a way to ``far``; what the tables call them, and their names."""
    site = Site(bed.far, USER, bed.far_python, ["--interface", "ssh", "--host", host])
    return {"L0": plain(site.python), "L1": by_hand(site), "ours": add_kernel(site)}


def job_contestants(bed: Bed, interface: str) -> dict[str, str]:
    """The same in a job of a scheduler; our interface for it is one of ``JOBS``."""
    bed.login.write(ON_A_NODE, IN_THE_JOB.format(python=bed.far_python), user=USER, mode="700")
    way = ["--interface", interface, "--tunnel-hosts", GATEWAY, LOGIN_HOST]
    config = Path(jupyter_data_dir(), "ssh_config")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(SSH_CONFIG)
    hand = ["sh", "{connection_file}", GATEWAY, LOGIN_HOST, USER, JOBS[interface], str(config)]
    argv = ["sh", "-c", BY_HAND_IN_A_JOB, *hand]
    return {
        "L0": plain(bed.far_python),
        "L1": write(f"by-hand-{interface}", {"argv": argv, "interrupt_mode": "message"}),
        "ours": add_kernel(Site(bed.n1, USER, bed.far_python, way)),
    }


def plain(python: str) -> str:
    """The kernel without ssh: the far side's very Python, on this machine."""
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return write("plain", {"argv": argv})


def by_hand(site: Site) -> str:
    """What a patient person would write; ssh would end at a SIGINT, so interrupts are messages."""
    url = f"ssh://{site.options[-1]}"
    argv = ["sh", "-c", BY_HAND, "sh", "{connection_file}", url, site.python]
    return write("by-hand", {"argv": argv, "interrupt_mode": "message"})


def write(name: str, spec: dict[str, Any]) -> str:
    """Write a kernelspec for this user; its name."""
    directory = Path(jupyter_data_dir(), "kernels", name)
    directory.mkdir(parents=True, exist_ok=True)
    spec = {"display_name": name, "language": "python", **spec}
    (directory / "kernel.json").write_text(json.dumps(spec))
    return name
