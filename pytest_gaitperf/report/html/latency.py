"""How the latencies of a cell's requests are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.compact import many, short
from pytest_gaitperf.report.html.section import CellFigure

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

_ALL = tuple(range(101))
_FEW = (0, 1, *range(5, 100, 5), 99, 100)
_MARKED = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


def values(data: ReportData, cell: Cell) -> object | None:
    """Return the cumulative distribution of a cell: ``ms`` by percentile.

    Of all 101, 0 to 100, or of 0, 1, every fifth, 99 and 100. ``marks`` has [name, percent, ms,
    low, high] of the percentiles that are metrics, with their intervals; ``requests`` how many
    there were, ``outliers`` how many lie beyond Tukey's fences.
    """
    found = cell.latency_distribution
    if found is None or len(found.percentiles_s) != len(_ALL):
        return None
    chosen = _FEW if many(data) else _ALL
    marks = []
    for name, percent in _MARKED.items():
        estimate = cell.metrics.get(f"latency_{name}")
        if estimate is not None:
            ends = (estimate.value, estimate.low, estimate.high)
            marks.append(
                [name, percent, *(None if end is None else short(end * 1e3) for end in ends)]
            )
    return {
        "ms": [short(found.percentiles_s[percent] * 1e3) for percent in chosen],
        "marks": marks,
        "requests": cell.requests,
        "outliers": found.tukey_outliers,
    }


CELL_FIGURE = CellFigure("latency", values)
