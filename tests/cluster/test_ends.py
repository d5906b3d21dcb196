"""However a kernel ends, its job ends too, and the other way round, with all schedulers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import wait_until
from contract import FOR_EVER
from frontend import (
    FLOOD,
    Kernel,
    add_kernel,
    assert_block,
    flood,
    is_back,
    log_text,
    run_and_disturb,
)
from queues import Queue, param
from remote_kernels.keeper import SILENCE


def test_a_job_that_is_cancelled(queue: Queue, kernel: Kernel, tmp_path: Path) -> None:
    (job,) = queue.jobs()
    queue.cancel(job)
    assert kernel.launcher_status(timeout=40) == 44
    name = queue.id_of(job)
    where = f"n1, job {name} (via gina@gw1, {queue.kind.user}@login)"
    sentence = f"job {name} {queue.kind.cancelled}"
    words = queue.kind.cancelled_words
    assert_block(kernel.stderr(), sentence, "running the kernel", where, words)
    queue.start_another(tmp_path)


def test_a_job_whose_time_is_up(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(*queue.kind.limit, node="n1")), tmp_path) as kernel:
        kernel.begin(FOR_EVER)
        (job,) = queue.jobs()
        queue.let_time_run_out(job)
        assert kernel.launcher_status(timeout=90) == 44
        sentence = f"job {queue.id_of(job)} {queue.kind.time_is_up}"
        assert f"remote-kernels: {sentence}.\n" in kernel.stderr()
        assert queue.kind.time_is_up_words in kernel.stderr()
    queue.start_another(tmp_path)


def test_the_login_hosts_session_is_lost(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        kernel.run("precious = 42")
        code = "import time\nfor n in range(40):\n    print(n, flush=True)\n    time.sleep(0.1)"
        printed = run_and_disturb(kernel, code, [(10, queue.lose_session)])
        assert printed.split() == [str(n) for n in range(40)]
        wait_until(lambda: "back at" in log_text(), 20, "the line")
        cuts = [(mb << 20, queue.lose_session) for mb in (1, 3, 6, 10, 14)]
        assert run_and_disturb(kernel, FLOOD.format(mb=16), cuts) == flood(16)
        assert kernel.value("precious") == 42
        assert len(queue.jobs()) == 1
    queue.wait_empty()


@pytest.mark.parametrize("queue", [param("slurm"), param("sge")], indirect=True)
def test_the_network_is_lost(queue: Queue, tmp_path: Path) -> None:
    def lose_network() -> None:
        queue.bed.gw1.cut()
        wait_until(lambda: "has been silent" in log_text(), 20, "the launcher to notice")
        queue.bed.gw1.mend()

    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        kernel.run("precious = 42")
        code = "import time\nfor n in range(300):\n    print(n, flush=True)\n    time.sleep(0.1)"
        printed = run_and_disturb(kernel, code, [(10, lose_network)])
        assert printed.split() == [str(n) for n in range(300)]
        wait_until(is_back, 45, "the line")
        assert kernel.value("precious") == 42
    queue.wait_empty()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("queue", [param("slurm"), param("sge")], indirect=True)
def test_the_login_host_is_started_anew(queue: Queue, kernel: Kernel, tmp_path: Path) -> None:
    # All at once, as in a crash. srun is two processes, and the second, when it outlives the first
    # by a moment, kills the step's processes but may not come to give the job back (Slurm 22.05).
    for signal in ("STOP", "KILL"):
        queue.bed.login.run(["pkill", f"-{signal}", "-u", queue.kind.user])
    assert kernel.launcher_status(timeout=30) == 27
    assert "the kernel is not there any more" in kernel.stderr()
    # Not every scheduler notices; the keeper on the node does when nobody speaks any more.
    wait_until(lambda: not queue.jobs(), SILENCE + 75, "the job's end")
    # What the keepers could not remove goes with the next ones' start on their hosts.
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path):
        pass
    home = f"/home/{queue.kind.user}"
    wait_until(
        lambda: not [path for path in queue.bed.n1.files(home) if "rik_kernel" in path],
        15,
        "the connection file's end",
    )


def test_the_job_goes_with_the_launcher(queue: Queue, kernel: Kernel) -> None:
    kernel.kill_launcher()
    queue.wait_empty()


def test_a_restart_stays_in_the_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site()), tmp_path) as kernel:
        (before,) = queue.jobs()
        with queue.scheduler.full("bela"):
            kernel.restart()
            assert kernel.value("6 * 7") == 42
        assert [job.id for job in queue.jobs()] == [before.id]
        assert f"restarting in job {queue.id_of(before)} on " in log_text()
    queue.wait_empty()
