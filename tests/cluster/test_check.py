"""``remote-kernels check`` of kernels that run in jobs."""

from __future__ import annotations

import pytest

from bed import Bed
from frontend import Site, add_kernel, checked


def kernel(bed: Bed, interface: str, *options: str) -> str:
    way = ["-i", interface, "--tunnel-hosts", "gina@gw1", "ada@login"]
    return add_kernel(Site(bed.n1, "ada", bed.far_python, [*way, *options]))


@pytest.mark.usefixtures("slurm")
def test_a_kernel_in_a_job_of_slurm(bed: Bed) -> None:
    found = checked(kernel(bed, "slurm", "--queue=main"))
    assert found["ok"], found
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["scheduler"]["found"].endswith("/srun")
    assert steps["queue"]["found"].startswith("job ")
    assert steps["queue"]["seconds"] is not None
    assert steps["node"]["found"] in ("n1", "n2")
    assert list(steps)[-1] == "remains"
    assert [machine.logins() for machine in (bed.gw1, bed.login)] == [["gina"], ["ada"]]


@pytest.mark.usefixtures("gridengine")
def test_a_kernel_in_a_job_of_grid_engine(bed: Bed) -> None:
    found = checked(kernel(bed, "sge_qrsh", "--queue=all.q"))
    assert found["ok"], found


@pytest.mark.usefixtures("slurm", "gridengine")
@pytest.mark.parametrize("interface", ["slurm", "sge", "sge_qrsh"])
def test_a_queue_that_is_not_known(bed: Bed, interface: str) -> None:
    found = checked(kernel(bed, interface, "--queue=gpuu"), "--fast")
    failed = next(step for step in found["steps"] if not step["ok"])
    assert failed["step"] == "scheduler"
    assert failed["found"] == f"{interface} knows no queue gpuu"
