"""github-action-benchmark's ``customSmallerIsBetter``: latencies, energy, power, CPU time.

One tool of the action has one direction: throughput is in ``customBiggerIsBetter``, see
``github_benchmark_bigger``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, Direction
from pytest_gaitperf.report.export.history import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.export.history import SessionFigures


def export(sessions: Sequence[SessionFigures], _name: str) -> str:
    """Return the newest session: the action keeps the history itself."""
    return entries(sessions[-1], Direction.LOWER_IS_BETTER)


def entries(session: SessionFigures, direction: Direction) -> str:
    """Return the metrics of one direction, in the units that our tables show."""
    found = []
    for cell in sorted(session.cells, key=lambda cell: cell.id):
        for name, estimate in cell.metrics.items():
            metric = METRICS[name]
            if metric.direction is not direction:
                continue
            title = f"estimated {metric.title}" if cell.is_estimate(name) else metric.title
            entry = {
                "name": f"{cell.id} {title}",
                "unit": metric.display_unit,
                "value": scaled(estimate.value, metric.scale),
                "extra": f"profile {session.profile}",
            }
            if estimate.low is not None and estimate.high is not None:
                half_width = (estimate.high - estimate.low) / 2 * metric.scale
                entry["range"] = f"± {half_width:.3g}"
            found.append(entry)
    return json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
