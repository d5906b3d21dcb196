"""What a host is asked about the kernels that run there, and about what dead ones have left.

The host is played by an object that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from remote_kernels.errors import RemoteKernelsError
from remote_kernels.hosts import Host as Address
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.interfaces.slurm import Slurm
from remote_kernels.way import Way
from remote_kernels.whereabouts import Host, way_to

NOTHING: dict[str, list[str]] = {"files": [], "sockets": [], "directories": []}


class Played(Host):
    """A host whose answers are known.

    Attributes:
        asked: what it was asked.
        answers: to these questions.
    """

    def __init__(self, *schedulers: type[Scheduler], **answers: Any) -> None:
        super().__init__(Way(Address("far")), schedulers, lambda text: None)
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {"leftovers": NOTHING, "kernels": [], "run": "", **answers}

    def ask(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return self.answers[name]


def kernel(**facts: Any) -> dict[str, Any]:
    """One of ours, in a job."""
    known = {"ours": True, "stale": False, "id": "1", "name": "a", "file": "", "pid": 0}
    return {**known, "since": 1.0, "keeper": "/run/keeper", **facts}


@pytest.mark.parametrize(
    ("schedulers", "jobs", "asked"),
    [
        ([], "", ["leftovers"]),
        ([Slurm], "", ["leftovers", "run"]),
        ([Slurm], "1|a-012345|RUNNING|1:00\n", ["leftovers", "run", "kernels"]),
    ],
)
def test_each_thing_is_asked_once(
    schedulers: Sequence[type[Scheduler]], jobs: str, asked: list[str]
) -> None:
    host = Played(*schedulers, run=jobs)
    host.leftovers()
    assert host.asked == asked


def test_jobs_that_nobody_holds() -> None:
    names = ["a-012345", "a-6789ab", "mine"]
    jobs = "".join(f"{number}|{name}|RUNNING|1:00\n" for number, name in enumerate(names))
    host = Played(Slurm, run=jobs, kernels=[kernel(job_name="a-012345")])
    assert [job.name for _, job in host.leftovers().jobs] == ["a-6789ab"]


def test_where_kernels_are_not_told_no_job_is_left() -> None:
    host = Played(Slurm, run="1|a-012345|RUNNING|1:00\n", kernels=RemoteKernelsError("no"))
    with pytest.raises(RemoteKernelsError, match="no"):
        host.leftovers()


@pytest.mark.parametrize("answer", [None, 5, [], {"files": []}, {**NOTHING, "files": 5}])
def test_leftovers_that_make_no_sense(answer: Any) -> None:
    with pytest.raises(RemoteKernelsError, match="in no way that we know"):
        Played(leftovers=answer).leftovers()


@pytest.mark.parametrize("answer", [None, 5, "x"])
def test_kernels_that_make_no_sense(answer: Any) -> None:
    error = Played(kernels=answer).look().error
    assert error is not None
    assert "lists its kernels in no way that we know" in error.sentence


def test_the_way_is_that_of_the_kernels_there() -> None:
    straight, through = Way(Address("far")), Way(Address("far"), (Address("gate"),))
    other = Way(Address("other"), (Address("gate"),))
    assert way_to("far", [None, other]) == straight
    assert way_to("far", [None, other, through]) == through
    assert way_to("far", [through, straight]) == straight
    assert way_to("far", [straight], tunnel_hosts=("gate",)) == through
    by_another = Way(Address("far"), (Address("other"),))
    with pytest.raises(RemoteKernelsError, match="kernels go to far by 2 ways"):
        way_to("far", [through, by_another])
