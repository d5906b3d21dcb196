"""``python -m remote_kernels`` in a directory that is not ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHADOWS = ("json", "pexpect", "signal", "subprocess", "argparse", "click", "platformdirs")


@pytest.mark.parametrize("words", [["--interface=local", "file.json"], ["manage", "--help"]])
def test_no_module_is_taken_from_the_notebooks_directory(tmp_path: Path, words: list[str]) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the directory')\n")
    done = subprocess.run(
        [sys.executable, "-m", "remote_kernels", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "taken from the directory" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"rmdir ../gone; exec {sys.executable} -m remote_kernels manage -V"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "gone", capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("Remote Jupyter kernel manager"), done.stderr
