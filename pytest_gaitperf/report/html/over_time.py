"""The figures of a cell over the time of its measurement: their values, as in ``cell.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.data import short
from pytest_gaitperf.report.html.verdict import limit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell

_MERGED, _ENOUGH_BINS = 4, 40


def power(data: ReportData, _cell: Cell, measured: Measurement) -> object | None:
    """Return the power over a cell: ``watts`` as [rail, in the total: 1 or 0, mean W per bin].

    Bins are ``bin_s`` wide, the first begins at ``start_s``, both in seconds from the start of the
    measured span of ``span_s``; ``mean_w`` is the total's mean over it, null where it is not known.
    ``readings`` is how many there were in it, ``counter`` 1 where they are of an energy counter.
    """
    trace = measured.power
    bins = min(map(len, trace.watts.values()), default=0) if trace is not None else 0
    if trace is None or not bins or trace.bin_s <= 0:
        return None
    every = _MERGED if data.many and bins >= _ENOUGH_BINS else 1
    # The measured span begins at an edge of a bin, and still does among wider ones.
    first = round(-trace.start_s / trace.bin_s) % every
    last = bins - (bins - first) % every
    mean = measured.metrics.get("power_mean")
    return {
        "start_s": short(trace.start_s + first * trace.bin_s, 6),
        "bin_s": short(trace.bin_s * every, 6),
        "span_s": short(trace.span_s, 6),
        "watts": [
            [
                rail,
                int(rail in measured.energy_rails),
                [short(one) for one in _merged(watts[first:last], every)],
            ]
            for rail, watts in trace.watts.items()
        ],
        "mean_w": None if mean is None else short(mean.value),
        "readings": trace.readings,
        "counter": int(trace.kind == "energy"),
        "estimate": int(measured.energy_estimated),
    }


def _merged(values: Sequence[float], every: int) -> list[float]:
    """Return the mean of every so many values in a row; the last may be of fewer."""
    parts = [values[first : first + every] for first in range(0, len(values), every)]
    return [sum(part) / len(part) for part in parts]


def timeline(data: ReportData, _cell: Cell, measured: Measurement) -> object | None:
    """Return ``[edges in s, throughput in inf/s, median latency in ms]`` of a cell's parts.

    None where there are so many cells that the page would get too large.
    """
    found = measured.timeline
    if found is None or data.many:
        return None
    return [
        [short(edge) for edge in found.edges_s],
        [short(value) for value in found.throughput],
        [None if value is None else short(value * 1e3) for value in found.latency_p50_s],
    ]


def sustained(_data: ReportData, cell: Cell, measured: Measurement) -> object | None:
    """Return how a load went that was kept up: ``edges`` of its parts in s, and a list of each.

    ``lines`` has [title, unit, figure, values by part] of what was measured; ``disturbed`` the
    numbers of the parts that others disturbed; ``throttled`` [s of the first throttle or null, by
    what], ``ended`` why it ended before its time. ``limit`` is that of the throughput at the end,
    null where there is none.
    """
    found = measured.sustained
    if found is None or len(found.edges_s) != len(found.throughput) + 1 or not found.throughput:
        return None

    def line(
        title: str, unit: str, place: int, values: Sequence[float | None], scale: float = 1.0
    ) -> list[object] | None:
        if all(value is None for value in values):
            return None
        return [title, unit, place, [None if one is None else short(one * scale) for one in values]]

    guess = " (estimate)" if measured.energy_estimated else ""
    lines = [
        line("throughput", "inf/s", 0, found.throughput),
        line("p50", "ms", 1, found.latency_p50_s, 1e3),
        line("p99", "ms", 1, found.latency_p99_s, 1e3),
        line(f"power{guess}", "W", 2, found.watts),
        line("temperature", "C", 3, found.temperature_c),
        line("slowest clock", "MHz", 4, found.clock_hz, 1e-6),
    ]
    verdict = cell.verdicts.get("sustained_throughput")
    limit = None if verdict is None else limit_of(verdict)
    return {
        "edges": [short(edge, 6) for edge in found.edges_s],
        "lines": [one for one in lines if one is not None],
        "disturbed": [place for place, bad in enumerate(found.disturbed) if bad],
        "throttled": [found.throttled_after_s, found.throttled_by],
        "ended": found.ended,
        "limit": None if limit is None else short(limit),
    }
