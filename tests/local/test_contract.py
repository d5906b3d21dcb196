"""The interface ``local`` keeps the contract."""

from __future__ import annotations

import pytest

from bed import Bed
from contract import *  # noqa: F403 - the tests, by their names in __all__
from frontend import Site


@pytest.fixture
def site(bed: Bed) -> Site:
    return Site(bed.laptop, "mia", bed.far_python, ["--interface=local"])
