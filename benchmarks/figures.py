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
        of_l1: limit of the ratio ours/L1: the most, or the least where more is better.
        at_most: limit of ours itself.
        more_is_better: it is a speed and not a duration.
    """

    key: str
    title: str
    digits: int = 0
    of_l1: float | None = None
    at_most: float | None = None
    more_is_better: bool = False

    @property
    def limit(self) -> str:
        """The limit in words."""
        if self.of_l1 is not None:
            return f"{'>=' if self.more_is_better else '<='} {self.of_l1:g} x L1"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    def kept(self, measured: Measured) -> bool:
        """Whether ours keeps the limit; also true if there is none."""
        if self.of_l1 is not None:
            over_l1 = ratio(measured, self.key, "L1")
            assert over_l1 is not None
            return over_l1 >= self.of_l1 if self.more_is_better else over_l1 <= self.of_l1
        return self.at_most is None or median(measured["ours"][self.key]) <= self.at_most


# "As L1" leaves a tenth for the noise of two cores, on which all three differ by that much.
FIGURES = (
    Figure("ready_s", "start to ready, s", 2, of_l1=1.4),
    Figure("first_result_s", "start to first result, s", 2, of_l1=1.4),
    Figure("second_ready_s", "second kernel, same host, s", 2, of_l1=1.4),
    Figure("many_ready_s", "ten kernels at once, s", 2, of_l1=1.4),
    Figure("round_trip_median_ms", "round trip, median, ms", 2, of_l1=1.1),
    Figure("round_trip_p99_ms", "round trip, p99, ms", 1),
    Figure("prints_mb_s", "64 MB of prints, MB/s", of_l1=0.9, more_is_better=True),
    Figure("display_mb_s", "one display of 100 MB, MB/s", of_l1=0.9, more_is_better=True),
    Figure("interrupt_ms", "interrupt, ms"),
    Figure("restart_s", "restart, s", 2),
    Figure("shutdown_s", "shutdown, s", 2),
    Figure("job_gone_s", "shutdown to the job gone, s", 2, at_most=15),
    Figure("memory_mb", "local memory (PSS), MB", 1, at_most=20),
    Figure("processes", "local processes"),
    Figure("idle_ms", "CPU in 10 s idle, ms", 1),
    Figure("logins", "ssh logins", at_most=1),
    Figure("second_logins", "ssh logins, second kernel", at_most=1),
    Figure("spawn_ms", "start to ssh's start, ms"),
    Figure("python_ms", "of these, python -c pass, ms"),
)


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)


def ratio(measured: Measured, key: str, to: str) -> float | None:
    """Ours over another's, of the medians; None where there is nothing to compare."""
    ours, other = measured["ours"].get(key), measured[to].get(key)
    if not ours or not other or not median(other):
        return None
    return median(ours) / median(other)
