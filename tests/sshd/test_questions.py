"""What ssh asks on the way in reaches the person, and nothing else is ever answered."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, assert_block, failing, log_text

PASSWORD = "correct horse"
# The secret of a one-time code, as oathtool and libpam-oath write it.
SEED = "3132333435363738393031323334353637383930"

UNIX = "auth required pam_unix.so nodelay"
OATH = "auth required pam_oath.so usersfile=/run/oath"
ACCOUNT = "account required pam_unix.so"
BY_PASSWORD = (UNIX, ACCOUNT)
BY_CODE = (UNIX, OATH, ACCOUNT)

CODE = "import platform; print('node', platform.node())"


def site(bed: Bed, *options: str) -> Site:
    return Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far", *options])


class Person:
    """Somebody at a terminal, in which a command of theirs runs."""

    def __init__(self, *command: str) -> None:
        self._child: Any = pexpect.spawn(
            command[0], list(command[1:]), encoding="utf-8", timeout=20, dimensions=(40, 200)
        )

    def sees(self, pattern: str) -> str:
        """Wait for a text; what came before it, and itself."""
        self._child.expect(pattern)
        return str(self._child.before + self._child.after)

    def types(self, text: str) -> None:
        """Type a line."""
        self._child.sendline(text)

    def presses(self, key: str) -> None:
        """Press a key together with Ctrl."""
        self._child.sendcontrol(key)

    def end(self) -> tuple[int, str]:
        """Wait for the command's end: its exit code, and what was last on the screen."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        return self._child.exitstatus, str(self._child.before)


def asks_code(spec: str, directory: Path) -> Person:
    """A person who runs a cell, with Jupyter in the foreground of their terminal."""
    cell = directory / "cell.py"
    cell.write_text(CODE)
    return Person(sys.executable, "-m", "jupyter", "run", f"--kernel={spec}", str(cell))


def ours(*words: str) -> Person:
    return Person(sys.executable, "-m", "remote_kernels", *words)


@pytest.fixture(autouse=True)
def _log_out() -> Iterator[None]:
    yield
    ours("logout", "--all").end()


@contextmanager
def with_code(bed: Bed) -> Iterator[None]:
    """``far`` wants ada's password and a one-time code."""
    bed.far.set_password("ada", PASSWORD)
    bed.far.run(["tee", "/run/oath"], input=f"HOTP/T30 ada - {SEED}\n")
    bed.far.run(["chmod", "600", "/run/oath"])
    with bed.far.asking(*BY_CODE):
        yield
    bed.far.run(["rm", "/run/oath"])


def code(bed: Bed) -> str:
    return bed.far.run(["oathtool", "--totp", SEED]).stdout.strip()


@contextmanager
def with_password(bed: Bed) -> Iterator[None]:
    """``far`` wants ada's password."""
    bed.far.set_password("ada", PASSWORD)
    with bed.far.asking(*BY_PASSWORD):
        yield


# --- at the terminal ----------------------------------------------------------------------------


def test_a_password_at_the_terminal_in_which_jupyter_runs(bed: Bed, tmp_path: Path) -> None:
    with with_password(bed):
        person = asks_code(add_kernel(site(bed)), tmp_path)
        person.sees("remote-kernels: ada@far asks:\r\n.*Password: ")
        person.types("wrong")
        # It is asked for as often as ssh does, with what ssh says of it.
        person.sees("Permission denied.*remote-kernels: ada@far asks:\r\n.*Password: ")
        person.types(PASSWORD)
        shown = person.sees("node far")
        assert PASSWORD not in shown
        assert person.end()[0] == 0
    assert PASSWORD not in log_text()


def test_what_is_given_up_with_control_c(bed: Bed, tmp_path: Path) -> None:
    with with_password(bed):
        person = ours("login", "ada@far")
        person.sees("Password: ")
        person.presses("c")
        status, said = person.end()
    assert status == 50
    assert "the login to ada@far was given up" in said
    assert bed.far.logins() == []


# --- remote-kernels login -----------------------------------------------------------------------


def test_a_login_with_password_and_code_serves_all_kernels(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    with with_code(bed):
        person = ours("login", "ada@far")
        person.sees("remote-kernels: ada@far asks:\r\n.*Password: ")
        person.types(PASSWORD)
        person.sees("remote-kernels: ada@far asks:\r\n.*One-time password.*: ")
        person.types(code(bed))
        status, said = person.end()
        assert status == 0, said
        with Kernel(spec, tmp_path) as first, Kernel(spec, tmp_path) as second:
            assert [first.value("6 * 7"), second.value("6 * 7")] == [42, 42]
        with Kernel(add_kernel(site(bed, "--channel=forward"), name="Plain"), tmp_path) as plain:
            assert plain.value("6 * 7") == 42
        assert bed.far.logins() == ["ada"]
