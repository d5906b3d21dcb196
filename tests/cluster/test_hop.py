"""A login name behind which there are several machines: the launcher finds the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, log_text

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]

SSH_CONFIG = Path("~/.ssh/config").expanduser()


def lead_to(node: str) -> None:
    """Let the login name lead to one of the machines."""
    SSH_CONFIG.write_text(
        f"Host cluster\n  HostName {node}\n  User ada\n  ProxyJump gina@gw1,ada@login\n"
    )


def test_another_machine_of_the_cluster(bed: Bed, tmp_path: Path) -> None:
    lead_to("n1")
    site = Site(bed.n1, "ada", bed.far_python, ["--interface", "ssh", "--host", "cluster"])
    with Kernel(add_kernel(site), tmp_path) as kernel:
        kernel.run("precious = 42")
        lead_to("n2")
        bed.n1.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        wait_until(lambda: "going on to n1" in log_text(), 20, "the hop")
        wait_until(lambda: "back at" in log_text(), 20, "the line")
        assert kernel.value("precious") == 42
        assert kernel.value("__import__('platform').node()") == "n1"
        # Once more, over a line that itself has a hop.
        bed.n1.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        wait_until(lambda: log_text().count("back at") == 2, 20, "the line")
        assert kernel.value("precious") == 42
