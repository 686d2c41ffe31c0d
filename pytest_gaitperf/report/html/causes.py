"""Why a metric may have become worse: what the run itself can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, quantity_of
from pytest_gaitperf.report.text import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell, Finding, Measured

_PARTS = {
    "schedule": "waiting to be sent",
    "client_send": "sending in the client",
    "network": "network",
    "queue": "queue",
    "compute_input": "preparing the input",
    "compute_infer": "compute",
    "compute_output": "preparing the output",
    "client_receive": "receiving in the client",
}
_ENERGY = "energy_per_inference"
# What grew by less than this share of the whole growth explains little of it.
_SHARE = 0.25


def causes(data: ReportData, cell: Cell, metric: str) -> list[str]:
    """Return the likely causes of a regression, the most telling first; plain text."""
    found = [one.text for one in findings(data, metric) if one.model in (None, cell.workload.model)]
    if cell.model_change:
        found.append(cell.model_change)
    before = data.before(cell.id)
    if before is None:
        return found
    if quantity_of(metric) == "energy":
        found += _rail(cell, before)
    else:
        found += _time(cell, before)
    return found


def findings(data: ReportData, metric: str) -> Iterator[Finding]:
    """Yield what many cells have in common for the worse in one metric."""
    for finding in data.run.findings:
        if finding.worse and finding.metric == metric:
            yield finding


def _time(cell: Cell, before: Measured) -> Iterator[str]:
    """Say which part of a request's time grew most since the run before."""
    grown = {
        name: seconds - before.time_split_s.get(name, 0.0)
        for name, seconds in cell.time_split_s.items()
    }
    total = sum(grown.values())
    name = max(grown, key=lambda one: grown[one], default="")
    if name and grown[name] > 0 and grown[name] >= _SHARE * total:
        was, now = before.time_split_s.get(name, 0.0), cell.time_split_s[name]
        yield (
            f"the time in {_PARTS.get(name, name)} grew most since the run before: "
            f"{was * 1e3:.2f} to {now * 1e3:.2f} ms per request"
        )


def _rail(cell: Cell, before: Measured) -> Iterator[str]:
    """Say which rail's energy per inference grew most since the run before."""
    now, was = _rails_per_inference(cell), _rails_per_inference(before)
    grown = {name: now[name] - was[name] for name in now if name in was}
    name = max(grown, key=lambda one: grown[one], default="")
    if name and grown[name] > 0:
        estimate = ", an estimate" if cell.energy_is_estimated else ""
        unit = METRICS[_ENERGY]
        yield (
            f"rail {name} grew most since the run before: {was[name] * unit.scale:.3g} to "
            f"{now[name] * unit.scale:.3g} {unit.display_unit} per inference "
            f"({percent(now[name] / was[name] - 1) if was[name] > 0 else 'from nothing'}{estimate})"
        )


def _rails_per_inference(cell: Measured) -> dict[str, float]:
    """Return joules per inference by rail; a total is left out where its parts are known."""
    energy = cell.metrics.get(_ENERGY)
    joules = sum(cell.rails_j.get(name, 0.0) for name in cell.energy_rails)
    if energy is None or joules <= 0:
        return {}
    parts = set(cell.rails_j)
    if len(cell.energy_rails) == 1 and len(parts) > 1:
        parts -= set(cell.energy_rails)
    return {
        name: cell.rails_j[name] / joules * energy.value for name in cell.rails_j if name in parts
    }
