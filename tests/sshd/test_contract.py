"""The interface ``ssh`` keeps the contract, directly and through two gateways."""

from __future__ import annotations

import pytest

from bed import Bed
from contract import *  # noqa: F403 - the tests, by their names in __all__
from frontend import Site


@pytest.fixture(params=["direct", "gateways"])
def site(bed: Bed, request: pytest.FixtureRequest) -> Site:
    if request.param == "direct":
        return Site(bed.far, "ada", bed.far_python, ["--interface=ssh", "--host=ada@far"])
    return Site(
        bed.inner,
        "ada",
        bed.far_python,
        ["-i", "ssh", "-x", "ada@inner", "--tunnel-hosts", "gina@gw1", "gina@gw2:22"],
    )
