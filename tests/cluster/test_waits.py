"""While a job waits in the queue: what is told, and that none is left behind, with all of them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from bed import wait_until
from frontend import Kernel, add_kernel, assert_block, failing, log_text
from queues import Queue


def test_a_wait_is_told_and_survives_interrupts(queue: Queue, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(contextlib.ExitStack())
        full.enter_context(queue.scheduler.full("bela"))
        kernel = Kernel(add_kernel(queue.site("--time=0:10:00")), tmp_path)
        kernel.start()
        stack.callback(kernel.__exit__, None, None, None)
        (job,) = wait_until(queue.jobs, 20, "the job")
        told = f"job {queue.id_of(job)} {queue.kind.told}"
        wait_until(lambda: told in log_text(), 40, "reason and expected start in the log")
        kernel.signal_launcher(signal.SIGINT)
        says = f"remote-kernels: still waiting for job {queue.id_of(job)} {queue.kind.waits} ("
        wait_until(lambda: says in kernel.stderr(), 20, "the answer to the interrupt")
        assert [(x.id, x.state) for x in queue.jobs()] == [(job.id, job.state)]
        full.close()
        kernel.wait_for_ready()
        assert kernel.value("6 * 7") == 42
        # PBS's qsub asks when it gets a signal.
        assert "Do you wish" not in log_text()


def test_a_wait_that_is_given_up(queue: Queue, tmp_path: Path) -> None:
    with queue.scheduler.full("bela"):
        status, stderr = failing(add_kernel(queue.site("--launch-timeout=4s")), tmp_path)
        assert status == 43
        (line,) = [x for x in stderr.splitlines() if x.startswith("remote-kernels: there was no")]
        assert line.startswith("remote-kernels: there was no job within 4s: job ")
        assert f" {queue.kind.waits}" in line
        queue.wait_empty()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_ghost_of_a_job_that_waited(
    queue: Queue, tmp_path: Path, signum: signal.Signals
) -> None:
    with queue.waiting(tmp_path) as kernel:
        os.kill(kernel.launcher.pid, signum)
        queue.wait_empty()
    queue.scheduler.wait_idle()
    assert not queue.processes()
    # A directory that a killed launcher could not remove goes with the next one's start.
    failing(add_kernel(queue.site("--queue=nosuch")), tmp_path)


def test_the_login_hosts_session_is_lost_while_waiting(queue: Queue, tmp_path: Path) -> None:
    with queue.waiting(tmp_path) as kernel:
        (job,) = queue.jobs()
        queue.lose_session()
        wait_until(lambda: "back at" in log_text(), 20, "the line")
        assert [x.id for x in queue.jobs()] == [job.id]
        kernel.signal_launcher(signal.SIGINT)
        wait_until(lambda: "still waiting for job" in kernel.stderr(), 20, "the answer")
        os.kill(kernel.launcher.pid, signal.SIGTERM)
        queue.wait_empty()


def test_a_killed_client_leaves_no_job(queue: Queue, tmp_path: Path) -> None:
    user, clients = queue.kind.user, queue.kind.clients
    with queue.waiting(tmp_path) as kernel:
        queue.bed.login.run(["pkill", "-KILL", "-u", user, "-x", clients])
        queue.wait_empty()
        assert kernel.launcher_status(timeout=30) in (41, 44)


def test_a_job_that_is_cancelled_while_it_waits(queue: Queue, tmp_path: Path) -> None:
    with queue.waiting(tmp_path) as kernel:
        (job,) = queue.jobs()
        queue.cancel(job)
        assert kernel.launcher_status(timeout=30) == 44
        sentence = f"job {queue.id_of(job)} was cancelled before it started"
        words = queue.kind.withdrawn_words
        assert_block(kernel.stderr(), sentence, "waiting for the job", queue.place, words)
