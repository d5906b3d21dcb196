"""What a scheduler refuses, or can never give, is said in its words and in ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import wait_until
from frontend import Kernel, add_kernel, failing
from queues import Queue, param

SGE_REFUSALS = (
    ("--queue=nosuch.q", 'unknown queue "nosuch.q"', "qstat -g c"),
    ("--account=nosuch", 'requested project "nosuch" does not exist', "qconf -sprjl"),
    ("--remote-launch-args=-pe nosuch 2", 'environment "nosuch" does not exist', "qconf -spl"),
    ("--remote-launch-args=-l nosuch=1", 'unknown resource "nosuch"', "qconf -sc"),
    ("--remote-launch-args=--nosuch", 'invalid option argument "--nosuch"', "launch-args"),
    ("--remote-launch-args=-w e -l h=nosuch", "can't resolve hostname", "launch-args"),
)
# Of each queue: the option, what the scheduler says, and what is advised.
REFUSALS = {
    "slurm": (
        ("--queue=nosuch", "invalid partition specified: nosuch", "sinfo"),
        ("--remote-launch-args=--nosuch", "unrecognized option '--nosuch'", "man srun"),
        ("--memory=500G", "Memory specification can not be satisfied", "--memory"),
        ("--gpus=9", "Requested node configuration is not available", "--gpus"),
        ("--remote-launch-args=-C nosuch", "Invalid feature specification", "sinfo"),
    ),
    "sge": SGE_REFUSALS,
    "sge_qrsh": SGE_REFUSALS,
    "pbs": (
        ("--queue=nosuch", "qsub: Unknown queue", "qstat -q"),
        (
            "--remote-launch-args=-l nosuch=1",
            "qsub: Unknown resource Resource_List.nosuch",
            "qstat -Qf",
        ),
        ("--memory=500G", "qsub: Job violates queue and/or server resource limits", "--memory"),
        ("--remote-launch-args=-Q", "qsub: invalid option -- 'Q'", "--remote-launch-args"),
    ),
    "pbs-torque": (
        ("--queue=nosuch", "salloc: error: invalid partition specified: nosuch", "--queue"),
    ),
    "lsf": (
        ("--queue=nosuch", "nosuch: No such queue. Job not submitted.", "bqueues"),
        (
            "--memory=500G",
            "MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.",
            "--memory",
        ),
        ("--gpus=9", "Too many processors requested. Job not submitted.", "--gpus"),
        (
            "--remote-launch-args=-R 'nosuch['",
            "Bad resource requirement syntax. Job not submitted.",
            "bqueues -l",
        ),
        ("--remote-launch-args=-Q", "illegal option -- Q", "--remote-launch-args"),
    ),
}
# A command that is not there, for each queue.
MISSING = {
    "slurm": "/opt/slurm/srun",
    "sge": "/opt/sge/qlogin",
    "sge_qrsh": "/opt/sge/qrsh",
    "pbs": "/opt/pbs/bin/qsub",
    "lsf": "/opt/lsf/bin/bsub",
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
# What is said of a scheduler that is down.
DOWN = {
    "slurm": ("SLURM does not answer: srun: error: ", "Unable to contact slurm controller"),
    "sge": ("GridEngine does not answer: ",),
    "sge_qrsh": ("GridEngine (qrsh) does not answer: ",),
    "pbs": ("PBS does not answer: Connection refused",),
    "pbs-torque": ("PBS does not answer: salloc: error: ",),
    "lsf": ("Platform LSF does not answer: Failed in an LSF library call: LIM is down",),
}


@pytest.mark.parametrize(
    ("queue", "option", "said", "advice"),
    [param(name, *case) for name, cases in REFUSALS.items() for case in cases],
    indirect=["queue"],
)
def test_a_refused_request(
    queue: Queue, tmp_path: Path, option: str, said: str, advice: str
) -> None:
    status, stderr = failing(add_kernel(queue.site(option)), tmp_path)
    assert status == 41
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block.splitlines()[0]
    assert f"  ran:   {queue.kind.asks}" in block
    assert_asking(queue, stderr, block, advice)


@pytest.mark.parametrize(
    ("queue", "command"), [param(*case) for case in MISSING.items()], indirect=["queue"]
)
def test_a_command_that_is_not_there(queue: Queue, tmp_path: Path, command: str) -> None:
    status, stderr = failing(add_kernel(queue.site(f"--launch-cmd={command}")), tmp_path)
    assert status == 40
    block = stderr[stderr.rindex("remote-kernels: ") :]
    sentence = f"the command {command} cannot be run on login"
    assert block.splitlines()[0] == f"remote-kernels: {sentence}."
    assert "not found" in block
    assert f"{command} " in block.partition("  ran:   ")[2]
    assert_asking(queue, stderr, block, "--launch-cmd")


def assert_asking(queue: Queue, stderr: str, block: str, advice: str) -> None:
    """The block tells where it was asked and what to try, and is all that is said."""
    assert "  stage: asking for the job\n" in block
    assert f"  host:  {queue.place}\n" in block
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
def test_a_scheduler_that_is_down(queue: Queue, tmp_path: Path, said: tuple[str, ...]) -> None:
    with queue.scheduler.down():
        status, stderr = failing(add_kernel(queue.site()), tmp_path)
    assert status == 42
    assert f"remote-kernels: {said[0]}" in stderr
    assert all(words in stderr for words in said)
