"""What the formats have in common: a run's cells, their figures and their loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate, Metric
    from pytest_gaitperf.results import Cell, Run
    from pytest_gaitperf.workload import Workload


class Format(NamedTuple):
    """One of our formats, as an ``Exporter``."""

    export: Callable[[Sequence[Run], str], str]


class FigureOf(NamedTuple):
    """One metric of a cell; ``prefix`` is ``estimated_`` where no sensor stands behind it."""

    metric: Metric
    estimate: Estimate
    prefix: str


def measured(run: Run) -> list[tuple[Cell, Measurement]]:
    """Return the cells with a valid measurement, by id."""
    return [
        (cell, cell.measurement)
        for cell in sorted(run.cells, key=lambda cell: cell.id)
        if cell.measurement is not None and cell.unmeasured is None
    ]


def figures(found: Measurement) -> Iterator[FigureOf]:
    """Yield the metrics of a measurement, but for those that this version does not know."""
    for name, estimate in found.metrics.items():
        if name in METRICS:
            prefix = "estimated_" if found.estimates(name) else ""
            yield FigureOf(METRICS[name], estimate, prefix)


def labels(workload: Workload) -> Mapping[str, str]:
    """Say how a cell was loaded, leaving out what it was not."""
    found = {"batch_size": str(workload.batch_size)}
    if workload.concurrency:
        found["concurrency"] = str(workload.concurrency)
    elif workload.request_rate:
        found |= {"request_rate": f"{workload.request_rate:g}", "arrival": workload.arrival}
    elif workload.subjects:
        found |= {"subjects": str(workload.subjects), "frame_rate": f"{workload.frame_rate:g}"}
    if workload.version:
        found["version"] = workload.version
    return found | {"protocol": workload.protocol, "transport": workload.transport}


def scaled(value: float, scale: float) -> float:
    """Return a value in another unit, without the digits that the conversion makes up."""
    return float(f"{value * scale:.12g}")
