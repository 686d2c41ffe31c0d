"""How a cell's power went, the measured span among it, and how its load did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.compact import many, merged, short
from pytest_gaitperf.report.html.section import CellFigure

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

_MERGED, _ENOUGH_BINS = 4, 40


def power_values(data: ReportData, cell: Cell) -> object | None:
    """Return the power over a cell: ``watts`` as [rail, in the total: 1 or 0, mean W per bin].

    Bins are ``bin_s`` wide, the first begins at ``start_s``, both in seconds from the start of the
    measured span of ``span_s``; ``mean_w`` is the total's mean over it, null where it is not known.
    ``readings`` is how many there were in it, ``counter`` 1 where they are of an energy counter.
    """
    trace = cell.power_trace
    bins = min(map(len, trace.watts.values()), default=0) if trace is not None else 0
    if trace is None or not bins or trace.bin_s <= 0:
        return None
    every = _MERGED if many(data) and bins >= _ENOUGH_BINS else 1
    # The measured span begins at an edge of a bin, and still does among wider ones.
    first = round(-trace.start_s / trace.bin_s) % every
    last = bins - (bins - first) % every
    mean = cell.metrics.get("power_mean")
    return {
        "start_s": short(trace.start_s + first * trace.bin_s, 6),
        "bin_s": short(trace.bin_s * every, 6),
        "span_s": short(trace.window_s[1], 6),
        "watts": [
            [
                rail,
                int(rail in cell.energy_rails),
                [short(one) for one in merged(watts[first:last], every)],
            ]
            for rail, watts in trace.watts.items()
        ],
        "mean_w": None if mean is None else short(mean.value),
        "readings": trace.readings,
        "counter": int(trace.kind == "energy"),
        "estimate": int(cell.energy_is_estimated),
    }


def course_values(data: ReportData, cell: Cell) -> object | None:
    """Return ``[edges in s, throughput in inf/s, median latency in ms]`` of a cell's parts.

    None where there are so many cells that the page would get too large.
    """
    course = cell.course
    if course is None or many(data):
        return None
    return [
        [short(edge) for edge in course.edges_s],
        [short(value) for value in course.throughput],
        [None if value is None else short(value * 1e3) for value in course.latency_p50_s],
    ]


CELL_FIGURES = (CellFigure("power", power_values), CellFigure("course", course_values))
