"""Few digits and few points: what keeps a page of a thousand cells small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.html.data import ReportData

_MANY_CELLS = 100


def many(data: ReportData) -> bool:
    """Return whether there are so many cells that each has to be shown with fewer points."""
    return len(data.run.cells) > _MANY_CELLS


def short(value: float, digits: int = 4) -> float | int:
    """Round to so many significant digits, a whole number as one."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded


def merged(values: Sequence[float], every: int) -> list[float]:
    """Return the mean of every so many values in a row; the last may be of fewer."""
    parts = [values[first : first + every] for first in range(0, len(values), every)]
    return [sum(part) / len(part) for part in parts]
