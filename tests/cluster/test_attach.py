"""``attach`` to kernels that run on nodes, in jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attached import HOME, Attached, client_of, connection_file, printed
from bed import wait_until
from frontend import Kernel, add_kernel, ran
from queues import Queue


# By a step of its own, or by ssh from the login host.
@pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)
def test_a_kernel_of_ours_in_a_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        kernel.run("here = 41")
        login = f"{queue.kind.user}@login"
        with Attached(host=login) as attached, client_of(attached.file) as client:
            assert printed(client, "print(here + 1)") == "42\n"
        assert kernel.value("here") == 41
    queue.wait_empty()


@pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)
def test_a_kernel_that_waits_for_its_job(queue: Queue, tmp_path: Path) -> None:
    with queue.waiting(tmp_path):
        (job,) = (job for job in queue.jobs() if "Test" in job.name)
        done = ran("attach", f"{queue.kind.user}@login")
        assert done.returncode == 33
        assert f" waits for the job {queue.id_of(job)}\n" in done.stderr


@pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)
def test_a_kernel_that_a_job_has_started(queue: Queue) -> None:
    # Somebody's own batch job, whose connection file lies in the home that all machines share.
    login = queue.bed.login
    file = connection_file(login, "kernel-mine.json", 22000)
    command = f"{queue.bed.far_python} -m ipykernel_launcher -f {file}"
    queue.in_login_shell(
        f"sbatch --job-name=mine --output=/dev/null -w n2 --wrap='exec {command}'"
        if queue.kind.interface == "slurm"
        else f"qsub -b y -N mine -o /dev/null -j y -q all.q@n2 {command}"
    )
    try:
        wait_until(
            lambda: any(command in x.args for x in queue.bed.n2.processes("ada")), 30, "the kernel"
        )
        wait_until(lambda: queue.jobs()[0].state in ("RUNNING", "r"), 20, "word of its start")
        # There is no kernelspec that would tell the way, or which scheduler is there.
        mine = Attached("kernel-mine", "--tunnel-hosts", "gina@gw1", host="ada@login")
        with mine as attached, client_of(attached.file) as client:
            assert printed(client, "print(__import__('os').uname().nodename)") == "n2\n"
    finally:
        for job in queue.jobs():
            queue.cancel(job)
        queue.wait_empty()
        login.run(["rm", "-rf", f"{HOME}/.local/share/jupyter", f"{HOME}/.ipython"])
