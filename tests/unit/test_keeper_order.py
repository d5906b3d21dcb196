"""What keepers are told: which kernel that was kept a launcher comes back to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.keeper_order import kept_as
from remote_kernels.life import Life
from remote_kernels.options import KernelOptions


@pytest.fixture
def file(tmp_path: Path) -> ConnectionFile:
    """A connection file as Jupyter writes one."""
    path = tmp_path / "kernel-1.json"
    ports = dict.fromkeys(PORT_NAMES, 1)
    path.write_text(json.dumps({"transport": "tcp", "ip": "127.0.0.1", "key": "k", **ports}))
    return ConnectionFile.read(str(path))


def name_of(file: ConnectionFile, **options: Any) -> str:
    """What tells the kernels of a kernelspec from others."""
    usual: dict[str, Any] = {
        **{"interface": "slurm", "name": "x", "tunnel_hosts": ("login",), "keep": True},
        "kernel_cmd": "kernel {connection_file}",
    }
    return kept_as(Life(KernelOptions(**{**usual, **options}), file))


@pytest.mark.parametrize(
    "options",
    [
        *({"cpus": 4}, {"memory": "8G"}, {"gpus": 1}, {"queue": "q"}, {"account": "a"}),
        *({"activate": "/e"}, {"env": ("A=1",)}, {"workdir": "/w"}, {"precmd": "x"}),
        *({"name": "y"}, {"tunnel_hosts": ("other",)}, {"kernel_cmd": "k {connection_file}"}),
        {"launch_args": "-p x"},
    ],
)
def test_a_kernelspec_that_makes_other_kernels_has_its_own(
    file: ConnectionFile, options: dict[str, Any]
) -> None:
    assert name_of(file, **options) != name_of(file)


@pytest.mark.parametrize(
    "options", [{"lease": "5h"}, {"time": "1:00:00"}, {"spool": "1M"}, {"verbose": True}]
)
def test_how_long_it_may_run_or_wait_makes_no_other_kernel(
    file: ConnectionFile, options: dict[str, Any]
) -> None:
    assert name_of(file, **options) == name_of(file)


def test_another_directory_is_another_kernel(
    file: ConnectionFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = name_of(file)
    monkeypatch.chdir(tmp_path)
    assert name_of(file) != here
