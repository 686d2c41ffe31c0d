"""Bencher Metric Format: one object of measures for each cell.

``latency`` and ``throughput`` are Bencher's own measures, in nanoseconds and operations per second;
``latency`` is the median. The other measures are made on their first upload: latencies in
nanoseconds too, energy in joules, power in watts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.export.history import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.export.history import CellFigures, SessionFigures

_BUILT_IN = {"latency_p50": "latency", "throughput": "throughput"}


def export(sessions: Sequence[SessionFigures], _name: str) -> str:
    """Return the newest session: a report of Bencher is of one run."""
    cells = sorted(sessions[-1].cells, key=lambda cell: cell.id)
    document = {cell.id: _measures(cell) for cell in cells}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _measures(cell: CellFigures) -> dict[str, dict[str, float]]:
    measures = {}
    for name, estimate in cell.metrics.items():
        scale = 1e9 if METRICS[name].unit == "s" else 1.0
        slug = _BUILT_IN.get(name, name.replace("_", "-"))
        slug = f"estimated-{slug}" if cell.is_estimate(name) else slug
        bounds = {
            "value": estimate.value,
            "lower_value": estimate.low,
            "upper_value": estimate.high,
        }
        measures[slug] = {
            bound: scaled(value, scale) for bound, value in bounds.items() if value is not None
        }
    return measures
