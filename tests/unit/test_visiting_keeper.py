"""The keeper of a visit: which kernel it finds, and what it says where there is no way to one."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_kernels import running, visiting_keeper
from remote_kernels.keeper import Order
from remote_kernels.socket_keeper import SOCKETS, connected
from remote_kernels.visiting_keeper import VisitKeeper, VisitOrder

Visited = Callable[..., tuple[list[str], str]]


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The connection file of a kernel that listens nowhere."""
    path = tmp_path / "kernel-1.json"
    ports = {port: number for number, port in enumerate(SOCKETS, 1)}
    path.write_text(json.dumps({"transport": "ipc", "ip": str(tmp_path / "none"), **ports}))
    return str(path)


@pytest.fixture
def keeper_for() -> Iterator[Callable[[str], VisitKeeper]]:
    """The keeper of a visit to a kernel, by its selector; it has not begun."""
    keepers: list[VisitKeeper] = []
    descriptors: list[int] = []

    def make(selector: str) -> VisitKeeper:
        how: dict[str, Any] = {"stays_near": True, "on_terminal": False, "keeps": False}
        order = Order(
            VisitOrder(selector, 1000),
            mark="@",
            token=bytes(16),
            lease=None,
            about='{"launcher": 1, "from": "laptop"}',
            **how,
        )
        descriptors.extend(os.pipe())
        keepers.append(VisitKeeper(order, descriptors[-1], 0))
        return keepers[-1]

    yield make
    for descriptor in descriptors:
        os.close(descriptor)
    for keeper in keepers:
        keeper._listener.close()
        os.unlink(f"{keeper._path}-")
        os.rmdir(keeper.directory)


@pytest.fixture
def visited(keeper_for: Callable[[str], VisitKeeper], monkeypatch: pytest.MonkeyPatch) -> Visited:
    """What a keeper tells of a visit that fails, and why: to one of some kernels."""

    def visit(*kernels: running.Facts, selector: str = "") -> tuple[list[str], str]:
        monkeypatch.setattr(running, "kernels", lambda but, patience: iter([list(kernels)]))
        keeper = keeper_for(selector)
        told: list[str] = []
        why: list[bytes] = []
        monkeypatch.setattr(keeper, "tell", lambda *words: told.append(" ".join(words)))
        monkeypatch.setattr(keeper.output, "write", why.append)
        keeper.begin()
        while not keeper.told_end:
            keeper.loop.turn()
        return [line for line in told if line[:5] == "FAIL "], b"".join(why).decode()

    return visit


def test_who_looks_whether_it_is_there_wants_nothing_of_the_kernel(
    keeper_for: Callable[[str], VisitKeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A word that is empty would be waited for by the kernel's keeper.
    keeper, wished = keeper_for(""), list[str]()
    monkeypatch.setattr(keeper, "on_wish", wished.append)
    for said in (b"", b"INT"):
        probe, session = socket.socketpair()
        probe.sendall(said)
        probe.close()
        keeper._attach(session)
    assert wished == ["INT"]


def test_a_unix_socket_whose_path_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As that of a container, which is reached through its process's root.
    directory = tmp_path / ("d" * 100)
    directory.mkdir()
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("kernel-1")
        listener.listen()
        connection = connected(f"{directory}/kernel-1")
        assert connection is not None
        connection.close()
    assert connected(f"{directory}/kernel-2") is None


def kernel(file: str, **facts: Any) -> running.Facts:
    """What is known of a kernel of ours whose process is this one."""
    known = {"ours": True, "id": "abcd", "name": "x", "pid": os.getpid(), "stale": False}
    return {**known, "file": file, "since": time.time(), "keeper": "/k", **facts}


def in_job(file: str, **facts: Any) -> running.Facts:
    """The same of one in a job, as the keeper of the command tells it that holds the job."""
    known = {
        "state": "idle",
        "pid": 0,
        "job": "12",
        "job_name": "x-abcdef",
        "node": "n1",
        "keeper": "/c",
    }
    return kernel(file, **{**known, **facts})


@pytest.mark.parametrize("selector", ["", "abcd"])
def test_a_kernel_on_another_machine(visited: Visited, file: str, selector: str) -> None:
    """Its file may be seen here, but nothing of it listens here, however long one waits."""
    found, why = visited(in_job(file), selector=selector)
    assert found == ["FAIL KERNEL"]
    assert why == f"abcd is in the job 12 on n1, and not on {os.uname().nodename}\n"


@pytest.mark.parametrize(("job", "shown"), [("12", "12"), ("", "x-abcdef")])
def test_a_kernel_whose_job_waits(visited: Visited, job: str, shown: str) -> None:
    found, why = visited(in_job("", job=job, node="", state="waiting"), selector="abcd")
    assert found == ["FAIL KERNEL"]
    assert why == f"abcd waits for the job {shown}\n"


def test_a_job_may_be_here(visited: Visited, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where login host and node are one machine: then there are two keepers."""
    monkeypatch.setattr(visiting_keeper, "_LISTENS", 0.0)
    _, why = visited(in_job(file), kernel(file), selector="abcd")
    assert why == "it does not listen where its connection file says\n"


def test_a_kernel_that_never_listens(
    visited: Visited, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visiting_keeper, "_LISTENS", 0.0)
    assert visited(kernel(file)) == (
        ["FAIL KERNEL"],
        "it does not listen where its connection file says\n",
    )
