"""Cells beside one model under the same load: how many times faster, with how much less energy."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING

from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.results import Run

COSTS: Mapping[str, tuple[str, str]] = {
    "faster": ("latency_p50", "faster"),
    "less_energy": ("energy_per_inference", "less energy"),
}
"""The columns, with the metric whose ratio each one shows, and its words."""

_MOST_LINES = 6


def ratios(run: Run, column: str) -> dict[str, float]:
    """Return by cell how many times less it costs than the same load of ``run.relative_to``.

    Without those of which one of the two was not measured; none where nothing is asked for.
    """
    metric, _ = COSTS[column]
    costs = {
        cell.id: cell.measurement.metrics[metric].value
        for cell in run.cells
        if cell.unmeasured is None and cell.measurement and metric in cell.measurement.metrics
    }
    found = {}
    for cell in run.cells if run.relative_to else ():
        own, other = costs.get(cell.id), costs.get(f"{run.relative_to}-{cell.key}")
        if own and other:
            found[cell.id] = other / own
    return found


def relative_lines(run: Run) -> list[str]:
    """Return a line for each other model: the geometric means over the loads that both have."""
    if not run.relative_to:
        return []
    estimated = any(one.measurement and one.measurement.energy_estimated for one in run.cells)
    models: dict[str, list[str]] = {}
    for column, (_, words) in COSTS.items():
        found: dict[str, list[float]] = {}
        known = ratios(run, column)
        for cell in run.cells:
            if cell.id in known and cell.workload.model != run.relative_to:
                found.setdefault(cell.workload.model, []).append(known[cell.id])
        guess = " (estimated)" if estimated and column == "less_energy" else ""
        for model, each in found.items():
            said = f"{geometric_mean(each):.2f}x {words}{guess}"
            models.setdefault(model, []).append(said)
    lines = [f"{name} beside {run.relative_to}: {', '.join(one)}" for name, one in models.items()]
    more = len(lines) - _MOST_LINES
    if more > 0:
        lines[_MOST_LINES:] = [
            f"{count(more, 'more model')} beside {run.relative_to}: see the columns"
        ]
    return lines
