"""Kernels of the interface ``lsf``: of stubs that say what LSF says, with real jobs of Slurm."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, Slurm, wait_until
from contract import FOR_EVER
from frontend import Kernel, Site, add_kernel, assert_block, failing, log_text

pytestmark = pytest.mark.needs("slurm")
WAY = ["--interface=lsf", "--tunnel-hosts", "gina@gw1", "lars@login"]
PLACE = "lars@login (via gina@gw1)"


def site(bed: Bed, *options: str) -> Site:
    return Site(bed.n1, "lars", bed.far_python, [*WAY, *options])


def in_login_shell(bed: Bed, text: str) -> str:
    return bed.login.run(["bash", "-lc", text], user="lars").stdout


@contextlib.contextmanager
def waiting(bed: Bed, slurm: Slurm, directory: Path, *options: str) -> Iterator[Kernel]:
    """A kernel whose job waits, since others have all that there is."""
    with slurm.full("bela"):
        kernel = Kernel(add_kernel(site(bed, *options)), directory)
        kernel.start()
        try:
            wait_until(lambda: [x.state for x in slurm.jobs("lars")] == ["PENDING"], 20, "the job")
            (job,) = slurm.jobs("lars")
            wait_until(lambda: f"job {job.id} PEND" in log_text(), 20, "the log to tell of it")
            yield kernel
        finally:
            kernel.__exit__(None, None, None)


@pytest.fixture
def kernel(bed: Bed, slurm: Slurm, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel on n1 that runs a cell."""
    with Kernel(add_kernel(site(bed, "--remote-launch-args=-m n1")), tmp_path) as running:
        running.begin(FOR_EVER)
        yield running
        print(running.stderr(), log_text())


def test_only_a_login_shell_finds_it(bed: Bed, slurm: Slurm) -> None:
    assert in_login_shell(bed, "type -p bsub bjobs bkill").count("/tests/stubs/lsf/") == 3
    assert bed.login.run(["sh", "-c", "command -v bsub"], user="lars", check=False).status


def test_what_is_asked_for_is_given(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--gpus=1", "--queue=main", "--cpus=3"]
    spec = add_kernel(site(bed, *options), name="Torch 2.9 (GPU)")
    with Kernel(spec, tmp_path) as kernel:
        (job,) = slurm.jobs("lars")
        assert job.name.startswith("Torch-2-9-GPU-")
        shown = bed.login.run(["scontrol", "-o", "show", "job", str(job.id)]).stdout
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "Partition=main", "CPUs/Task=3"):
            assert part in shown
        assert "gres:gpu:1" in shown
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["LSB_JOBID"] == str(job.id)
        assert not [name for name in environ if name.startswith("SLURM")]
        assert kernel.value("__import__('platform').node()") == "n2"


# --- waiting ------------------------------------------------------------------------------------


