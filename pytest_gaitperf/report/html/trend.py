"""How a cell's metrics went over the sessions, and where the gate expects the next one."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, quantity_of
from pytest_gaitperf.report.html.compact import short
from pytest_gaitperf.report.html.section import CellFigure
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import Cell, Judgement, ReportData

_METRICS = ("throughput", "latency_p50", "latency_p99", "energy_per_inference", "subjects")
_BASELINE, _EARLIER, _PRESENT = 0, 1, 2


def band(judgement: Judgement) -> tuple[float, float] | None:
    """Return where the gate expected the run's value, in the metric's unit; None without a band.

    The verdict's interval of the change is as wide as the noise that the gate allowed, on the log
    scale, on either side: that far around the baseline the value was expected. There is none
    beside a reference model, and none while the baseline has too few sessions for a prediction.
    """
    change, high, centre = judgement.change, judgement.high, judgement.baseline
    if judgement.pairs or judgement.provisional or judgement.sessions < ENOUGH_SESSIONS:
        return None
    if change is None or high is None or centre is None or change <= -1:
        return None
    noise = math.log1p(high) - math.log1p(change)
    return centre * math.exp(-noise), centre * math.exp(noise)


def values(data: ReportData, cell: Cell) -> object | None:
    """Return the metrics of a cell over the sessions, in their display units.

    ``sessions`` has [Unix time, 0 of the baseline, 1 of an earlier run or 2 of the present one],
    in the order of time; ``metrics`` has, for each, ``title``, ``unit``, ``values`` by session
    (null where it is not known), ``band`` ([low, high] or null), ``limit`` and ``note``.
    """
    points = _points(data, cell)
    if not points:
        return None
    shown = []
    for name in _METRICS:
        scale = METRICS[name].scale
        found = [values.get(name) for _, _, values in points]
        if all(value is None for value in found):
            continue
        judgement = cell.judgements.get(name)
        expected = band(judgement) if judgement is not None else None
        limit = None
        if judgement is not None and not judgement.pairs and judgement.baseline is not None:
            limit = None if judgement.limit is None else judgement.baseline * (1 + judgement.limit)
        shown.append(
            {
                "title": cell.title(name),
                "unit": METRICS[name].display_unit,
                "values": [None if value is None else short(value * scale) for value in found],
                "band": None if expected is None else [short(end * scale) for end in expected],
                "limit": None if limit is None else short(limit * scale),
                "note": _note(data, judgement),
            }
        )
    return {"sessions": [point[:2] for point in points], "metrics": shown} if shown else None


def _points(data: ReportData, cell: Cell) -> list[tuple[int, int, dict[str, float]]]:
    """Return the time, the origin and the values of each session, in the order of time."""
    points: dict[int, tuple[int, dict[str, float]]] = {}
    recorded = data.baselines.get(cell.id)
    # A run that was recorded is a session of the baseline too: it is drawn once.
    present = data.run.sessions.began[:1] if cell.unmeasured is None else []
    began = set()
    for session in recorded.sessions if recorded is not None else ():
        if session.time in present:
            continue
        # Estimated joules and measured ones are never compared, nor drawn as one history.
        guessed = session.facts.rails.get("energy_per_inference", "").startswith("estimate")
        began.add(session.time)
        points[_unix(session.time)] = (
            _BASELINE,
            {
                name: value.value
                for name, value in session.values.items()
                if name in METRICS
                and (quantity_of(name) != "energy" or guessed == cell.energy_is_estimated)
            },
        )
    for run, past in data.history.get(cell.id, ()):
        if run is not data.run and began & set(run.sessions.began):
            continue
        points[_unix(run.environment.time)] = (
            _PRESENT if run is data.run else _EARLIER,
            {
                name: estimate.value
                for name, estimate in past.metrics.items()
                if quantity_of(name) != "energy"
                or past.energy_is_estimated == cell.energy_is_estimated
            },
        )
    return [(time, *points[time]) for time in sorted(points)]


def _note(data: ReportData, judgement: Judgement | None) -> str:
    """Say what the band stands on, or why there is none."""
    if judgement is None:
        return "not judged: no band"
    if judgement.pairs or data.run.against is not None:
        return "judged beside a reference, not against sessions: no band"
    if judgement.sessions < ENOUGH_SESSIONS:
        return f"{judgement.sessions} of {ENOUGH_SESSIONS} sessions: no band yet"
    whose = {"model": ", of the whole model", "run": ", of the whole run"}.get(judgement.depth, "")
    if band(judgement) is None:
        return "nothing tells the noise: no band"
    return f"band of {judgement.sessions} sessions{whose}"


def _unix(time: str) -> int:
    return int(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp())


CELL_FIGURE = CellFigure("trend", values)
