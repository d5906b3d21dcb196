"""One kernel's life with a clock: every figure of one kernelspec, once."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import KernelSpecManager

from bed import Bed, Scheduler, wait_until
from benchmarks.contestants import USER
from frontend import Kernel, kernels

CELLS = 300
PRINTED_MB = 64
PRINTS = f"import sys\nfor _ in range({PRINTED_MB * 16}): sys.stdout.write('x' * 65535 + '\\n')"
# As pictures are; no line is like another one that is near.
RANDOM_PRINTS = (
    "import base64, os, sys\ntext = base64.b64encode(os.urandom(49152)).decode()[1:] + '\\n'\n"
    f"for _ in range({PRINTED_MB * 16}): sys.stdout.write(text)"
)
SHOWN_MB = 100
DISPLAY = (
    "from IPython.display import display\n"
    f"display({{'text/plain': 'x' * {SHOWN_MB * 10**6}}}, raw=True)"
)
IDLE_SECONDS = 10
# Of each process: its share of memory in KB, and the nanoseconds that it has computed.
FAR_COSTS = """
for pid in $(ps -o pid= -U "$1"); do
    ! grep -qa ipykernel_launcher.-f /proc/$pid/cmdline || continue
    pss=$(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' /proc/$pid/smaps_rollup)
    read -r cpu rest </proc/$pid/schedstat
    # A process that has ended takes none.
    [ -z "$pss" ] || echo $pss $cpu
done
"""
MANY = 10


class Clock:
    """How long a block took."""

    def __init__(self) -> None:
        """Start."""
        self._start = time.perf_counter()

    def s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def ms(self) -> float:
        """Milliseconds since the start."""
        return self.s() * 1000


def kernel_figures(bed: Bed, name: str, directory: Path, is_remote: bool) -> dict[str, float]:
    """Start a kernel, ask everything of it, and end it."""
    before = processes()
    bed.forget_logins()
    start = Clock()
    with Kernel(name, directory) as kernel:
        found = {"ready_s": start.s()}
        run(kernel, "1 + 1")
        found["first_result_s"] = start.s()
        found["logins"] = len(bed.far.logins())
        found |= output_figures(kernel)
        ours = processes() - before
        found |= second_kernel_figures(bed, name, directory)
        # The second one's session over the shared login ends a little after it.
        wait_until(lambda: processes() - before <= ours, 30, "the second kernel's end")
        if is_remote:  # the plain kernel has nothing but itself here
            found |= cost_figures(bed, ours)
        found |= command_figures(kernel)
    return found


def job_figures(
    scheduler: Scheduler, name: str, directory: Path, in_jobs: bool
) -> dict[str, float]:
    """Kernels in jobs: one, the end of its job, and many at once."""
    scheduler.wait_idle()
    start = Clock()
    with Kernel(name, directory) as kernel:
        found = {"ready_s": start.s()}
        run(kernel, "1 + 1")
        found["first_result_s"] = start.s()
        assert len(scheduler.jobs(USER)) == in_jobs
        end = Clock()
        kernel.manager.shutdown_kernel()
        found["shutdown_s"] = end.s()
        if in_jobs:
            wait_until(lambda: not scheduler.jobs(USER), 30, "the job's end")
            found["job_gone_s"] = end.s()
    start = Clock()
    with kernels(MANY, name, directory):
        found["many_ready_s"] = start.s()
    return found


def output_figures(kernel: Kernel) -> dict[str, float]:
    """How fast small and large outputs come."""
    trips = sorted(run(kernel, "1")[0] for _ in range(CELLS))
    prints, printed = run(kernel, PRINTS)
    random_prints, printed_too = run(kernel, RANDOM_PRINTS)
    display, shown = run(kernel, DISPLAY)
    assert printed == printed_too == PRINTED_MB << 20, "output was lost"
    assert shown == SHOWN_MB * 10**6, "output was lost"
    return {
        "round_trip_median_ms": trips[CELLS // 2] * 1000,
        "round_trip_p99_ms": trips[CELLS * 99 // 100] * 1000,
        "prints_mb_s": PRINTED_MB / prints,
        "random_prints_mb_s": PRINTED_MB / random_prints,
        "display_mb_s": SHOWN_MB / display,
    }


def run(kernel: Kernel, code: str) -> tuple[float, int]:
    """Run a cell: the seconds until its reply, and the length of what it printed or showed."""
    length = 0

    def count(message: dict[str, Any]) -> None:
        nonlocal length
        content = message["content"]
        if message["msg_type"] == "stream":
            length += len(content["text"])
        elif message["msg_type"] == "display_data":
            length += len(content["data"]["text/plain"])

    clock = Clock()
    reply = kernel.client.execute_interactive(code, timeout=60, output_hook=count)
    assert reply["content"]["status"] == "ok", reply["content"]
    return clock.s(), length


def second_kernel_figures(bed: Bed, name: str, directory: Path) -> dict[str, float]:
    """Another kernel on the same host while the first one runs."""
    bed.forget_logins()
    clock = Clock()
    with Kernel(name, directory):
        return {"second_ready_s": clock.s(), "second_logins": len(bed.far.logins())}


def start_figures(name: str, directory: Path) -> dict[str, float]:
    """The starts of a kernel, and of another one beside it."""
    start = Clock()
    with Kernel(name, directory) as kernel:
        found = {"ready_s": start.s()}
        run(kernel, "1 + 1")
        found["first_result_s"] = start.s()
        start = Clock()
        with Kernel(name, directory):
            return found | {"second_ready_s": start.s()}


def cost_figures(bed: Bed, pids: set[int]) -> dict[str, float]:
    """What the processes of a kernel take on both sides while nothing is done."""
    before, (_, far_before) = sum(map(cpu_ms, pids)), far_costs(bed)
    time.sleep(IDLE_SECONDS)
    far_memory, far_cpu = far_costs(bed)
    return {
        "idle_ms": sum(map(cpu_ms, pids)) - before,
        "memory_mb": sum(map(pss_mb, pids)),
        "processes": len(pids),
        "far_memory_mb": far_memory,
        "far_idle_ms": far_cpu - far_before,
    }


def far_costs(bed: Bed) -> tuple[float, float]:
    """Memory in MB and CPU time in ms of the user's processes over there, without the kernel's."""
    memory = cpu = 0.0
    for line in bed.far.run(["sh", "-c", FAR_COSTS, "sh", USER]).stdout.splitlines():
        pss_kb, cpu_ns = line.split()
        memory += int(pss_kb) / 1024
        cpu += int(cpu_ns) / 10**6
    return memory, cpu


def command_figures(kernel: Kernel) -> dict[str, float]:
    """Interrupt, restart, shutdown: as the buttons of a front end do it."""
    cell = kernel.begin("import time\ntime.sleep(60)")
    clock = Clock()
    kernel.manager.interrupt_kernel()
    reply = kernel.reply_to(cell)
    found = {"interrupt_ms": clock.ms()}
    assert reply.get("ename") == "KeyboardInterrupt", reply
    clock = Clock()
    kernel.manager.restart_kernel()
    kernel.wait_for_ready()
    found["restart_s"] = clock.s()
    clock = Clock()
    kernel.manager.shutdown_kernel()
    found["shutdown_s"] = clock.s()
    return found


def processes() -> set[int]:
    """This user's processes on this machine."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if directory.stat().st_uid == os.getuid():
                found.add(int(directory.name))
        except FileNotFoundError:
            pass  # it has just ended
    return found


def pss_mb(pid: int) -> float:
    """The memory that a process adds: its own, and its share of what it has with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no Pss")


def cpu_ms(pid: int) -> float:
    """The time that a process has computed."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 10**6


def spawn_figures(name: str) -> dict[str, float]:
    """How long a kernelspec's command takes until it has started ssh."""
    argv = KernelSpecManager().get_kernel_spec(name).argv
    with false_ssh() as (started, environ), tempfile.TemporaryDirectory() as directory:
        file, _ = write_connection_file(f"{directory}/kernel.json")
        command = [word.replace("{connection_file}", file) for word in argv]
        clock = Clock()
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        assert select.select([started], [], [], 10)[0], f"{name} did not start ssh"
        found = {"spawn_ms": clock.ms()}
        process.wait(timeout=10)
    return found


def python_figures() -> dict[str, float]:
    """What our launcher cannot go below."""
    clock = Clock()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return {"python_ms": clock.ms()}


@contextlib.contextmanager
def false_ssh() -> Iterator[tuple[int, dict[str, str]]]:
    """An environment in which ssh only tells that it was started, and the pipe that tells it."""
    with tempfile.TemporaryDirectory() as directory:
        pipe, program = Path(directory, "started"), Path(directory, "ssh")
        os.mkfifo(pipe)
        program.write_text(f"#!/bin/sh\necho started >{pipe}\nexit 255\n")
        program.chmod(0o755)
        started = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield started, {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
        finally:
            os.close(started)
