"""Cells beside neighbours in words: what each lost against itself alone, and who was late."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.text import count, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.results import Cell, Run
    from pytest_gaitperf.workload import Workload

_MOST_LINES = 6


def neighbours_text(workload: Workload) -> str:
    """Return a load's neighbours as people say them: ``detector 25/s, pose@2 10/s b4``."""
    return ", ".join(
        f"{one.name} {one.request_rate:g}/s" + (f" b{one.batch_size}" if one.batch_size > 1 else "")
        for one in workload.beside
    )


def mix_text(run: Run, cell: Cell) -> str:
    """Say what a measured cell lost beside its neighbours, and which models were late."""
    measurement, workload = cell.measurement, cell.workload
    assert measurement is not None
    alone = replace(workload, beside=())
    without = next((one.measurement for one in run.cells if one.workload == alone), None)
    said = []
    if workload.concurrency and without is not None and not without.invalid:
        rates = [one.metrics["throughput"].value for one in (measurement, without)]
        said.append(f"{METRICS['throughput'].title} {percent(rates[0] / rates[1] - 1)}")
    if (slowdown := measurement.metrics.get("slowdown")) is not None:
        said.append(f"mean latency {percent(slowdown.value - 1)}")
    lost = f"{', '.join(said)} " if said else ""
    return f"{lost}beside {neighbours_text(workload)}; {measurement.late(workload)}"


def mix_lines(run: Run) -> Iterator[str]:
    """Yield a line for each measured cell beside neighbours, those with a late model first."""
    cells = [
        cell
        for cell in run.cells
        if cell.workload.beside and cell.measurement is not None and cell.unmeasured is None
    ]
    texts = sorted((f"{cell.id}: {mix_text(run, cell)}" for cell in cells), key=_in_time)
    yield from texts[:_MOST_LINES]
    if len(texts) > _MOST_LINES:
        yield f"{count(len(texts) - _MOST_LINES, 'more cell')} beside neighbours: see the page"


def _in_time(text: str) -> bool:
    return text.endswith("all in time")
