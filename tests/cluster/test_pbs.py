"""Kernels of the interface ``pbs``: of stubs that say what OpenPBS says, and of Slurm's own qsub.

Both have real jobs of Slurm. pia's qsub is the stub, tora's that of slurm-wlm-torque.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import Slurm
from frontend import Kernel, add_kernel
from queues import Queue, param

pytestmark = pytest.mark.needs("slurm")
STUBS = pytest.mark.parametrize("queue", [param("pbs")], indirect=True)
TORQUE = pytest.mark.parametrize("queue", [param("pbs-torque")], indirect=True)


@STUBS
def test_only_a_login_shell_finds_it(queue: Queue) -> None:
    assert queue.in_login_shell("type -p qsub qselect").count("/tests/stubs/pbs/") == 2
    # Grid Engine's own lies elsewhere.
    login, user = queue.bed.login, queue.kind.user
    plain = login.run(["sh", "-c", "command -v qsub"], user=user, check=False)
    assert "/stubs/" not in plain.stdout


@TORQUE
def test_slurms_qsub_is_toras(queue: Queue) -> None:
    assert queue.in_login_shell("type -p qsub") == f"{queue.bed.torque}/qsub\n"


@TORQUE
@pytest.mark.parametrize("settings", [(), ("LaunchParameters=use_interactive_step",)])
def test_slurms_qsub_leads_to_a_node(
    queue: Queue, slurm: Slurm, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--queue=main", "--cpus=3"]
    with (
        slurm.settings(*settings),
        Kernel(add_kernel(queue.site(*options)), tmp_path) as kernel,
    ):
        (job,) = queue.jobs()
        assert job.nodes in ("n1", "n2")
        assert kernel.value("__import__('platform').node()") == job.nodes
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["SLURM_JOB_ID"] == str(job.id)
        assert "SLURM_OVERLAP" not in environ
        shown = queue.in_login_shell(f"scontrol -o show job {job.id}")
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "MinCPUsNode=3"):
            assert part in shown
        kernel.restart()
        assert queue.jobs() == [job]
    queue.wait_empty()
