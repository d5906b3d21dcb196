"""Real front ends and real kernels of other languages, over ssh."""

from __future__ import annotations

import pytest

from bed import Bed
from frontend import Site


@pytest.fixture(autouse=True)
def _leave_nothing(nothing_remains: None, jupyter: None) -> None:
    """Look at all machines after every test."""


@pytest.fixture
def site(bed: Bed) -> Site:
    """Where the kernels of these tests run."""
    return Site(bed.far, "ada", bed.far_python, ["--interface=ssh", "--host=ada@far"])
