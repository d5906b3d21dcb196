"""Kernels of the interface ``lsf``: of stubs that say what LSF says, with real jobs of Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontend import Kernel, add_kernel
from queues import Queue, param

pytestmark = [
    pytest.mark.needs("slurm"),
    pytest.mark.parametrize("queue", [param("lsf")], indirect=True),
]


def test_only_a_login_shell_finds_it(queue: Queue) -> None:
    assert queue.in_login_shell("type -p bsub bjobs bkill").count("/tests/stubs/lsf/") == 3
    login, user = queue.bed.login, queue.kind.user
    assert login.run(["sh", "-c", "command -v bsub"], user=user, check=False).status


def test_what_is_asked_for_is_given(queue: Queue, tmp_path: Path) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--gpus=1", "--queue=main", "--cpus=3"]
    with Kernel(add_kernel(queue.site(*options), name="Torch 2.9 (GPU)"), tmp_path) as kernel:
        (job,) = queue.jobs()
        assert job.name.startswith("Torch-2-9-GPU-")
        shown = queue.in_login_shell(f"scontrol -o show job {job.id}")
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "Partition=main", "CPUs/Task=3"):
            assert part in shown
        assert "gres:gpu:1" in shown
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["LSB_JOBID"] == str(job.id)
        assert not [name for name in environ if name.startswith("SLURM")]
        assert kernel.value("__import__('platform').node()") == "n2"
