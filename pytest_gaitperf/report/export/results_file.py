"""A run's results as exporters take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.export.history import CellFigures, SessionFigures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.report.schema import Cell, Results, Workload


def session_of(results: Results) -> SessionFigures:
    """Return the session that results tell of.

    A cell that could not be measured or is invalid is left out, with its reason.
    """
    environment = results.environment
    left_out = {cell.id: cell.unmeasured for cell in results.cells if cell.unmeasured}
    return SessionFigures(
        time=environment.time,
        profile=results.profile.id,
        cells=tuple(_figures(cell) for cell in results.cells if not cell.unmeasured),
        commit=environment.commit,
        dirty=environment.dirty,
        plugin=environment.plugin,
        triton=environment.triton.version if environment.triton is not None else "",
        left_out=left_out,
    )


def _figures(cell: Cell) -> CellFigures:
    return CellFigures(
        model=cell.workload.model,
        key=cell.key,
        labels=_labels(cell.workload),
        metrics={
            name: Estimate(METRICS[name].unit, item.value, item.low, item.high)
            for name, item in cell.metrics.items()
            if name in METRICS
        },
        estimated=cell.energy_is_estimated,
        requests=cell.requests,
        latencies=cell.latency_distribution,
    )


def _labels(workload: Workload) -> Mapping[str, str]:
    """Say how a cell was loaded, leaving out what it was not."""
    labels = {"batch_size": str(workload.batch_size)}
    if workload.concurrency:
        labels["concurrency"] = str(workload.concurrency)
    elif workload.request_rate:
        labels |= {"request_rate": f"{workload.request_rate:g}", "arrival": workload.arrival}
    elif workload.subjects:
        labels |= {"subjects": str(workload.subjects), "frame_rate": f"{workload.frame_rate:g}"}
    if workload.version:
        labels["version"] = workload.version
    return labels | {"protocol": workload.protocol, "transport": workload.transport}
