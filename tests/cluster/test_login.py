"""One login at the login host, for all jobs that are asked for there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel, failing, remote_kernels

PASSWORD = "correct horse"


@pytest.mark.usefixtures("slurm")
def test_kernels_in_jobs_ask_nothing_after_a_login(bed: Bed, tmp_path: Path) -> None:
    way = ["--tunnel-hosts", "gina@gw1", "ada@login"]
    site = Site(bed.n1, "ada", bed.far_python, ["-i", "slurm", *way])
    kept, forwarded = add_kernel(site), add_kernel(site, "--channel=forward", name="Forwarded")
    bed.login.set_password("ada", PASSWORD)
    with bed.login.asking("auth required pam_unix.so nodelay", "account required pam_unix.so"):
        status, stderr = failing(kept, tmp_path)
        assert status == 50
        line = "remote-kernels login ada@login --tunnel-hosts gina@gw1"
        assert f"in a terminal: {line}\n" in stderr
        words = ["-m", *line.replace("remote-kernels", "remote_kernels").split()]
        person: Any = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=20)
        person.expect("remote-kernels: ada@login asks:\r\n.*Password: ")
        person.sendline(PASSWORD)
        person.expect("Logged in")
        person.expect(pexpect.EOF)
        person.close()
        try:
            for spec in (kept, forwarded):
                with Kernel(spec, tmp_path) as kernel:
                    assert kernel.value("__import__('platform').node()") in ("n1", "n2")
        finally:
            remote_kernels("logout", "ada@login")
        assert bed.login.logins() == ["ada"]
