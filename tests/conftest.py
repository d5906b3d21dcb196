"""What all tests share: the bed, what is absent here, and the look at what a test left behind."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

# Their assertions, too, are to tell what was there.
pytest.register_assert_rewrite(
    "attached", "bed", "behind_nat", "carried", "contract", "frontend", "queues"
)

from bed import Bed, GridEngine, Oar, Scheduler, Slurm, Watch  # noqa: E402
from bed.client import FD_VARIABLE  # noqa: E402
from bed.oar import postgresql  # noqa: E402

IN_CI = os.environ.get("CI") == "true"
OAR = ("oarsub", "oar-database", "oar-server")
R_LIBRARIES = ("/usr/lib/R/site-library", "/usr/local/lib/R/site-library")

# Servers and programs that a test can need with ``@pytest.mark.needs("chromium")``.
SERVERS: dict[str, Callable[[], bool]] = {
    "bed": lambda: FD_VARIABLE in os.environ,
    "btrfs": lambda: (
        shutil.which("mkfs.btrfs", path="/usr/sbin:/sbin") is not None
        and "btrfs" in Path("/proc/filesystems").read_text()
    ),
    "chromium": lambda: all(map(shutil.which, ("chromium", "chromedriver"))),
    "desktop": lambda: all(map(shutil.which, ("Xvfb", "ssh-askpass", "xdotool"))),
    "fish": lambda: shutil.which("fish") is not None,
    "gridengine": lambda: all(
        shutil.which(name, path="/usr/lib/gridengine") for name in ("sge_qmaster", "sge_execd")
    ),
    "irkernel": lambda: any(Path(library, "IRkernel").is_dir() for library in R_LIBRARIES),
    "kerberos": lambda: all(
        shutil.which(name, path="/usr/bin:/usr/sbin")
        for name in ("krb5kdc", "kadmin.local", "kinit")
    ),
    "lowest": lambda: Path(sys.prefix, "lowest/bin/remote-kernels").exists(),
    "libfaketime": lambda: Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1").exists(),
    "mandoc": lambda: shutil.which("mandoc") is not None,
    "oar": lambda: all(
        (postgresql(), *(shutil.which(name, path="/usr/bin:/usr/sbin") for name in OAR)),
    ),
    "rsync": lambda: shutil.which("rsync") is not None,
    "python3.6": lambda: Path(sys.prefix, "pythons/3.6").is_dir(),
    "screen": lambda: shutil.which("screen") is not None,
    "slurm": lambda: all(
        shutil.which(name, path="/usr/sbin") for name in ("munged", "slurmctld", "slurmd")
    ),
    "softhsm2": lambda: shutil.which("softhsm2-util") is not None,
    "systemd": lambda: (
        shutil.which("systemd-analyze") is not None and Path("/lib/systemd/systemd").exists()
    ),
    "tcsh": lambda: shutil.which("tcsh") is not None,
    "tmux": lambda: shutil.which("tmux") is not None,
    "unison": lambda: shutil.which("unison") is not None,
    "torque": lambda: Path(sys.prefix, "far/torque/usr/bin/qsub").exists(),
    "uv": lambda: Path(sys.prefix, "far/bin/uv").exists(),
    "zsh": lambda: shutil.which("zsh") is not None,
}
WHY = {
    "bed": "far machines need root and namespaces: run tests/run as root",
    "python3.6": "tests/run copies it from ~/.pyenv",
}
ABSENT = {name for name, is_there in SERVERS.items() if not is_there()}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", f"needs(*names): needs {', '.join(SERVERS)}")


def pytest_report_header() -> str:
    """Say first what will not be tested."""
    return f"absent: {', '.join(sorted(ABSENT)) or 'nothing'}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose server is absent, with the reason."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            require(name)


def require(name: str) -> None:
    """Skip the test if a server is absent; where all must be there that is a failure."""
    if SERVERS.get(name) is None:
        pytest.fail(f"no server is called {name}")
    if name in ABSENT:
        reason = f"absent: {name}. {WHY.get(name, 'tests/run installs it as root')}"
        if IN_CI:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _bed() -> Bed | None:
    return Bed.from_environment()


@pytest.fixture
def bed(_bed: Bed | None) -> Iterator[Bed]:
    """The machines, as they were switched on but for what earlier tests left in homes."""
    require("bed")
    assert _bed is not None
    _bed.forget_hosts()
    _bed.forget_logins()
    yield _bed
    _bed.restore()


S = TypeVar("S", bound=Scheduler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long tests may take that do not mind."""
    parser.addoption(
        "--absence", type=int, default=15, help="seconds that a laptop is away (600: as it should)"
    )


def started(kind: Callable[[Bed], S], name: str, bed: Bed | None) -> S:
    """A scheduler for the first test that needs it; it ends with the bed."""
    require("bed")
    require(name)
    assert bed is not None
    scheduler = kind(bed)
    scheduler.start()
    return scheduler


@pytest.fixture(scope="session")
def slurm(_bed: Bed | None) -> Slurm:
    """Slurm on the cluster."""
    return started(Slurm, "slurm", _bed)


@pytest.fixture(scope="session")
def gridengine(_bed: Bed | None) -> GridEngine:
    """Grid Engine on the cluster."""
    return started(GridEngine, "gridengine", _bed)


@pytest.fixture(scope="session")
def oar(_bed: Bed | None) -> Oar:
    """OAR on a machine of its own."""
    return started(Oar, "oar", _bed)


@pytest.fixture
def nothing_remains(bed: Bed) -> Iterator[None]:
    """Fail a test that leaves processes, ports, files or jobs behind on any machine."""
    watch = Watch(bed)
    yield
    watch.assert_nothing_remains()


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jupyter's and our own files of this test in a directory of its own."""
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    yield
    # For whoever reads of a test that failed.
    for path in (*tmp_path.rglob("stderr-*"), *tmp_path.rglob("*.log")):
        print(path.name, path.read_text("utf-8", "replace"), sep="\n")
