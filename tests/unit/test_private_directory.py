"""The private directory: where it is made, and what is removed of those before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote_kernels.private_directory import PrivateDirectory, base_directory


def test_it_lies_in_the_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = PrivateDirectory()
    assert place.path.parent == tmp_path
    assert place.path.stat().st_mode & 0o777 == 0o700
    place.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # Others could put ours aside, and something of theirs into its place.
    for mode in (0o770, 0o777):
        tmp_path.chmod(mode)
        assert base_directory() == Path("/tmp")
    tmp_path.chmod(0o700)
    assert base_directory() == tmp_path
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert base_directory() == Path("/tmp")


def test_what_a_killed_launcher_has_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    stale = tmp_path / f"rk-{gone.pid}-0011223344"
    stale.mkdir()
    (stale / "link").symlink_to(precious)
    (tmp_path / f"rk-{gone.pid}-link").symlink_to(precious)
    place = PrivateDirectory()
    place.remove_stale()
    assert not stale.exists()
    assert place.path.exists()
    # What a link leads to stays.
    assert (precious / "file").exists()
