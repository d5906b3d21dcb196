"""Texts that mean something to every shell on the way, into the jobs of every queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import add_kernel, failing
from hostile import TEXT, assert_no_canary, assert_they_arrive
from queues import Queue, param

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]


@pytest.fixture(autouse=True)
def _no_canary(bed: Bed) -> Iterator[None]:
    yield
    assert_no_canary((bed.laptop, bed.gw1, *bed.cluster))


@pytest.mark.parametrize(
    ("queue", "options"),
    [
        *(param(name, []) for name in ("slurm", "sge", "sge_qrsh", "pbs", "lsf")),
        *(param(name, ["--channel=forward"]) for name in ("slurm", "sge")),
    ],
    indirect=["queue"],
)
def test_they_arrive_in_a_job(queue: Queue, tmp_path: Path, options: list[str]) -> None:
    assert_they_arrive(queue.site(node="n1"), tmp_path, *options)
    queue.wait_empty()


@pytest.mark.parametrize(
    "queue", [param(name) for name in ("slurm", "sge", "pbs", "lsf")], indirect=True
)
def test_a_queue_that_cannot_be(queue: Queue, tmp_path: Path) -> None:
    status, stderr = failing(add_kernel(queue.site(f"--queue={TEXT}")), tmp_path)
    assert status == 41
    assert f"{queue.kind.asks}" in stderr
    wait_until(lambda: not queue.jobs(), 15, "no job")
