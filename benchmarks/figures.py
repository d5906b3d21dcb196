"""What is measured, in the order of the table, and what is demanded of ours."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: The values of one figure, one for each round.
Values = list[float]
#: Contestant, then figure.
Measured = Mapping[str, Mapping[str, Values]]


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        key: its name in the JSON file.
        title: its name in the table, with the unit.
        digits: how many to show after the point.
    """

    key: str
    title: str
    digits: int = 0


@dataclass(frozen=True)
class Limit:
    """What is demanded of ours.

    Attributes:
        value: the most, or the least where more is better.
        of_l1: it is one of the ratio ours/L1.
        more_is_better: it is a speed and not a duration.
    """

    value: float
    of_l1: bool = False
    more_is_better: bool = False

    def __str__(self) -> str:
        """The limit in words."""
        sign = ">=" if self.more_is_better else "<="
        return f"{sign} {self.value:g}{' x L1' if self.of_l1 else ''}"

    def is_kept(self, key: str, measured: Measured) -> bool:
        """Whether ours keeps it in one figure."""
        found = ratio(measured, key, "L1") if self.of_l1 else median(measured["ours"][key])
        assert found is not None
        return found >= self.value if self.more_is_better else found <= self.value


FIGURES = (
    Figure("ready_s", "start to ready, s", 2),
    Figure("first_result_s", "start to first result, s", 2),
    Figure("second_ready_s", "second kernel, same host, s", 2),
    Figure("many_ready_s", "ten kernels at once, s", 2),
    Figure("round_trip_median_ms", "round trip, median, ms", 2),
    Figure("round_trip_p99_ms", "round trip, p99, ms", 1),
    Figure("prints_mb_s", "64 MB of prints, MB/s"),
    Figure("random_prints_mb_s", "64 MB of random prints, MB/s"),
    Figure("display_mb_s", "one display of 100 MB, MB/s"),
    Figure("interrupt_ms", "interrupt, ms"),
    Figure("restart_s", "restart, s", 2),
    Figure("shutdown_s", "shutdown, s", 2),
    Figure("job_gone_s", "shutdown to the job gone, s", 2),
    Figure("memory_mb", "local memory (PSS), MB", 1),
    Figure("processes", "local processes"),
    Figure("idle_ms", "CPU in 10 s idle, ms", 1),
    Figure("far_memory_mb", "far memory beside the kernel, MB", 1),
    Figure("far_idle_ms", "far CPU in 10 s idle, ms", 1),
    Figure("logins", "ssh logins"),
    Figure("second_logins", "ssh logins, second kernel"),
    Figure("discover_s", "discover, s", 2),
    Figure("ps_s", "ps, s", 2),
    Figure("attach_s", "attach to first answer, s", 2),
    Figure("spawn_ms", "start to ssh's start, ms"),
    Figure("python_ms", "of these, python -c pass, ms"),
)

_START = {"ready_s": Limit(1.15, of_l1=True)}
_JOB = {
    "ready_s": Limit(1.4, of_l1=True),
    "first_result_s": Limit(1.4, of_l1=True),
    "many_ready_s": Limit(1.4, of_l1=True),
    "round_trip_median_ms": Limit(1.2, of_l1=True),
    "job_gone_s": Limit(15),
}
#: By the title of a table, then by the figure.
LIMITS: Mapping[str, Mapping[str, Limit]] = {
    "ssh": {
        **_START,
        "second_ready_s": Limit(0.75, of_l1=True),
        "round_trip_median_ms": Limit(1.05, of_l1=True),
        "round_trip_p99_ms": Limit(1.05, of_l1=True),
        "prints_mb_s": Limit(0.95, of_l1=True, more_is_better=True),
        "display_mb_s": Limit(0.95, of_l1=True, more_is_better=True),
        "interrupt_ms": Limit(1.1, of_l1=True),
        "restart_s": Limit(0.8, of_l1=True),
        "memory_mb": Limit(15),
        "idle_ms": Limit(5),
        "far_memory_mb": Limit(12),
        "far_idle_ms": Limit(5),
        "logins": Limit(1),
        "second_logins": Limit(0),
    },
    "ssh, 50 ms": _START,
    "commands": {"discover_s": Limit(2)},
    "slurm": {
        **_JOB,
        "prints_mb_s": Limit(25, more_is_better=True),
        "display_mb_s": Limit(25, more_is_better=True),
    },
    "sge": _JOB,
}


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)


def ratio(measured: Measured, key: str, to: str) -> float | None:
    """Ours over another's, of the medians; None where there is nothing to compare."""
    ours, other = measured["ours"].get(key), measured[to].get(key)
    if not ours or not other or not median(other):
        return None
    return median(ours) / median(other)
