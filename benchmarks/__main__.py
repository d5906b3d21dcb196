"""``python -m benchmarks`` on the laptop of a bed; ``benchmarks/run`` is how to get there."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bed import Bed
from benchmarks import measure, report
from benchmarks.contestants import contestants
from benchmarks.figures import Measured, Values
from frontend import Kernel


def main() -> int:
    """Measure in rounds, then report."""
    arguments = parse()
    bed = Bed.from_environment()
    if bed is None:
        sys.exit("The machines are missing: this is started by benchmarks/run.")
    with tempfile.TemporaryDirectory() as directory:
        own_jupyter(Path(directory))
        measure_round = measure_outputs if arguments.outputs else measure_kernel
        measured = measure_rounds(bed, Path(directory), arguments.rounds, measure_round)
    report.show(measured, arguments.rounds)
    if arguments.json:
        bed.keep(Path(arguments.json).name, report.as_json(measured, arguments.rounds))
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=int, default=5, help="how often to measure (default: 5)")
    rounds.add_argument("--quick", action="store_const", const=2, dest="rounds", help="two rounds")
    parser.add_argument(
        "--outputs", action="store_true", help="round trip and throughput only: 4 s a kernel"
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


def measure_outputs(bed: Bed, name: str, kernel: str, directory: Path) -> dict[str, float]:
    """The figures of a kernel that is there."""
    with Kernel(kernel, directory) as running:
        return measure.output_figures(running)


def measure_rounds(
    bed: Bed,
    directory: Path,
    rounds: int,
    measure_round: Callable[[Bed, str, str, Path], dict[str, float]],
) -> Measured:
    """Every contestant in every round; each round begins with another one."""
    kernels = contestants(bed)
    measured: dict[str, dict[str, Values]] = {name: defaultdict(list) for name in kernels}
    for kernel in kernels.values():
        with Kernel(kernel, directory):
            pass  # the first start fills caches and known_hosts
    order = list(kernels)
    for number in range(rounds):
        for name in order:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            for key, value in measure_round(bed, name, kernels[name], directory).items():
                measured[name][key].append(value)
        order.append(order.pop(0))
    return measured


if __name__ == "__main__":
    sys.exit(main())
