"""Tests on a cluster: each must leave its machines and its schedulers as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed
from contract import FOR_EVER
from frontend import Kernel, add_kernel
from queues import KINDS, Queue, param, queue_of


@pytest.fixture
def scheduler_runs(request: pytest.FixtureRequest) -> None:
    """A scheduler that is started for a test is no remains of it."""
    if "queue" in request.fixturenames:
        request.getfixturevalue("queue")


@pytest.fixture(autouse=True)
def _leave_nothing(scheduler_runs: None, nothing_remains: None, jupyter: None) -> None:
    """Look at all machines and schedulers after every test."""


@pytest.fixture(params=[param(name) for name in KINDS])
def queue(bed: Bed, request: pytest.FixtureRequest) -> Queue:
    """Every queue in turn."""
    return queue_of(request.param, bed, request)


@pytest.fixture
def kernel(queue: Queue, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel on n1 that runs a cell."""
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as running:
        running.begin(FOR_EVER)
        yield running
