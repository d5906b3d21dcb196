"""Fixtures of the unit tests: a home of their own, and the command line in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory of kernelspecs, below a home that is new."""
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON", "XDG_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "kernels"


@pytest.fixture
def run(kernels: Path, tmp_path: Path) -> Run:
    """Runs ``remote-kernels`` with these words."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "remote_kernels", *words],
            env={**os.environ, **environment},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    return run


@pytest.fixture
def manage(run: Run) -> Run:
    """Runs ``remote-kernels manage`` with these words."""
    return lambda *words, **environment: run("manage", *words, **environment)
