"""A line that takes 50 ms for a round trip, and stalls for seconds now and then."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import FLOOD, Kernel, Site, add_kernel, flood, run_and_disturb
from relay import Relay

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay("far", delay=0.025) as running:
        yield running


@pytest.fixture
def kernel(relay: Relay, bed: Bed, tmp_path: Path) -> Iterator[Kernel]:
    way = ["--interface", "ssh", "--host", f"ada@127.0.0.1:{relay.port}"]
    with Kernel(add_kernel(Site(bed.far, "ada", bed.far_python, way)), tmp_path) as running:
        yield running


def stall(relay: Relay, seconds: float) -> None:
    """Let nothing pass for so long."""
    relay.stall()
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 1, "the end of the stall")
    relay.go_on()


def test_an_interrupt_passes_a_flood(kernel: Kernel, relay: Relay) -> None:
    cell = kernel.begin("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    stall(relay, 3)
    kernel.signal_launcher(signal.SIGINT)
    # What was on its way before it, the line has to bring first, and for some of that ipykernel
    # itself waits up to 10 s (flush_timeout of its OutStream).
    assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.stderr() == ""


def test_everything_arrives(kernel: Kernel, relay: Relay) -> None:
    stalls = [(mb << 20, lambda: stall(relay, 1)) for mb in (1, 4, 8)]
    assert run_and_disturb(kernel, FLOOD.format(mb=12), stalls) == flood(12)
    assert kernel.value("6 * 7") == 42
