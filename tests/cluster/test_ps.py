"""``ps`` and what can be done with kernels, where they run in jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import wait_until
from frontend import Kernel, add_kernel, log_text, remote_kernels
from queues import Queue, only


def test_a_kernel_in_a_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site("--time=1h", node="n1")), tmp_path) as kernel:
        (job,) = queue.jobs()
        wait_until(lambda: only()["state"] == "idle", 15, "word of its state")
        found = only()
        assert found["job"] == queue.id_of(job)
        assert (found["node"], found["line"], found["name"]) == ("n1", "connected", "Test")
        assert found["memory"] > 10_000
        # Slurm's own imitation of Torque's commands tells of no time that was used.
        if queue.kind.interface != "pbs":
            assert 0 < found["time_left"] <= 3600
        message = kernel.begin("import threading\nthreading.Event().wait(60)")
        wait_until(lambda: only()["state"] == "busy", 15, "word of its work")
        assert remote_kernels("interrupt", found["id"]).startswith("Interrupted ")
        assert kernel.reply_to(message)["ename"] == "KeyboardInterrupt"

        kernel.run("here = 1")
        ways = log_text().count("far side: KEEPER ")
        assert remote_kernels("restart", found["id"]).startswith("Restarted ")
        kernel.wait_for_new_start()
        assert kernel.value("'here' in globals()") is False
        assert [x.id for x in queue.jobs()] == [job.id]
        assert log_text().count("far side: KEEPER ") == ways

        assert remote_kernels("stop", found["id"]).startswith("Stopped ")
        assert kernel.launcher_status(20) == 32
    queue.wait_empty()


@pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)
def test_a_kernel_that_waits_for_its_job(queue: Queue, tmp_path: Path) -> None:
    with queue.waiting(tmp_path) as kernel:
        wait_until(lambda: only()["says"], 15, "word of its job")
        found = only()
        (job,) = queue.jobs()
        assert found["state"] == found["line"] == "waiting"
        assert found["says"].startswith(f"job {queue.id_of(job)} {queue.kind.waits}")
        assert remote_kernels("stop", found["id"]).startswith("Stopped ")
        assert kernel.launcher_status(20) == 32
        assert "was given back" in kernel.stderr()
        queue.wait_empty()


# What others list, and how they cancel, has tests elsewhere.
@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_a_job_without_a_kernel(queue: Queue) -> None:
    add_kernel(queue.site())
    start = ["sbatch", "--wrap=sleep 600", "--output=/dev/null"]
    for name in ("Test-rk0a1b2c", "Test-rf0a1b2c", "run-240115"):
        queue.bed.login.run([*start, f"--job-name={name}"], user="ada")
    (alone,) = (job for job in queue.jobs() if job.name == "Test-rf0a1b2c")
    shown = remote_kernels("clean", "ada@login", "--yes")
    assert "Test-rk0a1b2c" in shown
    assert f"a launcher may hold it, here or elsewhere. If none does: scancel {alone.id}" in shown
    assert "run-240115" not in shown
    assert len(queue.jobs()) == 3
    assert "Removed 1 of 1" in remote_kernels("clean", "ada@login", "--yes", "--jobs")
    wait_until(lambda: len(queue.jobs()) == 2, 10, "the job's end")
    assert {job.name for job in queue.jobs()} == {"Test-rf0a1b2c", "run-240115"}
    queue.in_login_shell("scancel -n Test-rf0a1b2c; scancel -n run-240115")
    queue.wait_empty()
