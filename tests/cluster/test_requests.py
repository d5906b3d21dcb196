"""The options that read alike for all queues, as the jobs have them; the kernel's own variables.

Grid Engine and Torque's qsub, which cannot be asked for all of it, have tests of their own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frontend import Kernel, add_kernel
from queues import Queue, param


@pytest.mark.parametrize(
    ("queue", "name", "variables"),
    [
        param("slurm", r"Torch-2-9-GPU-rk\w{6}", {"SLURM_JOB_ID": "{}"}),
        param(
            *("pbs", r"Torch-rk\w{6}"),
            {"PBS_JOBID": "{}.login", "PBS_ENVIRONMENT": "PBS_INTERACTIVE"},
        ),
        param("lsf", r"Torch-2-9-GPU-rk\w{6}", {"LSB_JOBID": "{}"}),
    ],
    indirect=["queue"],
)
def test_what_is_asked_for_is_given(
    queue: Queue, tmp_path: Path, name: str, variables: dict[str, str]
) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--gpus=1", "--queue=main", "--cpus=3"]
    with Kernel(add_kernel(queue.site(*options), name="Torch 2.9 (GPU)"), tmp_path) as kernel:
        (job,) = queue.jobs()
        assert re.fullmatch(name, job.name)
        shown = queue.in_login_shell(f"scontrol -o show job {job.id}")
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "Partition=main", "CPUs/Task=3"):
            assert part in shown
        assert "gres:gpu:1" in shown
        environ = kernel.value("dict(__import__('os').environ)")
        assert {x: environ[x] for x in variables} == {
            variable: value.format(job.id) for variable, value in variables.items()
        }
        # The stubs' jobs are Slurm's.
        theirs = [variable for variable in environ if variable.startswith("SLURM")]
        assert bool(theirs) == (queue.kind.interface == "slurm")
        assert kernel.value("__import__('platform').node()") == "n2"
