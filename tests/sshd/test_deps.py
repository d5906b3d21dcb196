"""``remote-kernels deps --install``: what notebooks need is installed over there, and they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from bed import Bed, wait_until
from frontend import ran, remote_kernels
from wheels import WHEELS, install_all

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
HOME = "/home/ada"
PREFIX = f"{HOME}/venvs/work"
PYTHON = f"{PREFIX}/bin/python"


@pytest.fixture
def venv(bed: Bed) -> Iterator[str]:
    """A fresh virtual environment of ada's, and an index without a network."""
    index = f"{HOME}/wheels"
    bed.far.unpack({wheel.file_name: wheel.data() for wheel in WHEELS}, index, user="ada")
    try:
        conf = f"[global]\nno-index = true\nfind-links = {index}\n"
        bed.far.write(f"{HOME}/.config/pip/pip.conf", conf, user="ada")
        bed.far.run(["python3", "-m", "venv", PREFIX], user="ada", timeout=60)
        yield PREFIX
    finally:
        made = "~/wheels ~/venvs ~/notebooks ~/.cache ~/.config"
        bed.far.run(["sh", "-c", f"rm -rf {made}"], user="ada")


@pytest.fixture
def work(bed: Bed, venv: str) -> str:
    """The same with ipykernel."""
    programs = os.path.dirname(bed.far_python)
    # In a fraction of pip's time.
    uv = [f"{programs}/uv", "pip", "install", "-q", "--no-cache", "--no-index", "--python", PYTHON]
    wheels = os.path.normpath(f"{programs}/../wheels")
    bed.far.run([*uv, "--find-links", wheels, "ipykernel"], user="ada", timeout=120)
    return venv


@pytest.fixture
def served(bed: Bed, work: str) -> Iterator[None]:
    """The address from which labtools is installed."""
    command = (
        f"nohup python3 -m http.server -b 127.0.0.1 -d {HOME}/wheels 8099 >/dev/null 2>&1 & echo $!"
    )
    pid = bed.far.run(["sh", "-c", command], user="ada").stdout.strip()
    try:
        wait_until(lambda: 8099 in bed.far.listening_ports(), 10, "the server of wheels")
        yield
    finally:
        bed.far.run(["kill", pid])


@pytest.fixture
def here(tmp_path: Path) -> str:
    """The Python of an environment on this machine that has all that notebooks import."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "here"], check=True)
    (site_packages,) = tmp_path.glob("here/lib/python3*/site-packages")
    install_all(WHEELS, site_packages)
    return str(tmp_path / "here/bin/python")


def deps(*words: str, status: int = 0) -> dict[str, Any]:
    """What the command tells programs."""
    done = ran("deps", "--json", *words, timeout=170)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return dict(json.loads(done.stdout))


def versions(bed: Bed) -> dict[str, str]:
    """What is installed in the environment over there, as pip says."""
    said = bed.far.run([PYTHON, "-m", "pip", "list", "--format=json"], user="ada").stdout
    return {each["name"]: each["version"] for each in json.loads(said)}


def added_kernel(*options: str) -> str:
    """A kernel in the environment over there."""
    command = f"{PYTHON} -m ipykernel_launcher -f {{connection_file}}"
    words = ["manage", "--add", "-i", "ssh", "-x", "ada@far", "-n", "Work", "-l", "python"]
    said = remote_kernels(*words, f"--kernel_cmd={command}", *options)
    return said.partition("['")[2].partition("']")[0]


def test_what_is_said(bed: Bed, venv: str, here: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("import tqdm, ujson\n")
    words = ["deps", str(tmp_path / "code.py"), "--python", here, "--install", "ada@far"]
    done = ran(*words)
    assert done.returncode == 1
    assert "no kernel of yours goes to ada@far" in done.stderr
    # Debian keeps pip out of its own Python.
    done = ran(*words, "--kernel", "python3")
    assert done.returncode == 60
    assert "  tqdm: ==4.66.1 here, missing there\n" in done.stdout
    assert "the system of that machine keeps others from installing into /usr" in done.stderr
    assert "  try: make a virtual environment over there" in done.stderr
    # One that is found there, and needs no kernel here.
    done = ran(*words, "--kernel", "work")
    assert done.returncode == 0, done.stderr
    version = bed.far.run([PYTHON, "-V"]).stdout.split()[1]
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"ada@far: {PYTHON} (Python {version}; here ")
    assert lines[1:5] == [
        "  tqdm: ==4.66.1 here, missing there",
        "  ujson: ==5.9.0 here, missing there",
        "To be installed with pip: tqdm==4.66.1, ujson==5.9.0",
        "pip installs tqdm==4.66.1, ujson==5.9.0",
    ]
    assert lines[-1] == "Installed: tqdm 4.66.1, ujson 5.9.0."
    bed.far.run([PYTHON, "-c", "import tqdm, ujson"], user="ada")
    assert ran(*words, "--kernel", "work").stdout.splitlines()[1:] == ["Nothing is missing."]


@pytest.mark.timeout(400)
def test_all_notebooks_run_where_their_needs_were_installed(
    bed: Bed, work: str, served: None, here: str
) -> None:
    paths = sorted(NOTEBOOKS.rglob("*.ipynb"))
    files = [path for path in NOTEBOOKS.rglob("*") if path.is_file()]
    contents = {str(x.relative_to(NOTEBOOKS)): x.read_bytes() for x in files}
    bed.far.unpack(contents, f"{HOME}/notebooks", user="ada")
    kernel = added_kernel("--workdir=~/notebooks")
    before = versions(bed)
    words = [str(NOTEBOOKS), "--python", here, "--install", "ada@far"]
    planned = deps(*words, "--dry-run", status=1)["install"]
    assert bed.far.logins() == ["ada"]
    assert versions(bed) == before
    done = deps(*words, status=1)
    assert done["error"] is None
    assert {note["path"].rpartition("/")[2] for note in done["unread"]} == {"30-broken-cell.ipynb"}
    made = done["install"]
    assert made["missing"] == planned["missing"]
    assert made["python"] == PYTHON
    after = versions(bed)
    # Nothing that was there has changed, be it another version than that here.
    assert {name: after[name] for name in before} == before
    assert made["changed"] == {}
    differs = {each["name"]: each["there"] for each in made["different"]}
    assert differs["python-dateutil"] == before["python-dateutil"]
    assert after["scikit-learn"] == "1.4.0"
    assert deps(*words, status=1)["install"]["missing"] == []
    run_all(kernel, paths)


def run_all(kernel: str, paths: list[Path]) -> None:
    """Run notebooks, one after the other, with one kernel."""
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel()
    try:
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            if notebook.metadata.get("language_info", {}).get("name") == "R":
                continue
            directory = f"/home/ada/notebooks/{path.parent.relative_to(NOTEBOOKS)}"
            cell = f"%reset -f\nimport os, sys\nos.chdir({directory!r})"
            notebook.cells.insert(0, nbformat.v4.new_code_cell(cell))
            runner = NotebookClient(notebook, km=manager, timeout=60)
            runner.execute()
            runner.kc.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
