"""What a scheduler refuses, or can never give, is said in its words and in ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import wait_until
from frontend import Kernel, add_kernel, failing
from queues import Queue, param

SGE_REFUSALS = (
    ("--queue=nosuch.q", 41, 'unknown queue "nosuch.q"', "qstat -g c"),
    ("--account=nosuch", 41, 'requested project "nosuch" does not exist', "qconf -sprjl"),
    ("--remote-launch-args=-pe nosuch 2", 41, 'environment "nosuch" does not exist', "qconf -spl"),
    ("--remote-launch-args=-l nosuch=1", 41, 'unknown resource "nosuch"', "qconf -sc"),
    ("--remote-launch-args=--nosuch", 41, 'invalid option argument "--nosuch"', "launch-args"),
    ("--remote-launch-args=-w e -l h=nosuch", 41, "can't resolve hostname", "launch-args"),
    ("--launch-cmd=/opt/sge/qnosuch", 40, "not found", "--launch-cmd"),
)
# Of each queue: the options, the exit code, what the scheduler says, and what is advised.
REFUSALS = {
    "slurm": (
        ("--queue=nosuch", 41, "invalid partition specified: nosuch", "sinfo"),
        ("--remote-launch-args=--nosuch", 41, "unrecognized option '--nosuch'", "man srun"),
        ("--memory=500G", 41, "Memory specification can not be satisfied", "--memory"),
        ("--gpus=9", 41, "Requested node configuration is not available", "--gpus"),
        ("--remote-launch-args=-C nosuch", 41, "Invalid feature specification", "sinfo"),
        ("--launch-cmd=/opt/slurm/srun", 40, "not found", "--launch-cmd"),
    ),
    "sge": SGE_REFUSALS,
    "sge_qrsh": SGE_REFUSALS,
    "pbs": (
        ("--queue=nosuch", 41, "qsub: Unknown queue", "qstat -q"),
        ("--remote-launch-args=-l nosuch=1", 41, "Unknown resource", "qstat -Qf"),
        ("--memory=500G", 41, "Job violates queue and/or server resource limits", "--memory"),
        ("--remote-launch-args=-Q", 41, "qsub: invalid option -- 'Q'", "--remote-launch-args"),
        ("--launch-cmd=/opt/pbs/bin/qsub", 40, "not found", "--launch-cmd"),
    ),
    "pbs-torque": (("--queue=nosuch", 41, "invalid partition specified: nosuch", "--queue"),),
    "lsf": (
        ("--queue=nosuch", 41, "nosuch: No such queue. Job not submitted.", "bqueues"),
        ("--memory=500G", 41, "MEMLIMIT: Cannot exceed queue's hard limit(s).", "--memory"),
        ("--gpus=9", 41, "Too many processors requested. Job not submitted.", "--gpus"),
        ("--remote-launch-args=-R 'nosuch['", 41, "Bad resource requirement", "bqueues -l"),
        ("--remote-launch-args=-Q", 41, "illegal option -- Q", "--remote-launch-args"),
        ("--launch-cmd=/opt/lsf/bin/bsub", 40, "not found", "--launch-cmd"),
    ),
}
# What no node will ever have: the options, what is said, and how the command that was run begins.
NEVER = {
    "slurm": (
        (["--cpus=64"], "PENDING (PartitionConfig)", "SLURM_OVERLAP=1 srun "),
        (["--queue=short", "--time=2:00:00"], "PENDING (PartitionTimeLimit)", "SLURM_OVERLAP=1 "),
    ),
    "sge": ((["--cpus=99"], 'cannot run in PE "smp"', "qlogin "),),
    "sge_qrsh": ((["--cpus=99"], 'cannot run in PE "smp"', "qrsh "),),
    "pbs": (
        (
            ["--cpus=64"],
            "Q (Can Never Run: Insufficient amount of resource: ncpus",
            "qsub -I -l ncpus=64 -N Test-",
        ),
    ),
    "lsf": (
        (
            ["--cpus=64"],
            "PEND (There are no suitable hosts for the job;)",
            "bsub -n 64 -R 'span[hosts=1]' -J Test-",
        ),
    ),
}
DOWN = {
    "slurm": "SLURM does not answer: srun: error: ",
    "sge": "GridEngine does not answer: ",
    "sge_qrsh": "GridEngine (qrsh) does not answer: ",
    "pbs": "PBS does not answer: Connection refused",
    "pbs-torque": "PBS does not answer: salloc: error: ",
    "lsf": "Platform LSF does not answer: Failed in an LSF library call: LIM is down",
}


@pytest.mark.parametrize(
    ("queue", "option", "code", "said", "advice"),
    [param(name, *case) for name, cases in REFUSALS.items() for case in cases],
    indirect=["queue"],
)
def test_a_refused_request(
    queue: Queue, tmp_path: Path, option: str, code: int, said: str, advice: str
) -> None:
    status, stderr = failing(add_kernel(queue.site(option)), tmp_path)
    assert status == code
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block
    assert "  stage: asking for the job\n" in block
    assert f"  host:  {queue.place}\n" in block
    assert "  ran:   " in block
    assert advice in block.partition("  try:   ")[2]
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("queue", "options", "said", "ran"),
    [param(name, *case) for name, cases in NEVER.items() for case in cases],
    indirect=["queue"],
)
def test_what_can_never_start_is_said_aloud(
    queue: Queue, tmp_path: Path, options: list[str], said: str, ran: str
) -> None:
    kernel = Kernel(add_kernel(queue.site(*options)), tmp_path)
    kernel.start()
    try:
        wait_until(lambda: "can never start" in kernel.stderr(), 20, "the warning")
        assert said in kernel.stderr()
        assert f"  ran:   {ran}" in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)
    queue.wait_empty()


@pytest.mark.parametrize(
    ("queue", "said"), [param(*case) for case in DOWN.items()], indirect=["queue"]
)
def test_a_scheduler_that_is_down(queue: Queue, tmp_path: Path, said: str) -> None:
    with queue.scheduler.down():
        status, stderr = failing(add_kernel(queue.site()), tmp_path)
    assert status == 42
    assert f"remote-kernels: {said}" in stderr
