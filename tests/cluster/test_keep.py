"""``--keep`` and ``--existing`` where kernels run in jobs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import wait_until
from frontend import Kernel, add_kernel, remote_kernels
from queues import Queue, only, ps
from remote_kernels.errors import ConnectionLostError

# What a cell on n1 leaves behind.
PRINTED = "/tmp/printed"
# The way back is a step of the job, or ssh from the login host.
pytestmark = pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)


@pytest.fixture
def spec(queue: Queue) -> Iterator[str]:
    """A kernelspec whose kernels stay; no job is left after the test."""
    name = add_kernel(queue.site(node="n1"), "--keep", "--lease", "2h")
    yield name
    for kernel in ps():
        remote_kernels("stop", kernel["id"])
    queue.wait_empty()


def is_away() -> bool:
    """Whether the one kernel was left, and its login host knows how it stands."""
    found = only()
    return bool(found["line"] == "away" and found["lease_left"])


def test_the_way_back(queue: Queue, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
        pid = kernel.value("__import__('os').getpid()")
        kernel.begin("import time\ntime.sleep(2)\nprint('printed ' + 'meanwhile')")
        (job,) = queue.jobs()
    assert kernel.launcher.wait(10) == 0
    wait_until(is_away, 10, "word of the leave")
    assert 6000 < only()["lease_left"] <= 7200
    wait_until(lambda: only()["state"] == "idle", 20, "the end of the cell")
    assert "printed meanwhile" in remote_kernels("output", only()["id"])
    # As from another Jupyter: with a file and a key of its own.
    with Kernel(spec, tmp_path) as again:
        assert "printed meanwhile" in again.run("print(here)").text
        assert again.value("__import__('os').getpid()") == pid
        wait_until(lambda: only()["line"] == "connected", 10, "word of the way back")
        assert again.interrupts_a_cell()
    assert again.launcher.wait(10) == 0
    with Kernel(spec, tmp_path) as third:
        assert third.value("here") == 41
        assert [x.id for x in queue.jobs()] == [job.id]


def test_a_restart_is_a_restart(queue: Queue, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
        (job,) = queue.jobs()
        kernel.restart()
        assert kernel.value("'here' in globals()") is False
        kernel.run("here = 42")
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 42
        again.restart()
        assert again.value("'here' in globals()") is False
        assert [x.id for x in queue.jobs()] == [job.id]


def test_a_launcher_that_is_killed(queue: Queue, spec: str, tmp_path: Path) -> None:
    kernel = Kernel(spec, tmp_path)
    kernel.start()
    kernel.wait_for_ready()
    kernel.run("here = 41")
    os.kill(kernel.launcher.pid, signal.SIGKILL)
    kernel.launcher.wait()
    kernel.__exit__(None, None, None)
    wait_until(is_away, 20, "word of it")
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41


def test_a_launcher_that_comes_back_too_late(queue: Queue, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
        kernel.begin(
            f"import time\ntime.sleep(6)\nprint('printed ' + 'meanwhile')\nopen('{PRINTED}', 'x')"
        )
        kernel.launcher.send_signal(signal.SIGSTOP)
        try:
            queue.lose_session()
            wait_until(lambda: only()["line"] == "away", 20, "word of it")
            # The launcher is only away, and may still come back to what it carries.
            wait_until(lambda: PRINTED in queue.bed.n1.files("/tmp"), 20, "the end of the cell")
            with Kernel(spec, tmp_path) as again:
                assert "printed meanwhile" in again.run("print(here)").text
                kernel.launcher.send_signal(signal.SIGCONT)
                assert kernel.launcher_status(60) == ConnectionLostError.exit_code
                assert "took this machine for lost" in kernel.stderr()
                assert again.value("here") == 41
                assert queue.site().connection_files()
        finally:
            kernel.launcher.send_signal(signal.SIGCONT)
            queue.bed.n1.run(["rm", "-f", PRINTED])


def test_a_kernel_that_ends_alone_gives_its_job_back(
    queue: Queue, spec: str, tmp_path: Path
) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.begin("import os, time\ntime.sleep(3)\nos._exit(0)")
    assert kernel.launcher.wait(10) == 0
    assert len(queue.jobs()) == 1
    queue.wait_empty()
    wait_until(lambda: not ps(), 10, "the end of its keepers")


def test_a_job_that_ends_alone_leaves_nothing(queue: Queue, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path):
        (job,) = queue.jobs()
    wait_until(is_away, 10, "word of the leave")
    queue.cancel(job)
    queue.wait_empty()
    wait_until(lambda: not ps(), 20, "the end of its keepers")
    assert not queue.site().connection_files()
    queue.start_another(tmp_path)


def test_a_kernelspec_that_attaches(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        kernel.run("here = 41")
        said = remote_kernels(
            *("manage", "--add", "--name", "There", "--language", "python"),
            *(*queue.site().options, "--existing", "latest"),
        )
        spec = said.partition("['")[2].partition("']")[0]
        with Kernel(spec, tmp_path) as visit:
            assert visit.value("here") == 41
            visit.run("here = 42")
        assert visit.launcher.wait(10) == 0
        assert kernel.value("here") == 42
    queue.wait_empty()
