"""The line breaks, in every way that it can, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, log_text

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]


@pytest.fixture
def site(bed: Bed) -> Site:
    return Site(bed.far, "ada", bed.far_python, ["--interface", "ssh", "--host", "ada@far"])


@pytest.fixture
def kernel(site: Site, tmp_path: Path) -> Iterator[Kernel]:
    with Kernel(add_kernel(site), tmp_path) as running:
        running.run("precious = 42")
        yield running


def kill_sshd(bed: Bed) -> None:
    bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"])


def test_a_variable_is_there_after_sshd_was_killed(kernel: Kernel, bed: Bed) -> None:
    kill_sshd(bed)
    wait_until(lambda: "was lost" in log_text(), 15, "the loss to be noticed")
    assert kernel.value("precious") == 42
    assert kernel.launcher.poll() is None


def test_all_lines_of_a_counter_arrive(kernel: Kernel, bed: Bed) -> None:
    cell = "import time\nfor n in range(40):\n    print(n, flush=True)\n    time.sleep(0.1)"
    kernel.client.execute("1")
    import threading

    timer = threading.Timer(1.5, lambda: kill_sshd(bed))
    timer.start()
    reply = kernel.run(cell, timeout=60)
    assert reply.text.split() == [str(n) for n in range(40)]


def test_64_mb_cut_five_times(kernel: Kernel, bed: Bed) -> None:
    import threading

    stop = threading.Event()

    def cut() -> None:
        for _ in range(5):
            if stop.wait(0.4):
                return
            kill_sshd(bed)

    thread = threading.Thread(target=cut)
    thread.start()
    cell = "import sys\nfor n in range(1024): sys.stdout.write('%08d' % n * 8192)"
    reply = kernel.run(cell, timeout=120)
    stop.set()
    thread.join()
    assert reply.text == "".join(f"{n:08}" * 8192 for n in range(1024))
    assert log_text().count("was lost") >= 3
