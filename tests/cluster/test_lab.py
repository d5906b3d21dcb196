"""``lab`` where the server runs in a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, Slurm, wait_until
from carried import Carried, leave_no_traces, light, listed, stop
from frontend import remote_kernels
from queues import KINDS, Queue
from remote_kernels.errors import ServerError

SERVER = ("--app", "jupyter server")


@pytest.fixture
def queue(bed: Bed, slurm: Slurm) -> Queue:
    return Queue(bed, slurm, KINDS["slurm"])


@pytest.fixture
def cluster(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a host whose servers run in jobs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    light(queue.bed.login, "ada")
    remote_kernels(
        *("hosts", "--add", "cluster", "--host", "ada@login", "--tunnel-hosts", "gina@gw1"),
        *("--interface", "slurm", "--remote-launch-args=-w n1", "--time=1:00:00"),
    )
    yield "cluster"
    queue.wait_empty()
    leave_no_traces(queue.bed.login, "ada")


def test_from_the_queue_to_the_end(queue: Queue, cluster: str, tmp_path: Path) -> None:
    activate = ("--activate", str(Path(queue.bed.far_python).parents[1]))
    with queue.scheduler.full("bela"):
        first = Carried(tmp_path, cluster, *SERVER, *activate, wait=False)
        first.sees(r"✓ scheduler .*\nStarting jupyter server in your home on ada@login \(via")
        (job,) = wait_until(queue.jobs, 20, "the job")
        first.sees(f"\njob {job.id} PENDING")
        (found,) = listed(cluster)
        assert (found["job"], found["state"]) == (str(job.id), "waiting")
        done = Carried(tmp_path, cluster, wait=False)
        assert done.status() == ServerError.exit_code
        assert f"the server waits for its job: job {job.id} PENDING" in done.said()
        other = Carried(tmp_path, cluster, *SERVER, "--workdir=/tmp", wait=False)
        other.sees(r"\njob \d+ PENDING")
        other.leave()
        assert other.said().endswith("Given up; nothing was left over there.\n")
        wait_until(lambda: queue.jobs() == [job], 20, "the other job to be given back")
    with first:
        first.wait_until_up()
        assert " on n1 is at http://127.0.0.1:" in first.said()
        with first.kernel() as run:
            assert run("import os; print(os.uname().nodename)") == "n1\n"
            queue.lose_session()
            first.sees("remote-kernels: back at ada@login")
            assert run("print(6 * 7)") == "42\n"
    assert first.said().endswith("Left; the server goes on.\n")
    # Her home, which has its file, is that of the login host as well.
    (line,) = remote_kernels("lab", "--list", cluster).splitlines()
    assert f"n1, job {job.id}  /home/ada  since" in line
    # As from another machine, where the host has no name of its own.
    way = ("ada@login", "--tunnel-hosts", "gina@gw1")
    with Carried(tmp_path, way[0], *way[1:]) as again:
        assert "jupyter server runs in your home since" in again.said()
        assert again.token == first.token
        assert again.get("api/contents")["type"] == "directory"
        assert "Stopped jupyter server in /home/ada on cluster." in stop(cluster)
        assert again.status() == 0
    queue.wait_empty()
    assert listed(cluster) == []


def test_a_node_without_jupyter(queue: Queue, cluster: str, tmp_path: Path) -> None:
    lab = Carried(tmp_path, cluster, wait=False)
    assert lab.status() == ServerError.exit_code
    assert "the server could not be started: jupyter lab" in lab.said()
    assert "jupyter: command not found" in lab.said()
    queue.wait_empty()
