"""One login at the login host, for all jobs that are asked for there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel, failing, ours, remote_kernels

PASSWORD = "correct horse"


@pytest.mark.usefixtures("slurm")
def test_kernels_in_jobs_ask_nothing_after_a_login(bed: Bed, tmp_path: Path) -> None:
    way = ["--tunnel-hosts", "gina@gw1", "ada@login"]
    site = Site(bed.n1, "ada", bed.far_python, ["-i", "slurm", *way])
    kept, forwarded = add_kernel(site), add_kernel(site, "--channel=forward", name="Forwarded")
    with bed.login.wanting_password("ada", PASSWORD):
        status, stderr = failing(kept, tmp_path)
        assert status == 50
        line = "remote-kernels login ada@login --tunnel-hosts gina@gw1"
        assert f"in a terminal: {line}\n" in stderr
        person = ours(*line.split()[1:])
        person.sees("remote-kernels: ada@login asks:\r\n.*Password: ")
        person.types(PASSWORD)
        person.sees("Logged in")
        person.end()
        try:
            for spec in (kept, forwarded):
                with Kernel(spec, tmp_path) as kernel:
                    assert kernel.value("__import__('platform').node()") in ("n1", "n2")
        finally:
            remote_kernels("logout", "ada@login")
        assert bed.login.logins() == ["ada"]
