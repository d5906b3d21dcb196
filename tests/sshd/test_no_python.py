"""A far side that cannot run a keeper: the kernel is carried by ssh's forwards, as was said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel, log_text, without_python

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]

# A Python that takes itself for an old one.
OLD = """\
#!/bin/sh
eval "loader=\\$2"
exec /usr/bin/python3 -c 'import sys; sys.version_info = (3, 5)
sys.argv.pop(0); exec(sys.argv[0])' "$2" "$3"
"""


@pytest.fixture(params=["no Python", "an old one"])
def path(bed: Bed, request: pytest.FixtureRequest) -> Iterator[str]:
    """The far side's PATH before the login shell has set its own."""
    with without_python(bed.far) as directory:
        if request.param == "an old one":
            bed.far.write(f"{directory}/python3", OLD, user="root", mode="755")
        yield directory


@pytest.mark.parametrize("options", [[], ["--no-share"]])
@pytest.mark.usefixtures("path")
def test_it_is_carried_by_forwards(bed: Bed, tmp_path: Path, options: list[str]) -> None:
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far", *options])
    with Kernel(add_kernel(site), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        kernel.restart()
        assert kernel.value("6 * 7") == 42
        assert kernel.stderr() == ""
        assert log_text().count("there is no Python 3.6 or newer over there") == 2
        assert kernel.shut_down() == 0
