"""Tests against real machines: each must leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel


@pytest.fixture(autouse=True)
def _leave_nothing(nothing_remains: None, jupyter: None) -> None:
    """Look at all machines after every test."""


@pytest.fixture
def site(bed: Bed) -> Site:
    """ada's account on ``far``: the plainest way to a kernel by ssh."""
    return Site(bed.far, "ada", bed.far_python, ["--interface", "ssh", "--host", "ada@far"])


@pytest.fixture
def kernel(site: Site, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that is ready."""
    with Kernel(add_kernel(site), tmp_path) as running:
        yield running
