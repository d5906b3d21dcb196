"""The figures for a person, and as data."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import FIGURES, LIMITS, Figure, Limit, Measured, Values, median, ratio

HEADINGS = ("figure", "L0", "L1", "ours", "ours/L1", "ours/L0", "limit")


def show(title: str, measured: Measured, rounds: int) -> None:
    """Print a table: drawn at a terminal, else in plain lines; then what misses its limit."""
    figures = [figure for figure in FIGURES if measured["ours"].get(figure.key)]
    limits = LIMITS[title]
    rows = [row(figure, measured, limits.get(figure.key)) for figure in figures]
    print(f"{title}: median of {rounds} rounds in turns, range in brackets.\n")
    if sys.stdout.isatty():
        table = Table(*HEADINGS)
        for cells in rows:
            table.add_row(*cells)
        Console().print(table)
    else:
        widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
        for cells in (HEADINGS, *rows):
            print("  ".join(map(str.ljust, cells, widths)).rstrip())
    missed = [figure.title for figure in figures if figure.key in above_limit(title, measured)]
    print(f"\nAbove the limit: {'; '.join(missed)}." if missed else "\nAll limits are kept.")


def above_limit(title: str, measured: Measured) -> list[str]:
    """The keys of the figures in which ours does not keep its limit."""
    return [
        key
        for key, limit in LIMITS[title].items()
        if measured["ours"].get(key) and not limit.is_kept(key, measured)
    ]


def row(figure: Figure, measured: Measured, limit: Limit | None) -> tuple[str, ...]:
    """The cells of one figure."""
    ratios = (ratio(measured, figure.key, to) for to in ("L1", "L0"))
    return (
        figure.title,
        *(spread(figure, measured[name].get(figure.key, [])) for name in ("L0", "L1", "ours")),
        *("" if value is None else f"{value:.2f}" for value in ratios),
        str(limit or ""),
    )


def spread(figure: Figure, values: Values) -> str:
    """Median and range, or the one value that there is."""
    if not values:
        return ""
    low, middle, high = (
        f"{value:.{figure.digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}..{high})"


def as_json(suites: Mapping[str, Measured], rounds: int) -> bytes:
    """Every value, with what is needed to compare it with another run."""
    data = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "rounds": rounds,
        **{title: suite_as_data(title, measured) for title, measured in suites.items()},
    }
    return json.dumps(data, indent=2).encode() + b"\n"


def suite_as_data(title: str, measured: Measured) -> dict[str, Any]:
    """What was measured of one set of contestants."""
    figures = [figure for figure in FIGURES if measured["ours"].get(figure.key)]
    return {
        "medians": {
            name: {key: median(values) for key, values in found.items()}
            for name, found in measured.items()
        },
        "ratios": {
            f"ours/{to}": {figure.key: ratio(measured, figure.key, to) for figure in figures}
            for to in ("L1", "L0")
        },
        "above_limit": above_limit(title, measured),
        "values": measured,
    }
