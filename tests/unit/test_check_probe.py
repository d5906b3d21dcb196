"""What a check runs in place of a kernel, in the shells that people have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from remote_kernels import check_probe

SHELLS = [["sh"], ["bash"], ["dash"], ["zsh", "-f"], ["fish", "-N"], ["tcsh", "-f"]]


def run(shell: list[str], command: str, directory: Path) -> tuple[int, dict[str, str], str]:
    """Exit code, what was found, and all that was printed."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"absent: {shell[0]}")
    done = subprocess.run(
        [*shell, "-c", command],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    printed = done.stdout + done.stderr
    return (
        done.returncode,
        dict(filter(None, map(check_probe.found, printed.splitlines()))),
        printed,
    )


shells = pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])


@shells
def test_a_look_at_ipykernel(tmp_path: Path, shell: list[str]) -> None:
    python = tmp_path / "my python"
    python.symlink_to(sys.executable)
    fake = tmp_path / "ipykernel"
    fake.mkdir()
    (fake / "__init__.py").write_text("__version__ = '9.9'\n")
    command = f"env PYTHONPATH='{tmp_path}' '{python}' -m ipykernel_launcher -f {{connection_file}}"
    status, found, printed = run(shell, check_probe.look(command), tmp_path)
    assert status == 0, printed
    assert found["command"].startswith("ipykernel 9.9 of Python 3.")
    assert found["python"].startswith("Python 3.")
    assert found["space"].split()[3].isdigit()


@shells
def test_a_look_at_another_program(tmp_path: Path, shell: list[str]) -> None:
    program = tmp_path / "a kernel"
    program.write_text("#!/bin/sh\ntouch started\n")
    program.chmod(0o700)
    status, found, printed = run(
        shell, check_probe.look(f"'{program}' --file {{connection_file}}"), tmp_path
    )
    assert (status, found.get("command")) == (0, str(program)), printed
    assert not (tmp_path / "started").exists()
    status, found, printed = run(shell, check_probe.look("no/such {connection_file}"), tmp_path)
    assert status == 127
    assert "no/such: not found" in printed


@shells
def test_the_version_of_another_language(tmp_path: Path, shell: list[str]) -> None:
    program = tmp_path / "julia"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo julia version 1.10\n')
    program.chmod(0o700)
    _, found, printed = run(shell, check_probe.look("~/julia -i {connection_file}"), tmp_path)
    assert found.get("command") == f"{program} julia version 1.10", printed


@shells
def test_a_home_is_expanded(tmp_path: Path, shell: list[str]) -> None:
    program = tmp_path / "kernel"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    status, found, printed = run(shell, check_probe.look("~/kernel {connection_file}"), tmp_path)
    assert (status, found.get("command")) == (0, str(program)), printed


@shells
def test_a_scheduler_and_its_queue(tmp_path: Path, shell: list[str]) -> None:
    status, found, _ = run(shell, check_probe.scheduler("true", "test -d /"), tmp_path)
    assert (status, "command" in found) == (0, True)
    assert run(shell, check_probe.scheduler("true", "test -d /no"), tmp_path)[0] == 3
    assert run(shell, check_probe.scheduler("no-such-qsub", ""), tmp_path)[0] == 127


@shells
def test_what_remains(tmp_path: Path, shell: list[str]) -> None:
    left = tmp_path / "rik kernel.json"
    left.touch()
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    command = check_probe.remains([str(left), "/no/such"], str(sleeper.pid))
    _, _, printed = run(shell, command, tmp_path)
    sleeper.kill()
    sleeper.wait()
    assert printed.splitlines() == [f"rk-found remains {left}", "rk-found remains processes"]
    left.unlink()
    assert run(shell, command, tmp_path) == (0, {}, "")
