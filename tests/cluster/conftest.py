"""Tests on a cluster: each must leave its machines and its schedulers as they were."""

from __future__ import annotations

import pytest

from bed import Bed
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
