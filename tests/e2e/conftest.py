"""Front ends as people have them; each test must leave all machines as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed
from e2e.lab import Lab, browser, server
from frontend import Site


@pytest.fixture(autouse=True)
def _leave_nothing(nothing_remains: None, jupyter: None) -> None:
    """Look at all machines after every test."""


@pytest.fixture
def site(bed: Bed) -> Site:
    return Site(bed.far, "ada", bed.far_python, ["--interface=ssh", "--host=ada@far"])


@pytest.fixture
def server_log(tmp_path: Path) -> Path:
    """What JupyterLab's server and all launchers write."""
    return tmp_path / "server.log"


@pytest.fixture
def lab(server_log: Path, tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab, not opened yet: it looks for kernelspecs when it is."""
    with server(server_log) as url, browser(tmp_path / "chromium") as chrome:
        yield Lab(chrome, url)
