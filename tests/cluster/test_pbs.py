"""Kernels of the interface ``pbs``: of stubs that say what OpenPBS says, and of Slurm's own qsub.

Both have real jobs of Slurm. pia's qsub is the stub, tora's that of slurm-wlm-torque.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import Bed, Slurm, wait_until
from contract import FOR_EVER
from frontend import Kernel, Site, add_kernel, assert_block, failing, log_text

pytestmark = pytest.mark.needs("slurm")
torque = pytest.param("tora", marks=pytest.mark.needs("torque"))
BOTH = pytest.mark.parametrize("user", ["pia", torque])
# What tells of a node in each's own words.
ON_N1 = {"pia": "--remote-launch-args=-l host=n1", "tora": "--remote-launch-args=-l nodes=n1"}


def place(user: str) -> str:
    return f"{user}@login (via gina@gw1)"


def site(bed: Bed, *options: str, user: str = "pia") -> Site:
    way = ["--interface=pbs", "--tunnel-hosts", "gina@gw1", f"{user}@login"]
    return Site(bed.n1, user, bed.far_python, [*way, *options])


def in_login_shell(bed: Bed, user: str, text: str) -> str:
    return bed.login.run(["bash", "-lc", text], user=user).stdout


@contextlib.contextmanager
def waiting(
    bed: Bed, slurm: Slurm, directory: Path, *options: str, user: str = "pia"
) -> Iterator[Kernel]:
    """A kernel whose job waits, since others have all that there is."""
    with slurm.full("bela"):
        kernel = Kernel(add_kernel(site(bed, *options, user=user)), directory)
        kernel.start()
        try:
            wait_until(lambda: [x.state for x in slurm.jobs(user)] == ["PENDING"], 20, "the job")
            (job,) = slurm.jobs(user)
            told = (f"job {job.id}.login Q", f"job {job.id} Q")
            wait_until(lambda: any(x in log_text() for x in told), 20, "the log to tell of it")
            yield kernel
        finally:
            kernel.__exit__(None, None, None)


@pytest.fixture
def kernel(bed: Bed, slurm: Slurm, tmp_path: Path, request: Any) -> Iterator[Kernel]:
    """A kernel on n1 that runs a cell; of ``user``, where a test has that."""
    user = request.node.callspec.params["user"] if hasattr(request.node, "callspec") else "pia"
    with Kernel(add_kernel(site(bed, ON_N1[user], user=user)), tmp_path) as running:
        running.begin(FOR_EVER)
        yield running
        print(running.stderr(), log_text())


def test_only_a_login_shell_finds_it(bed: Bed, slurm: Slurm) -> None:
    assert in_login_shell(bed, "pia", "type -p qsub qselect").count("/tests/stubs/pbs/") == 2
    # Grid Engine's own lies elsewhere.
    plain = bed.login.run(["sh", "-c", "command -v qsub"], user="pia", check=False)
    assert "/stubs/" not in plain.stdout


@pytest.mark.needs("torque")
def test_slurms_qsub_is_toras(bed: Bed, slurm: Slurm) -> None:
    assert in_login_shell(bed, "tora", "type -p qsub") == f"{bed.torque}/qsub\n"


def test_what_is_asked_for_is_given(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--gpus=1", "--queue=main", "--cpus=3"]
    spec = add_kernel(site(bed, *options), name="Torch 2.9 (GPU)")
    with Kernel(spec, tmp_path) as kernel:
        (job,) = slurm.jobs("pia")
        assert job.name.startswith("Torch-2--")
        assert len(job.name) == 15
        shown = bed.login.run(["scontrol", "-o", "show", "job", str(job.id)]).stdout
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "Partition=main", "CPUs/Task=3"):
            assert part in shown
        assert "gres:gpu:1" in shown
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["PBS_JOBID"] == f"{job.id}.login"
        assert environ["PBS_ENVIRONMENT"] == "PBS_INTERACTIVE"
        assert not [name for name in environ if name.startswith("SLURM")]
        assert kernel.value("__import__('platform').node()") == "n2"


@pytest.mark.needs("torque")
@pytest.mark.parametrize("settings", [(), ("LaunchParameters=use_interactive_step",)])
def test_slurms_qsub_leads_to_a_node(
    bed: Bed, slurm: Slurm, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--queue=main", "--cpus=3"]
    with (
        slurm.settings(*settings),
        Kernel(add_kernel(site(bed, *options, user="tora")), tmp_path) as kernel,
    ):
        (job,) = slurm.jobs("tora")
        assert job.nodes in ("n1", "n2")
        assert kernel.value("__import__('platform').node()") == job.nodes
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["SLURM_JOB_ID"] == str(job.id)
        assert "SLURM_OVERLAP" not in environ
        shown = bed.login.run(["scontrol", "-o", "show", "job", str(job.id)]).stdout
        for part in ("TimeLimit=01:30:00", "MinMemoryNode=1G", "MinCPUsNode=3"):
            assert part in shown
        kernel.restart()
        assert slurm.jobs("tora") == [job]
    wait_until(lambda: not slurm.jobs("tora"), 15, "the job's end")


# --- waiting ------------------------------------------------------------------------------------

TOLD = {
    "pia": "job {}.login Q (Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 8)), "
    "expected to start ",
    "tora": "job {} Q (Resources), expected to start 20",
}


@BOTH
def test_a_wait_is_told_and_survives_interrupts(
    bed: Bed, slurm: Slurm, tmp_path: Path, user: str
) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(contextlib.ExitStack())
        full.enter_context(slurm.full("bela"))
        kernel = Kernel(add_kernel(site(bed, "--time=0:10:00", user=user)), tmp_path)
        kernel.start()
        stack.callback(kernel.__exit__, None, None, None)
        (job,) = wait_until(lambda: slurm.jobs(user), 20, "the job")
        told = TOLD[user].format(job.id)
        wait_until(lambda: told in log_text(), 40, "reason and expected start in the log")
        kernel.signal_launcher(signal.SIGINT)
        says = f"remote-kernels: still waiting for {told.partition(' (')[0]} ("
        wait_until(lambda: says in kernel.stderr(), 5, "the answer to the interrupt")
        assert [x.state for x in slurm.jobs(user)] == ["PENDING"]
        full.close()
        kernel.wait_for_ready()
        assert kernel.value("6 * 7") == 42
        assert "Do you wish" not in log_text()


def test_a_wait_that_is_given_up(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    with slurm.full("bela"):
        status, stderr = failing(add_kernel(site(bed, "--launch-timeout=4s")), tmp_path)
        assert status == 43
        (line,) = [x for x in stderr.splitlines() if x.startswith("remote-kernels: there was no")]
        assert line.startswith("remote-kernels: there was no job within 4s: job ")
        assert ".login Q" in line
        wait_until(lambda: not slurm.jobs("pia"), 15, "the job's end")


@BOTH
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_ghost_of_a_job_that_waited(
    bed: Bed, slurm: Slurm, tmp_path: Path, user: str, signum: signal.Signals
) -> None:
    with waiting(bed, slurm, tmp_path, user=user) as kernel:
        os.kill(kernel.launcher.pid, signum)
        wait_until(lambda: not slurm.jobs(user), 15, "the job's end")
    slurm.wait_idle()
    assert not bed.n1.processes(user) + bed.n2.processes(user)
    # A directory that a killed launcher could not remove goes with the next one's start.
    failing(add_kernel(site(bed, "--queue=nosuch", user=user)), tmp_path)


@BOTH
def test_the_login_hosts_session_is_lost_while_waiting(
    bed: Bed, slurm: Slurm, tmp_path: Path, user: str
) -> None:
    with waiting(bed, slurm, tmp_path, user=user) as kernel:
        bed.login.run(["pkill", "-KILL", "-f", f"sshd: {user}"])
        wait_until(lambda: not slurm.jobs(user), 15, "the job's end")
        assert kernel.launcher_status(timeout=10) == 27
        assert "the connection to the login host broke" in kernel.stderr()


@BOTH
def test_a_killed_client_leaves_no_job(bed: Bed, slurm: Slurm, tmp_path: Path, user: str) -> None:
    with waiting(bed, slurm, tmp_path, user=user) as kernel:
        bed.login.run(["pkill", "-KILL", "-u", user, "-x", "qsub"])
        wait_until(lambda: not slurm.jobs(user), 15, "the job's end")
        assert kernel.launcher_status(timeout=10) in (41, 44)


@BOTH
def test_a_job_that_is_deleted_while_it_waits(
    bed: Bed, slurm: Slurm, tmp_path: Path, user: str
) -> None:
    with waiting(bed, slurm, tmp_path, user=user) as kernel:
        (job,) = slurm.jobs(user)
        name = f"{job.id}.login" if user == "pia" else str(job.id)
        in_login_shell(bed, user, f"qdel {name}")
        assert kernel.launcher_status(timeout=15) == 44
        sentence = f"job {name} was cancelled before it started"
        assert_block(kernel.stderr(), sentence, "waiting for the job", place(user), None)


def test_what_can_never_start_is_said_aloud(bed: Bed, slurm: Slurm, tmp_path: Path) -> None:
    kernel = Kernel(add_kernel(site(bed, "--cpus=64")), tmp_path)
    kernel.start()
    try:
        wait_until(lambda: "can never start" in kernel.stderr(), 20, "the warning")
        assert "Q (Can Never Run: Insufficient amount of resource: ncpus" in kernel.stderr()
        assert "  ran:   qsub -I -l ncpus=64 -N Test-" in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)
    wait_until(lambda: not slurm.jobs("pia"), 15, "the job's end")


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "option", "code", "said", "advice"),
    [
        ("pia", "--queue=nosuch", 41, "qsub: Unknown queue", "qstat -q"),
        (
            "pia",
            "--remote-launch-args=-l nosuch=1",
            41,
            "qsub: Unknown resource Resource_List.nosuch",
            "qstat -Qf",
        ),
        (
            "pia",
            "--memory=500G",
            41,
            "qsub: Job violates queue and/or server resource limits",
            "--memory",
        ),
        (
            "pia",
            "--remote-launch-args=-Q",
            41,
            "qsub: invalid option -- 'Q'",
            "--remote-launch-args",
        ),
        ("pia", "--launch-cmd=/opt/pbs/bin/qsub", 40, "not found", "--launch-cmd"),
        pytest.param(
            *("tora", "--queue=nosuch", 41, "salloc: error: invalid partition specified: nosuch"),
            "--queue",
            marks=pytest.mark.needs("torque"),
        ),
    ],
)
def test_a_refused_request(
    bed: Bed,
    slurm: Slurm,
    tmp_path: Path,
    user: str,
    option: str,
    code: int,
    said: str,
    advice: str,
) -> None:
    status, stderr = failing(add_kernel(site(bed, option, user=user)), tmp_path)
    assert status == code
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block
    assert "  stage: asking for the job\n" in block
    assert f"  host:  {place(user)}\n" in block
    assert advice in block.partition("  try:   ")[2]
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("pia", "PBS does not answer: Connection refused"),
        pytest.param(
            "tora", "PBS does not answer: salloc: error: ", marks=pytest.mark.needs("torque")
        ),
    ],
)
def test_a_server_that_is_down(
    bed: Bed, slurm: Slurm, tmp_path: Path, user: str, said: str
) -> None:
    with slurm.controller_down():
        status, stderr = failing(add_kernel(site(bed, user=user)), tmp_path)
    assert status == 42
    assert said in stderr


# --- the end of the job -------------------------------------------------------------------------


@BOTH
def test_a_job_that_is_deleted(bed: Bed, slurm: Slurm, kernel: Kernel, user: str) -> None:
    (job,) = slurm.jobs(user)
    name = f"{job.id}.login" if user == "pia" else str(job.id)
    in_login_shell(bed, user, f"qdel {name}")
    assert kernel.launcher_status(timeout=15) == 44
    where = f"n1, job {name} (via gina@gw1, {user}@login)"
    sentence = f"job {name} was cancelled"
    assert_block(kernel.stderr(), sentence, "running the kernel", where, None)


@BOTH
def test_a_job_whose_time_is_up(bed: Bed, slurm: Slurm, kernel: Kernel, user: str) -> None:
    (job,) = slurm.jobs(user)
    # The one change that a person may make; Slurm looks at limits every 30 s.
    bed.login.run(["scontrol", "update", f"jobid={job.id}", "endtime=now+1"], user=user)
    assert kernel.launcher_status(timeout=90) == 44
    name = f"{job.id}.login" if user == "pia" else str(job.id)
    assert f"remote-kernels: job {name} reached its time limit.\n" in kernel.stderr()
    words = "=>> PBS: job killed: walltime" if user == "pia" else "DUE TO TIME LIMIT"
    assert words in kernel.stderr()


@BOTH
def test_the_login_hosts_session_is_lost(bed: Bed, slurm: Slurm, kernel: Kernel, user: str) -> None:
    bed.login.run(["pkill", "-KILL", "-f", f"sshd: {user}"])
    assert kernel.launcher_status(timeout=10) == 27
    wait_until(lambda: not slurm.jobs(user), 15, "the job's end")
    wait_until(
        lambda: not [x for x in bed.n1.files(f"/home/{user}") if "rik_kernel" in x],
        15,
        "the connection file's end",
    )


@BOTH
def test_the_job_goes_with_the_launcher(bed: Bed, slurm: Slurm, kernel: Kernel, user: str) -> None:
    kernel.kill_launcher()
    wait_until(lambda: not slurm.jobs(user), 15, "the job's end")


@BOTH
def test_a_restart_stays_in_the_job(bed: Bed, slurm: Slurm, tmp_path: Path, user: str) -> None:
    with Kernel(add_kernel(site(bed, user=user)), tmp_path) as kernel:
        (before,) = slurm.jobs(user)
        with slurm.full("bela"):
            kernel.restart()
            assert kernel.value("6 * 7") == 42
        assert slurm.jobs(user) == [before]
    wait_until(lambda: not slurm.jobs(user), 15, "the job's end")
