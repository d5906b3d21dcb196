"""What kernels in a real Grid Engine's jobs do: wait, end, and are given back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bed import Bed, GridEngine, wait_until
from contract import FOR_EVER
from frontend import Kernel, Site, add_kernel, failing, log_text

pytestmark = pytest.mark.needs("gridengine")
PLACE = "ada@login (via gina@gw1)"


@pytest.fixture(params=["sge", "sge_qrsh"])
def interface(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def site(bed: Bed, interface: str, *options: str) -> Site:
    way = [f"--interface={interface}", "--tunnel-hosts", "gina@gw1", "ada@login"]
    return Site(bed.n1, "ada", bed.far_python, [*way, *options])


@contextlib.contextmanager
def waiting(bed: Bed, gridengine: GridEngine, interface: str, directory: Path) -> Iterator[Kernel]:
    """A kernel whose job waits, since others have all that there is."""
    with gridengine.full("bela"):
        kernel = Kernel(add_kernel(site(bed, interface)), directory)
        kernel.start()
        try:
            wait_until(lambda: [x.state for x in gridengine.jobs("ada")] == ["qw"], 20, "the job")
            wait_until(lambda: "] job " in log_text() or " qw" in log_text(), 20, "the log")
            yield kernel
        finally:
            kernel.__exit__(None, None, None)


# What is typed before the far shell runs ends the session, in 17 to 43 of 100 starts.
@pytest.mark.timeout(600)
def test_fifty_starts_in_a_row(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    # It ends at once: what is tried is the way to it.
    spec = add_kernel(site(bed, interface), kernel_cmd="echo it ran; exit 7")
    with ThreadPoolExecutor(5) as rows:
        ends = list(rows.map(lambda _: failing(spec, tmp_path), range(50)))
    assert [status for status, _ in ends] == [25] * 50
    assert all("  said:  it ran\n" in stderr for _, stderr in ends)
    wait_until(lambda: not gridengine.jobs("ada"), 15, "the last job's end")


def test_what_is_asked_for_is_given(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--queue=all.q", "--cpus=3", "--pe=smp"]
    with Kernel(add_kernel(site(bed, interface, *options), name="R 4.5"), tmp_path) as kernel:
        (job,) = gridengine.jobs("ada")
        assert job.name.startswith("R-4-5-")
        ask = f"qstat -j {job.id}"
        shown = bed.login.run(["bash", "-lc", ask], user="ada").stdout
        assert "h_rt=5400" in shown
        assert "mem_free=1G" in shown
        assert "hard_queue_list:            all.q\n" in shown
        assert "parallel environment:  smp range: 3\n" in shown
        assert kernel.value("__import__('platform').node()") in ("n1", "n2")


def test_a_wait_is_told_and_survives_interrupts(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(contextlib.ExitStack())
        full.enter_context(gridengine.full("bela"))
        kernel = Kernel(add_kernel(site(bed, interface)), tmp_path)
        kernel.start()
        stack.callback(kernel.__exit__, None, None, None)
        (job,) = wait_until(lambda: gridengine.jobs("ada"), 20, "the job")
        told = f"job {job.id} qw (queue instance"
        wait_until(lambda: told in log_text(), 30, "the reason in the log")
        kernel.signal_launcher(signal.SIGINT)
        says = f"remote-kernels: still waiting for job {job.id} qw"
        wait_until(lambda: says in kernel.stderr(), 5, "the answer to the interrupt")
        assert [x.state for x in gridengine.jobs("ada")] == ["qw"]
        full.close()
        kernel.wait_for_ready()
        assert kernel.value("6 * 7") == 42


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_ghost_of_a_job_that_waited(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path, signum: signal.Signals
) -> None:
    with waiting(bed, gridengine, interface, tmp_path) as kernel:
        os.kill(kernel.launcher.pid, signum)
        wait_until(lambda: not gridengine.jobs("ada"), 15, "the job's end")
    gridengine.wait_idle()
    assert not bed.n1.processes("ada") + bed.n2.processes("ada")
    # A directory that a killed launcher could not remove goes with the next one's start.
    failing(add_kernel(site(bed, interface, "--queue=nosuch")), tmp_path)


def test_the_login_hosts_session_is_lost_while_waiting(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with waiting(bed, gridengine, interface, tmp_path) as kernel:
        bed.login.run(["pkill", "-KILL", "-f", "sshd: ada"])
        wait_until(lambda: not gridengine.jobs("ada"), 15, "the job's end")
        assert kernel.launcher_status(timeout=10) == 27


def test_a_killed_client_leaves_no_job(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with waiting(bed, gridengine, interface, tmp_path) as kernel:
        bed.login.run(["pkill", "-KILL", "-u", "ada", "-x", "qlogin|qrsh"])
        wait_until(lambda: not gridengine.jobs("ada"), 15, "the job's end")
        assert kernel.launcher_status(timeout=30) in (41, 44)


def test_what_can_never_start_is_said_aloud(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    kernel = Kernel(add_kernel(site(bed, interface, "--cpus=99")), tmp_path)
    kernel.start()
    try:
        wait_until(lambda: "can never start" in kernel.stderr(), 20, "the warning")
        assert 'cannot run in PE "smp"' in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)
    wait_until(lambda: not gridengine.jobs("ada"), 15, "the job's end")


@pytest.mark.parametrize(
    ("option", "said", "advice"),
    [
        ("--queue=nosuch.q", 'unknown queue "nosuch.q"', "qstat -g c"),
        ("--account=nosuch", 'requested project "nosuch" does not exist', "qconf -sprjl"),
        ("--remote-launch-args=-pe nosuch 2", 'environment "nosuch" does not exist', "qconf -spl"),
        ("--remote-launch-args=-l nosuch=1", 'unknown resource "nosuch"', "qconf -sc"),
        ("--remote-launch-args=--nosuch", 'invalid option argument "--nosuch"', "launch-args"),
        ("--remote-launch-args=-w e -l h=nosuch", "can't resolve hostname", "launch-args"),
    ],
)
def test_a_refused_request(
    bed: Bed,
    gridengine: GridEngine,
    interface: str,
    tmp_path: Path,
    option: str,
    said: str,
    advice: str,
) -> None:
    status, stderr = failing(add_kernel(site(bed, interface, option)), tmp_path)
    assert status == 41
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block.splitlines()[0]
    assert f"  host:  {PLACE}\n" in block
    assert "  ran:   q" in block
    assert advice in block.partition("  try:   ")[2]
    assert "Traceback" not in stderr


def test_a_command_that_is_not_there(bed: Bed, gridengine: GridEngine, tmp_path: Path) -> None:
    spec = add_kernel(site(bed, "sge", "--launch-cmd=/opt/sge/qlogin"))
    status, stderr = failing(spec, tmp_path)
    assert status == 40
    assert "the command /opt/sge/qlogin cannot be run on login" in stderr


def test_a_master_that_is_down(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with gridengine.master_down():
        status, stderr = failing(add_kernel(site(bed, interface)), tmp_path)
    assert status == 42
    assert " does not answer: " in stderr


def test_qrsh_instead_of_qlogin(bed: Bed, gridengine: GridEngine, tmp_path: Path) -> None:
    with Kernel(add_kernel(site(bed, "sge", "--launch-cmd=qrsh")), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42


# --- the end of the job -------------------------------------------------------------------------


def test_a_job_that_is_cancelled(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with Kernel(add_kernel(site(bed, interface)), tmp_path) as kernel:
        kernel.begin(FOR_EVER)
        (job,) = gridengine.jobs("ada")
        bed.login.run(["bash", "-lc", f"qdel {job.id}"], user="ada")
        assert kernel.launcher_status(timeout=40) == 44
        assert f"remote-kernels: job {job.id} was cancelled or killed.\n" in kernel.stderr()


def test_a_job_whose_time_is_up(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with Kernel(add_kernel(site(bed, interface, "--time=8s")), tmp_path) as kernel:
        kernel.begin(FOR_EVER)
        (job,) = gridengine.jobs("ada")
        assert kernel.launcher_status(timeout=60) == 44
        sentence = f"job {job.id} reached a hard limit (h_rt, h_cpu or h_vmem)"
        assert f"remote-kernels: {sentence}.\n" in kernel.stderr()


def test_a_restart_stays_in_the_job(
    bed: Bed, gridengine: GridEngine, interface: str, tmp_path: Path
) -> None:
    with Kernel(add_kernel(site(bed, interface)), tmp_path) as kernel:
        (before,) = gridengine.jobs("ada")
        with gridengine.full("bela"):
            kernel.restart()
            assert kernel.value("6 * 7") == 42
        assert [job.id for job in gridengine.jobs("ada")] == [before.id]
