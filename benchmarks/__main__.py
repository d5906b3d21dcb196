"""``python -m benchmarks`` on the laptop of a bed; ``benchmarks/run`` is how to get there."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bed import Bed, GridEngine, Scheduler, Slurm, wait_until
from benchmarks import commands, measure, report
from benchmarks.contestants import USER, contestants, job_contestants
from benchmarks.figures import Measured, Values
from frontend import Kernel
from relay import Relay

#: What measures one contestant: its name in the table, its kernel name, and where to write.
MeasureOne = Callable[[str, str, Path], dict[str, float]]


def main() -> int:
    """Measure in rounds, then report."""
    arguments = parse()
    bed = Bed.from_environment()
    if bed is None:
        sys.exit("The machines are missing: this is started by benchmarks/run.")
    suites = {}
    with tempfile.TemporaryDirectory() as directory:
        own_jupyter(Path(directory))
        for title, kernels, measure_one in wanted(bed, arguments):
            measured = measure_rounds(kernels, Path(directory), arguments.rounds, measure_one)
            report.show(title, measured, arguments.rounds)
            suites[title] = measured
    if arguments.json:
        bed.keep(Path(arguments.json).name, report.as_json(suites, arguments.rounds))
    return 0


def wanted(
    bed: Bed, arguments: argparse.Namespace
) -> Iterator[tuple[str, dict[str, str], MeasureOne]]:
    """What is measured: a title, the contestants' kernels, and how; schedulers start meanwhile."""
    if arguments.slow:
        with Relay("far", delay=0.025) as relay:
            yield "ssh, 50 ms", contestants(bed, f"{USER}@127.0.0.1:{relay.port}"), measure_start
        return
    if arguments.commands:
        with commands.furnished(bed):
            yield "commands", contestants(bed), partial(measure_commands, bed)
        return
    if not arguments.jobs:
        measure_one = measure_outputs if arguments.outputs else partial(measure_kernel, bed)
        yield "ssh", contestants(bed), measure_one
        return
    for interface, scheduler in (("slurm", Slurm(bed)), ("sge", GridEngine(bed))):
        scheduler.start()
        measure_one = measure_outputs if arguments.outputs else partial(measure_job, scheduler)
        yield interface, job_contestants(bed, interface), measure_one
        scheduler.stop()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=int, default=5, help="how often to measure (default: 5)")
    rounds.add_argument("--quick", action="store_const", const=2, dest="rounds", help="two rounds")
    parser.add_argument(
        "--outputs", action="store_true", help="round trip and throughput only: 4 s a kernel"
    )
    parser.add_argument(
        "--jobs", action="store_true", help="kernels in jobs of Slurm and of Grid Engine instead"
    )
    parser.add_argument("--commands", action="store_true", help="discover, ps and attach instead")
    parser.add_argument(
        "--slow", action="store_true", help="starts over a line with a round trip of 50 ms instead"
    )
    parser.add_argument("--json", metavar="FILE", help="write all values there")
    return parser.parse_args()


def own_jupyter(directory: Path) -> None:
    """Keep Jupyter's and our own files together, and the checkout out of what is started."""
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        os.environ[variable] = str(directory / variable.lower())
    os.environ["XDG_STATE_HOME"] = str(directory / "state")
    os.environ.pop("PYTHONPATH", None)
    os.chdir(directory)


def measure_kernel(bed: Bed, name: str, kernel: str, directory: Path) -> dict[str, float]:
    """All figures of one contestant."""
    found = measure.kernel_figures(bed, kernel, directory, is_remote=name != "L0")
    if name != "L0":
        found |= measure.spawn_figures(kernel)
    if name == "ours":
        found |= measure.python_figures()
    return found


def measure_job(scheduler: Scheduler, name: str, kernel: str, directory: Path) -> dict[str, float]:
    """All figures of one contestant whose kernels are in jobs."""
    return measure.job_figures(scheduler, kernel, directory, in_jobs=name != "L0")


def measure_start(name: str, kernel: str, directory: Path) -> dict[str, float]:
    """How long a start takes."""
    return measure.start_figures(kernel, directory)


def measure_commands(bed: Bed, name: str, kernel: str, directory: Path) -> dict[str, float]:
    """The commands that look around, or what is typed in their place."""
    return commands.command_figures(bed, name, directory)


def measure_outputs(name: str, kernel: str, directory: Path) -> dict[str, float]:
    """The figures of a kernel that is there."""
    with Kernel(kernel, directory) as running:
        return measure.output_figures(running)


def measure_rounds(
    kernels: dict[str, str], directory: Path, rounds: int, measure_one: MeasureOne
) -> Measured:
    """Every contestant in every round; each round begins with another one."""
    measured: dict[str, dict[str, Values]] = {name: defaultdict(list) for name in kernels}
    before = measure.processes()
    for kernel in kernels.values():
        with Kernel(kernel, directory):
            pass  # the first start fills caches and known_hosts
    order = list(kernels)
    for number in range(rounds):
        for name in order:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            # A connection that was shared a moment ago would spare a login.
            wait_until(lambda: measure.processes() <= before, 30, "all of the last one to be gone")
            for key, value in measure_one(name, kernels[name], directory).items():
                measured[name][key].append(value)
        order.append(order.pop(0))
    return measured


if __name__ == "__main__":
    sys.exit(main())
