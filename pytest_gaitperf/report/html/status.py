"""What became of a cell, in one word, and how its numbers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.text import percent, scaled
from pytest_gaitperf.results import LimitState, VerdictKind

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell, Judgement

NOT_MEASURED, BEYOND_LIMIT, NOT_JUDGED = "not measured", "beyond a limit", "not judged"
ACCEPTED, RECORDED = "accepted", "recorded"

ORDER = (
    VerdictKind.REGRESSED.value,
    BEYOND_LIMIT,
    NOT_MEASURED,
    VerdictKind.INVALID.value,
    VerdictKind.MISSING.value,
    VerdictKind.INCOMPARABLE.value,
    VerdictKind.INCONCLUSIVE.value,
    ACCEPTED,
    NOT_JUDGED,
    RECORDED,
    VerdictKind.IMPROVED.value,
    VerdictKind.PASS.value,
)
"""Every status of a cell, the worst first: a cell has the worst of its verdicts."""

FAULTS = frozenset(ORDER[:2])
GOOD = frozenset(ORDER[-3:])

SHOWN = ("throughput", "latency_p50", "latency_p99", "energy_per_inference", "subjects")
"""The metrics that tables and maps show of every cell; the cell's own view has all."""


def status(cell: Cell) -> str:
    """Return the worst that can be said of a cell: one of ``ORDER``."""
    if cell.error is not None:
        return NOT_MEASURED
    if cell.invalid is not None:
        return VerdictKind.INVALID.value
    states = {verdict(cell, metric) for metric in cell.verdicts}
    if any(check.state == LimitState.VIOLATED.value for check in cell.limits):
        states.add(BEYOND_LIMIT)
    # What no version of ours wrote is nothing that anyone should take for a pass.
    return min(
        (state if state in ORDER else NOT_JUDGED for state in states),
        key=ORDER.index,
        default=NOT_JUDGED,
    )


def verdict(cell: Cell, metric: str) -> str:
    """Return the verdict on a metric in one word, "" where it has none.

    A regression that was meant is accepted; what had no baseline and is one now was recorded.
    """
    word = cell.verdicts.get(metric, "")
    if metric in cell.judgements and cell.judgements[metric].accepted:
        return ACCEPTED
    return RECORDED if word == VerdictKind.MISSING.value and cell.recorded else word


def css_class(word: str) -> str:
    """Return the class that colours a status, or a verdict."""
    return "bad" if word in FAULTS else "good" if word in GOOD else "warn"


def worsening(metric: str, judgement: Judgement) -> float:
    """Return how much worse a metric became, relative; 0 where that is not known."""
    return METRICS[metric].worse_sign * (judgement.change or 0.0)


def difference(cell: Cell, metric: str) -> str:
    """Return the change from the baseline with its sign, "" where there is none."""
    judgement = cell.judgements.get(metric)
    return percent(judgement.change) if judgement is not None else ""


def reference(data: ReportData) -> str:
    """Return what changes are relative to: the baseline, or what it was compared with."""
    return data.run.against or "the baseline"


def value(metric: str, number: float | None) -> str:
    """Return a value with its display unit, "" for none."""
    return "" if number is None else f"{scaled(metric, number)} {METRICS[metric].display_unit}"


def heading(data: ReportData, metric: str) -> str:
    """Return a metric's name and unit for the head of a column; of an estimate, it says so."""
    unit = METRICS[metric].display_unit
    estimated = any(cell.estimated(metric) for cell in data.run.cells)
    name = METRICS[metric].title
    unit = "" if unit == name else f", {unit}"
    return f"{name}{' (estimate)' if estimated else ''}{unit}"
