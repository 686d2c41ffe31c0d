"""Where a request's time goes: waiting, computing, on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.compact import short
from pytest_gaitperf.report.html.section import CellFigure, Figure, Section, Table
from pytest_gaitperf.report.html.stacked import Bars, height_px, shown, spec
from pytest_gaitperf.report.text import number

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

PARTS = {
    "schedule": "sent late",
    "client_send": "client sends",
    "network": "network",
    "queue": "queue",
    "compute_input": "input",
    "compute_infer": "inference",
    "compute_output": "output",
    "client_receive": "client receives",
}
"""The parts of ``Measurement.time_split_s`` in the order of time, as people read them."""


def section(data: ReportData) -> Section | None:
    """Return the mean time of a request in each cell, by what it went to."""
    known = [cell for cell in data.run.cells if cell.time_split_s and cell.error is None]
    if not known:
        return None
    cells, left_out = shown(known)
    rows = [cell.id for cell in cells]
    parts = {
        title: [cell.time_split_s.get(name, 0.0) * 1e3 for cell in cells]
        for name, title in PARTS.items()
        if any(cell.time_split_s.get(name) for cell in cells)
    }
    figure = Figure(
        "time-split",
        "Time of a request, by what it went to",
        spec(rows, [Bars(parts)], "ms per request"),
        "One bar for each cell, as long as the mean time of a request: what the server's "
        "statistics call queue, input, inference and output, what the client took to send and to "
        "receive, and as network what nobody accounts for." + left_out,
        Table(
            "Mean time of a request in ms, by what it went to",
            ("cell", *parts),
            [
                (row, *(number(values[index]) for values in parts.values()))
                for index, row in enumerate(rows)
            ],
        ),
        height_px(len(rows), 1),
    )
    return Section("time", "Where the time goes", figures=(figure,))


def values(data: ReportData, cell: Cell) -> object | None:
    """Return ``[[part, ms now, ms in the run before or null] ...]`` of a cell."""
    if not cell.time_split_s:
        return None
    before = data.before(cell.id)
    past = before.time_split_s if before is not None else {}
    return [
        [
            title,
            short(cell.time_split_s.get(name, 0.0) * 1e3),
            short(past.get(name, 0.0) * 1e3) if past else None,
        ]
        for name, title in PARTS.items()
        if cell.time_split_s.get(name) or past.get(name)
    ]


CELL_FIGURE = CellFigure("time", values)
