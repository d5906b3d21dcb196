"""Logins that an sshd refuses: said in words, and never tried again by themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bed import Bed, wait_until
from bed.plan import BY_PASSWORD
from frontend import Kernel, Site, add_kernel, assert_block, failing, log_text


def site(bed: Bed, user: str = "ada") -> Site:
    return Site(bed.far, user, bed.far_python, ["-i", "ssh", "-x", f"{user}@far"])


def attempts(bed: Bed) -> int:
    """How many connections have come to sshd."""
    return bed.far.sshd_log().count("Connection from ")


def test_a_password_that_has_expired(bed: Bed, tmp_path: Path) -> None:
    key = "PubkeyAuthentication yes"
    with bed.far.wanting_password("ada", "old and stale", key, expired=True):
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 17
    sentence = "the password of ada@far has expired"
    said = "Password change required but no TTY available."
    assert_block(stderr, sentence, "logging in", "ada@far", said)
    assert "  try:   log in by hand, and choose a new one: ssh -t -l ada -- far\n" in stderr


def test_an_account_that_is_locked(bed: Bed, tmp_path: Path) -> None:
    bed.far.set_shadow("ada", "!:20000::::::")
    before = attempts(bed)
    status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 17
    assert_block(stderr, "ada@far denied permission", "logging in", "ada@far", "(publickey)")
    assert attempts(bed) == before + 1


def test_an_account_that_has_expired(bed: Bed, tmp_path: Path) -> None:
    bed.far.set_shadow("ada", "*:20000:::::20001:")
    with bed.far.asking(*BY_PASSWORD, settings=["PubkeyAuthentication yes"]):
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 17
    sentence = "ada@far denied permission: the account has expired"
    said = "Your account has expired"
    assert_block(stderr, sentence, "logging in", "ada@far", said)


def test_a_command_that_is_forced(bed: Bed, tmp_path: Path) -> None:
    with bed.far.sshd("ForceCommand echo only sftp here"):
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 20
    sentence = "the login worked, but our command was not run over there"
    stage = "starting the shell over there"
    assert_block(stderr, sentence, stage, "ada@far", "only sftp here")


def test_too_many_tries(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("#!/bin/sh\necho wrong\n")
    wrong.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(wrong))
    bed.far.set_password("ada", "right")
    before = attempts(bed)
    with bed.far.asking(*BY_PASSWORD, settings=["MaxAuthTries 2"]):
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 17
    said = "Too many authentication failures"
    assert_block(stderr, "ada@far denied permission", "logging in", "ada@far", said)
    assert attempts(bed) == before + 1


def test_a_banner_stands_in_the_error_harmless(bed: Bed, tmp_path: Path) -> None:
    bed.far.run(["tee", "/run/banner"], input="\x1b[31mNo one shall\x07 pass\n")
    with bed.far.sshd("Banner /run/banner"):
        status, stderr = failing(add_kernel(site(bed, "stranger")), tmp_path)
    bed.far.run(["rm", "/run/banner"])
    assert status == 17
    assert "No one shall" in stderr
    assert "\x1b" not in stderr + log_text()
    assert "\x07" not in stderr + log_text()


def test_what_jupyter_starts_again_does_not_log_in_again(bed: Bed, tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir(mode=0o700)
    connection_file = str(tmp_path / "runtime/kernel-1.json")
    kernel = Kernel(add_kernel(site(bed, "stranger")), tmp_path, connection_file=connection_file)
    before = attempts(bed)
    kernel.start()
    assert kernel.launcher_status(timeout=20) == 17
    for _ in range(3):
        # As its restarter does when a kernel has not answered yet.
        kernel.manager.restart_kernel(now=True, newports=True)
        kernel.find_launcher()
        assert kernel.launcher_status(timeout=20) == 17
    assert attempts(bed) == before + 1
    assert kernel.stderr().count("stranger@far denied permission") == 4
    assert "was not tried again" in kernel.stderr()
    refused = tmp_path / "runtime/rik_refused-kernel-1"
    assert refused.stat().st_mode & 0o777 == 0o600
    # After a while of quiet it is.
    os.utime(refused, (1, 1))
    kernel.manager.restart_kernel(now=True)
    kernel.find_launcher()
    assert kernel.launcher_status(timeout=20) == 17
    assert attempts(bed) == before + 2
    kernel.__exit__(None, None, None)


def test_old_refusals_are_removed(bed: Bed, tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir(mode=0o700)
    old = tmp_path / "runtime/rik_refused-kernel-0"
    old.write_text("[17, 'no']")
    os.utime(old, (1, 1))
    connection_file = str(tmp_path / "runtime/kernel-1.json")
    with Kernel(add_kernel(site(bed)), tmp_path, connection_file=connection_file):
        wait_until(lambda: not old.exists(), 10, "its end")