def test_a_wait_is_told_and_survives_interrupts(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(contextlib.ExitStack())
        full.enter_context(slurm.full("bela"))
        kernel = Kernel(add_kernel(site(bed, "--time=0:10:00")), tmp_path)
        kernel.start()
        stack.callback(kernel.__exit__, None, None, None)
        (job,) = wait_until(lambda: slurm.jobs("lars"), 20, "the job")
        told = f"job {job.id} PEND (Job slot limit reached: 2 hosts;), expected to start "
        wait_until(lambda: told in log_text(), 40, "reason and expected start in the log")
        kernel.signal_launcher(signal.SIGINT)
        says = f"remote-kernels: still waiting for job {job.id} PEND ("
        wait_until(lambda: says in kernel.stderr(), 5, "the answer to the interrupt")
        assert [x.state for x in slurm.jobs("lars")] == ["PENDING"]
        full.close()
        kernel.wait_for_ready()
        assert kernel.value("6 * 7") == 42


def test_a_wait_that_is_given_up(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with slurm.full("bela"):
        status, stderr = failing(add_kernel(site(bed, "--launch-timeout=4s")), tmp_path)
        assert status == 43
        (line,) = [x for x in stderr.splitlines() if x.startswith("remote-kernels: there was no")]
        assert line.startswith("remote-kernels: there was no job within 4s: job ")
        assert " PEND" in line
        wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_ghost_of_a_job_that_waited(
    bed: Bed, slurm: Slurm, tmp_path: Path, signum: signal.Signals
) -> None:
    with waiting(bed, slurm, tmp_path) as kernel:
        os.kill(kernel.launcher.pid, signum)
        wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")
    slurm.wait_idle()
    assert not bed.n1.processes("lars") + bed.n2.processes("lars")
    # A directory that a killed launcher could not remove goes with the next one's start.
    failing(add_kernel(site(bed, "--queue=nosuch")), tmp_path)


def test_the_login_hosts_session_is_lost_while_waiting(
    bed: Bed, slurm: Slurm, tmp_path: Path
) -> None:
    with waiting(bed, slurm, tmp_path) as kernel:
        bed.login.run(["pkill", "-KILL", "-f", "sshd: lars"])
        wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")
        assert kernel.launcher_status(timeout=10) == 27
        assert "the connection to the login host broke" in kernel.stderr()


def test_a_killed_client_leaves_no_job(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with waiting(bed, slurm, tmp_path) as kernel:
        bed.login.run(["pkill", "-KILL", "-u", "lars", "-x", "bsub"])
        wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")
        assert kernel.launcher_status(timeout=10) in (41, 44)


def test_a_job_that_is_killed_while_it_waits(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with waiting(bed, slurm, tmp_path) as kernel:
        (job,) = slurm.jobs("lars")
        in_login_shell(bed, f"bkill {job.id}")
        assert kernel.launcher_status(timeout=15) == 44
        sentence = f"job {job.id} was cancelled before it started"
        said = "<<Terminated while pending>>"
        assert_block(kernel.stderr(), sentence, "waiting for the job", PLACE, said)


def test_what_can_never_start_is_said_aloud(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    kernel = Kernel(add_kernel(site(bed, "--cpus=64")), tmp_path)
    kernel.start()
    try:
        wait_until(lambda: "can never start" in kernel.stderr(), 20, "the warning")
        assert "PEND (There are no suitable hosts for the job;)" in kernel.stderr()
        assert "  ran:   bsub -n 64 -R 'span[hosts=1]' -J Test-" in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)
    wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "code", "said", "advice"),
    [
        ("--queue=nosuch", 41, "nosuch: No such queue. Job not submitted.", "bqueues"),
        (
            "--memory=500G",
            41,
            "MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.",
            "--memory",
        ),
        ("--gpus=9", 41, "Too many processors requested. Job not submitted.", "--gpus"),
        (
            "--remote-launch-args=-R 'nosuch['",
            41,
            "Bad resource requirement syntax. Job not submitted.",
            "bqueues -l",
        ),
        ("--remote-launch-args=-Q", 41, "illegal option -- Q", "--remote-launch-args"),
        ("--launch-cmd=/opt/lsf/bin/bsub", 40, "not found", "--launch-cmd"),
    ],
)
def test_a_refused_request(
    bed: Bed, slurm: Slurm, tmp_path: Path, option: str, code: int, said: str, advice: str
) -> None:
    status, stderr = failing(add_kernel(site(bed, option)), tmp_path)
    assert status == code
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block
    assert "  stage: asking for the job\n" in block
    assert f"  host:  {PLACE}\n" in block
    assert advice in block.partition("  try:   ")[2]
    assert "Traceback" not in stderr


def test_lsf_is_down(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with slurm.controller_down():
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 42
    assert "LSF does not answer: Failed in an LSF library call: LIM is down" in stderr


# --- the end of the job -------------------------------------------------------------------------


def test_a_job_that_is_killed(bed: Bed, slurm: Slurm, kernel: Kernel) -> None:
    (job,) = slurm.jobs("lars")
    in_login_shell(bed, f"bkill {job.id}")
    assert kernel.launcher_status(timeout=15) == 44
    place = f"n1, job {job.id} (via gina@gw1, lars@login)"
    sentence = f"job {job.id} was cancelled"
    assert_block(kernel.stderr(), sentence, "running the kernel", place, None)


def test_a_job_whose_time_is_up(bed: Bed, slurm: Slurm, kernel: Kernel) -> None:
    (job,) = slurm.jobs("lars")
    # The one change that a person may make; Slurm looks at limits every 30 s.
    bed.login.run(["scontrol", "update", f"jobid={job.id}", "endtime=now+1"], user="lars")
    assert kernel.launcher_status(timeout=90) == 44
    assert f"remote-kernels: job {job.id} reached its time limit.\n" in kernel.stderr()


def test_the_login_hosts_session_is_lost(bed: Bed, slurm: Slurm, kernel: Kernel) -> None:
    bed.login.run(["pkill", "-KILL", "-f", "sshd: lars"])
    assert kernel.launcher_status(timeout=10) == 27
    wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")
    wait_until(
        lambda: not [x for x in bed.n1.files("/home/lars") if "rik_kernel" in x],
        15,
        "the connection file's end",
    )


def test_the_job_goes_with_the_launcher(bed: Bed, slurm: Slurm, kernel: Kernel) -> None:
    kernel.kill_launcher()
    wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")


def test_a_restart_stays_in_the_job(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with Kernel(add_kernel(site(bed)), tmp_path) as kernel:
        (before,) = slurm.jobs("lars")
        with slurm.full("bela"):
            kernel.restart()
            assert kernel.value("6 * 7") == 42
        assert slurm.jobs("lars") == [before]
    wait_until(lambda: not slurm.jobs("lars"), 15, "the job's end")
