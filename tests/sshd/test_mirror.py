"""``remote-kernels mirror``: an environment of one host on another one, and one tile for both."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import Bed, Machine
from frontend import Kernel, ran, remote_kernels
from wheels import WHEELS, Wheel

HOME = "/home/ada"
PREFIX = f"{HOME}/venvs/work"
PYTHON = f"{PREFIX}/bin/python"
# Debian's, which its venv takes as well.
BUNDLED = "/usr/share/python-wheels"
OLD = Wheel("six", "1.15.0", {"six.py": ""})


def index(machine: Machine, far_python: str) -> None:
    """Let pip and uv know an index without a network."""
    place, programs = f"{HOME}/wheels", os.path.dirname(far_python)
    wheels = {wheel.file_name: wheel.data() for wheel in (*WHEELS, OLD)}
    machine.unpack(wheels, place, user="ada")
    places = [place, os.path.normpath(f"{programs}/../wheels"), BUNDLED]
    pip = f"[global]\nno-index = true\nfind-links = {' '.join(places)}\n"
    machine.write(f"{HOME}/.config/pip/pip.conf", pip, user="ada")
    uv = f"no-index = true\nfind-links = {places}\n"
    machine.write(f"{HOME}/.config/uv/uv.toml", uv, user="ada")
    # Where a login shell finds it.
    machine.run(["mkdir", "-p", f"{HOME}/.local/bin"], user="ada")
    machine.run(["ln", "-s", f"{programs}/uv", f"{HOME}/.local/bin/uv"], user="ada")


def on(machine: Machine, *argv: str) -> str:
    """What a command of ada's prints."""
    return machine.run(argv, user="ada", timeout=120).stdout


UV = f"{HOME}/.local/bin/uv"
INSTALL = (UV, "pip", "install", "-q", "--python", PYTHON)


@pytest.fixture
def hosts(bed: Bed) -> Iterator[tuple[str, ...]]:
    """The words for two hosts that have an index."""
    both = (bed.far, bed.oar)
    try:
        for machine in both:
            index(machine, bed.far_python)
        yield ("--from", "ada@far", "--to", "ada@oar")
    finally:
        for machine in both:
            on(machine, "sh", "-c", "rm -rf ~/wheels ~/venvs ~/other ~/.cache ~/.config ~/.local")


@pytest.fixture
def work(bed: Bed, hosts: tuple[str, ...]) -> str:
    """A virtual environment with a kernel, on the first of them."""
    on(bed.far, "python3", "-m", "venv", PREFIX)
    on(bed.far, *INSTALL, "ipykernel", "tqdm==4.66.1", "six==1.16.0")
    # What is on that machine only.
    file = next(wheel.file_name for wheel in WHEELS if wheel.name == "labtools")
    on(bed.far, *INSTALL, f"{HOME}/wheels/{file}")
    return "work"


def mirrored(*words: str, status: int = 0) -> dict[str, Any]:
    """What the command tells programs."""
    hosts = ("--from", "ada@far", "--to", "ada@oar")
    done = ran("mirror", "--json", *words, *hosts, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr + done.stdout
    return dict(json.loads(done.stdout))


def versions(machine: Machine) -> dict[str, str]:
    """What is installed in the environment, as pip says."""
    said = on(machine, PYTHON, "-m", "pip", "list", "--format=json")
    return {each["name"]: each["version"] for each in json.loads(said)}


def where(kernel: Kernel) -> Any:
    """The machine of a kernel, its environment, and whether that has what it is to have."""
    return kernel.value(
        "[__import__('os').uname().nodename, __import__('sys').prefix, __import__('tqdm').__name__]"
    )


def test_one_tile_for_two_hosts(bed: Bed, work: str, tmp_path: Path) -> None:
    planned = mirrored(work, "--dry-run")
    assert planned["steps"][0]["argv"][1:] == ["venv", "--python", "/usr/bin/python3", PREFIX]
    assert planned["kernel"]["written"] is False
    assert not bed.oar.files(f"{HOME}/venvs")
    made = mirrored(work)
    assert made["error"] is None
    assert made["to"]["made"]
    (left_out,) = made["left_out"]
    assert left_out["name"] == "labtools"
    assert left_out["why"].startswith("installed from file:///home/ada/wheels/labtools")
    there = versions(bed.far)
    assert there.pop("labtools") == "0.3"
    assert versions(bed.oar) == there
    tile = made["kernel"]["name"]
    assert tile == "rik_ssh_ada_oar_work"
    with Kernel(tile, tmp_path) as kernel:
        assert where(kernel) == ["oar", PREFIX, "tqdm"]
    bed.oar.cut()
    try:
        with Kernel(tile, tmp_path) as kernel:
            assert where(kernel) == ["far", PREFIX, "tqdm"]
    finally:
        bed.oar.mend()

    # Again: nothing is to be done, and what a person has changed stays.
    remote_kernels("manage", "--edit", tile, "--workdir", "/tmp")
    again = mirrored(tile)
    assert (again["missing"], again["different"], again["steps"]) == ([], [], [])
    assert again["kernel"]["written"] is False
    assert "--workdir" in remote_kernels("manage", "--show", tile)
    assert versions(bed.oar) == there

    # What has come since is installed, and nothing else is touched.
    on(bed.far, *INSTALL, "ujson")
    on(bed.oar, *INSTALL, "six==1.15.0")
    later = mirrored(work)
    assert (later["installed"], later["changed"]) == ({"ujson": "5.9.0"}, {})
    assert later["different"] == [{"name": "six", "from": "1.16.0", "to": "1.15.0"}]
    exact = mirrored(work, "--exact", "--no-kernel")
    assert exact["changed"] == {"six": ["1.15.0", "1.16.0"]}
    assert exact["kernel"] is None


def test_refused(bed: Bed, hosts: tuple[str, ...]) -> None:
    on(bed.far, UV, "venv", "-q", PREFIX)
    on(bed.oar, "sh", "-c", "mkdir ~/other && echo mine > ~/other/file")
    done = ran("mirror", "work", *hosts, "--into", "other")
    assert done.returncode == 1
    assert f"{HOME}/other is there, and is no environment: it is left as it is" in done.stderr
    done = ran("mirror", "python3", *hosts)
    assert "/usr/bin/python3 is a Python of the system" in done.stderr
    done = ran("mirror", "work", *hosts[:2], "--to", "ada@far")
    assert "--from and --to are the same host" in done.stderr
    # Nothing of an environment that cannot be made stays.
    done = ran("mirror", "~/venvs/work", *hosts, "--python", "/bin/true")
    assert "/bin/true does not run, or is no Python" in done.stderr
    assert not bed.oar.files(f"{HOME}/venvs")
