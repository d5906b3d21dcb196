"""Every scheduler's interface keeps the contract, from a laptop through a gateway."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from bed import Bed, GridEngine, Slurm
from contract import *  # noqa: F403 - the tests, by their names in __all__
from frontend import Site


class Entry(NamedTuple):
    """Who starts a kernel, where it will run, and how it gets there.

    The node has to be known beforehand; on n2 Slurm knows a job's processes by cgroups.
    """

    user: str
    node: str
    options: list[str]


OPTIONS = {
    "slurm": Entry("ada", "n1", ["-i", "slurm", "--remote-launch-args=-w n1"]),
    "slurm-cgroup": Entry("ada", "n2", ["-i", "slurm", "--remote-launch-args=-w n2"]),
    "sge": Entry("ada", "n1", ["-i", "sge", "--queue=all.q@n1"]),
    "sge_qrsh": Entry("ada", "n1", ["-i", "sge_qrsh", "--queue=all.q@n1"]),
    "pbs": Entry("pia", "n1", ["-i", "pbs", "--remote-launch-args=-l host=n1"]),
    # Slurm's own qsub, which gives a shell on the login host.
    "pbs-torque": Entry("tora", "n1", ["-i", "pbs", "--remote-launch-args=-l nodes=n1"]),
    "lsf": Entry("lars", "n1", ["-i", "lsf", "--remote-launch-args=-m n1"]),
}
NEEDS = {"pbs-torque": pytest.mark.needs("torque")}


@pytest.fixture(params=[pytest.param(name, marks=NEEDS.get(name, ())) for name in OPTIONS])
def site(bed: Bed, slurm: Slurm, gridengine: GridEngine, request: pytest.FixtureRequest) -> Site:
    user, node, options = OPTIONS[request.param]
    way = ["--tunnel-hosts", "gina@gw1", f"{user}@login"]
    return Site(getattr(bed, node), user, bed.far_python, [*options, *way])
