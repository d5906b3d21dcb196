"""Kernels in a real Grid Engine's jobs, asked for by qlogin and by qrsh."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frontend import Kernel, add_kernel, failing
from queues import Queue, param

pytestmark = pytest.mark.needs("gridengine")
BOTH = pytest.mark.parametrize("queue", [param("sge"), param("sge_qrsh")], indirect=True)


# What is typed before the far shell runs ends the session, in 17 to 43 of 100 starts.
@pytest.mark.timeout(600)
@BOTH
def test_fifty_starts_in_a_row(queue: Queue, tmp_path: Path) -> None:
    # It ends at once: what is tried is the way to it.
    spec = add_kernel(queue.site(), kernel_cmd="echo it ran; exit 7")
    with ThreadPoolExecutor(5) as rows:
        ends = list(rows.map(lambda _: failing(spec, tmp_path), range(50)))
    assert [end for end in ends if end[0] != 25 or "  said:  it ran\n" not in end[1]] == []
    queue.wait_empty()


@BOTH
def test_what_is_asked_for_is_given(queue: Queue, tmp_path: Path) -> None:
    options = ["--time=1:30:00", "--memory=1G", "--queue=all.q", "--cpus=3", "--pe=smp"]
    with Kernel(add_kernel(queue.site(*options), name="R 4.5"), tmp_path) as kernel:
        (job,) = queue.jobs()
        assert job.name.startswith("R-4-5-")
        shown = queue.in_login_shell(f"qstat -j {job.id}")
        assert "h_rt=5400" in shown
        assert "mem_free=1G" in shown
        assert "hard_queue_list:            all.q\n" in shown
        assert "parallel environment:  smp range: 3\n" in shown
        assert kernel.value("__import__('platform').node()") in ("n1", "n2")


@pytest.mark.parametrize("queue", [param("sge")], indirect=True)
def test_qrsh_instead_of_qlogin(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site("--launch-cmd=qrsh")), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
