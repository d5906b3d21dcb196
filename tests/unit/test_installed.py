"""What lies beside the modules once the program is installed: commands, script, manual, logos."""

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

VERSION = "Remote Jupyter kernel manager (version "


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    if shutil.which("remote-kernels", path=here) is None:
        pytest.skip("the program is not installed beside this Python")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "command",
    [["remote-kernels"], ["jupyter-remote-kernels"], [sys.executable, "-m", "remote_kernels"]],
)
def test_the_commands(command: list[str]) -> None:
    assert said(*command, "manage", "-V").startswith(VERSION)


def test_it_is_a_subcommand_of_jupyter() -> None:
    jupyter = [sys.executable, "-m", "jupyter_core", "remote-kernels"]
    assert said(*jupyter, "manage", "-V").startswith(VERSION)


def test_the_second_name_is_a_script_that_can_be_switched_on(tmp_path: Path) -> None:
    assert shutil.which("remote_ikernel") is None
    link = tmp_path / "remote_ikernel"
    link.symlink_to(Path(sys.prefix, "share/remote-kernels/remote_ikernel"))
    assert said(str(link), "manage", "-V").startswith(VERSION)


def test_manual_and_logos() -> None:
    manual = Path(sys.prefix, "share/man/man1")
    assert {"remote-kernels.1", "remote-kernels-manage.1"} <= set(os.listdir(manual))
    logos = {path.name for path in (files("remote_kernels") / "logos").iterdir()}
    assert {"logo-svg.svg", "logo-64x64.png"} <= logos
    assert (files("remote_kernels") / "py.typed").is_file()
