"""Every scheduler's interface keeps the contract, from a laptop through a gateway."""

from __future__ import annotations

import pytest

from contract import *  # noqa: F403 - the tests, by their names in __all__
from frontend import Site
from queues import KINDS, Queue, param

# On n2 Slurm knows a job's processes by cgroups.
NODES = [*(param(name, "n1") for name in KINDS), param("slurm", "n2")]
pytestmark = pytest.mark.parametrize(("queue", "node"), NODES, indirect=["queue"])


@pytest.fixture
def site(queue: Queue, node: str) -> Site:
    return queue.site(node=node)
