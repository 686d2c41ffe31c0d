"""How a cell's metrics went over the sessions, and where the gate expects the next one."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import ENOUGH_SESSIONS, METRICS, quantity_of
from pytest_gaitperf.report.html.compact import short
from pytest_gaitperf.report.html.section import CellFigure

if TYPE_CHECKING:
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell, Judgement

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
    factor = (1 + high) / (1 + change)
    low, top = centre / factor, centre * factor
    return (low, top) if low > 0 and math.isfinite(top) else None


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
        limit = _limit(judgement) if judgement is not None else None
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


def _limit(judgement: Judgement) -> float | None:
    """Return the value at which the verdict turns red, None where there is none."""
    if judgement.pairs or judgement.baseline is None or judgement.limit is None:
        return None
    limit = judgement.baseline * (1 + judgement.limit)
    return limit if math.isfinite(limit) else None


def _points(data: ReportData, cell: Cell) -> list[tuple[int, int, dict[str, float]]]:
    """Return the time, the origin and the values of each session, in the order of time."""
    points: list[tuple[int, int, dict[str, float]]] = []
    recorded = data.baselines.get(cell.id)
    # A run that was recorded is a session of the baseline too: it is drawn once.
    present = data.run.sessions.began[:1] if cell.unmeasured is None else []
    began = set()
    for session in recorded.sessions if recorded is not None else ():
        if session.time in present:
            continue
        # Estimated joules and measured ones are never compared, nor drawn as one history.
        guessed = session.fingerprint.rails.get("energy_per_inference", "").startswith("estimate")
        began.add(session.time)
        found = {
            name: value.value
            for name, value in session.values.items()
            if name in METRICS
            and (quantity_of(name) != "energy" or guessed == cell.energy_is_estimated)
        }
        points.append((_unix(session.time), _BASELINE, found))
    for run, past in data.history.get(cell.id, ()):
        if run is not data.run and began & set(run.sessions.began):
            continue
        found = {
            name: estimate.value
            for name, estimate in past.metrics.items()
            if name in METRICS
            and (
                quantity_of(name) != "energy"
                or past.energy_is_estimated == cell.energy_is_estimated
            )
        }
        origin = _PRESENT if run is data.run else _EARLIER
        points.append((_unix(run.environment.time), origin, found))
    return sorted(points, key=lambda point: point[:2])


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
    """Return the Unix time of UTC ISO 8601, 0 of what is none: files come from anywhere."""
    try:
        return int(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0


CELL_FIGURE = CellFigure("trend", values)
