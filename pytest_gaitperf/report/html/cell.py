"""What a chosen cell shows: its facts, its metrics, and the values of its figures.

The browser draws the figures when a reader chooses the cell: ``templates/cell.js`` has, for each
kind in ``FIGURES``, a function ``(values, cell) => figure``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_gaitperf.gate.trend import change_points
from pytest_gaitperf.metrics import GATED, METRICS, of_energy
from pytest_gaitperf.report.html.data import ENERGY, display, metrics, short, unix
from pytest_gaitperf.report.html.figures import PARTS, inferences
from pytest_gaitperf.report.html.over_time import power, sustained, timeline
from pytest_gaitperf.report.html.sections import SHOWN
from pytest_gaitperf.report.html.verdict import limit_of, title_of
from pytest_gaitperf.report.mixes import mix_text
from pytest_gaitperf.report.text import cell_word, value, verdict_word
from pytest_gaitperf.text import count, percent, scaled, shown
from pytest_gaitperf.workload import shapes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_gaitperf.measurement import Measurement, Surroundings, Utilisation
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run, Verdict

_ALL = tuple(range(101))
_FEW = (0, 1, *range(5, 100, 5), 99, 100)
_MARKED = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
_BASELINE, _EARLIER, _PRESENT = 0, 1, 2


def cell_data(data: ReportData, cell: Cell) -> dict[str, object]:
    """Return what the page shows of one cell, compact, since every cell has it."""
    figures: dict[str, object] = {}
    for kind, values in FIGURES.items():
        found = None if cell.measurement is None else values(data, cell, cell.measurement)
        if found is not None:
            figures[kind] = found
    return {
        "model": cell.workload.model,
        "facts": _facts(data.run, cell),
        "metrics": [_metric(data.run, cell, name) for name in METRICS if name in metrics(cell)],
        "figures": figures,
    }


def _facts(run: Run, cell: Cell) -> list[tuple[str, str]]:
    facts = [("verdict", cell_word(run, cell)), ("outcome", cell.outcome.value)]
    facts += [("why", reason) for reason in cell.reasons]
    if cell.model_change:
        facts.append(("model", cell.model_change))
    facts += [("limit", f"{one.limit}: {one.absent or one.state.value}") for one in cell.limits]
    found = cell.measurement
    if found is None:
        return facts
    if found.windows:
        windows = f"{found.windows} windows of {found.window_s:.3g} s"
        requests = f"{found.requests} requests, {found.failures} failed"
        facts.append(("measured", f"{windows}, {requests}"))
    shapes = shapes_text(dict(cell.workload.shapes))
    facts += [("shapes", shapes)] if shapes else []
    facts.append(("data", found.data))
    facts.append(("client's CPU load", f"{found.client_load:.0%} of a core"))
    if found.surroundings is not None:
        facts += _watched(found.surroundings)
    facts += _busy(found.utilisation)
    if found.energy_above_idle_per_inference_j is not None:
        estimate = " (estimate)" if found.energy_estimated else ""
        above = found.energy_above_idle_per_inference_j * METRICS[ENERGY].scale
        facts.append((f"energy above idle{estimate}", f"{above:.4g} mJ/inference"))
    late_s = found.send_error_p99_s
    facts += [] if late_s is None else [("sent late", f"p99 {late_s * 1e3:.3g} ms")]
    if cell.workload.beside and cell.unmeasured is None:
        facts.append(("beside", mix_text(run, cell)))
    if behind := found.kept_behind:
        facts.append(("behind", behind))
    if found.capacity is not None:
        facts.append(("capacity", found.capacity.text))
    facts += [("answers", line) for line in found.accuracy.lines()] if found.accuracy else []
    return facts + [("note", note) for note in found.notes]


def _watched(seen: Surroundings) -> list[tuple[str, str]]:
    """Return what others did to the CPUs meanwhile."""
    facts = []
    if seen.others is not None and seen.others_most is not None:
        most = f"{seen.others_most:.2f} in the worst window"
        facts.append(("others' use of CPUs", f"{seen.others:.2f} of {seen.cpus}, {most}"))
    if seen.waited is not None:
        text = f"{seen.waited:.0%} of the time that client and server were ready to run"
        facts.append(("waits for a CPU", text))
    if seen.stolen:
        facts.append(("taken by the hypervisor", f"{seen.stolen:.2f} of {seen.cpus} CPUs"))
    if seen.disturbed:
        by = f": {', '.join(seen.culprits)}" if seen.culprits else ""
        facts.append(("disturbed", f"{seen.disturbed} of {seen.windows} windows{by}"))
    return facts


_MOST_LISTED = 16


def _busy(seen: Utilisation | None) -> list[tuple[str, str]]:
    """Return how busy the machine was."""

    def listed(values: Mapping[str, float], form: str, scale: float = 1.0) -> str:
        if len(values) > _MOST_LISTED:
            low, high = (of(values.values()) * scale for of in (min, max))
            return f"{low:{form}} to {high:{form}} of {len(values)}"
        return ", ".join(f"{name} {value * scale:{form}}" for name, value in values.items())

    if seen is None:
        return []
    memory = {} if seen.memory_bytes is None else {"": seen.memory_bytes}
    facts = {
        "CPUs busy": listed(seen.cpus, ".0%"),
        "GPUs busy": listed(seen.gpus, ".0%"),
        "memory used, GiB": listed(memory | seen.gpu_memory_bytes, ".2f", 2**-30).strip(),
        "clocks, MHz": listed(seen.clocks_hz, ".0f", 1e-6),
        "highest temperatures, C": listed(seen.temperatures_c, ".1f"),
    }
    return [(what, text) for what, text in facts.items() if text]


def _metric(run: Run, cell: Cell, name: str) -> list[str]:
    """Return a row: metric, value, 95 % interval, change, verdict and its reason."""
    estimate, verdict, now = metrics(cell)[name], cell.verdicts.get(name), value(cell, name)
    low, high, interval = estimate.low, estimate.high, ""
    # The value that was judged may be the second measurement's, whose interval is another one.
    if low is not None and high is not None and now == estimate.value:
        interval = f"{scaled(name, low)} to {scaled(name, high)}"
    row = [title_of(cell, name), shown(name, now), interval]
    if verdict is not None:
        row += [percent(verdict.change), verdict_word(run, cell, verdict), cell.why(verdict)]
    return row


def latency(data: ReportData, _cell: Cell, measured: Measurement) -> object | None:
    """Return the cumulative distribution of a cell: ``ms`` by percentile.

    Of all 101, 0 to 100, or of 0, 1, every fifth, 99 and 100. ``marks`` has [name, percent, ms,
    low, high] of the percentiles that are metrics, with their intervals; ``requests`` how many
    there were, ``outliers`` how many lie beyond Tukey's fences.
    """
    found = measured.latencies
    if found is None or len(found.percentiles_s) != len(_ALL):
        return None
    chosen = _FEW if data.many else _ALL
    marks = []
    for name, place in _MARKED.items():
        estimate = measured.metrics.get(f"latency_{name}")
        if estimate is not None:
            ends = (estimate.value, estimate.low, estimate.high)
            shown_ends = [None if end is None else short(end * 1e3) for end in ends]
            marks.append([name, place, *shown_ends])
    return {
        "ms": [short(found.percentiles_s[percent] * 1e3) for percent in chosen],
        "marks": marks,
        "requests": measured.requests,
        "outliers": found.tukey_outliers,
    }


def rails(_data: ReportData, _cell: Cell, measured: Measurement) -> object | None:
    """Return the rails of a cell: ``rails`` as [name, W, in the total: 1 or 0].

    ``mj_per_w`` is what one watt of this cell is in mJ per inference, ``estimate`` 1 or 0.
    """
    done = inferences(measured)
    if not measured.rails_j or measured.duration_s <= 0 or done <= 0:
        return None
    return {
        "rails": [
            [rail, short(joules / measured.duration_s), int(rail in measured.energy_rails)]
            for rail, joules in measured.rails_j.items()
        ],
        "mj_per_w": short(measured.duration_s / done * 1e3, 6),
        "estimate": int(measured.energy_estimated),
    }


def time(data: ReportData, cell: Cell, measured: Measurement) -> object | None:
    """Return ``[[part, ms now, ms in the run before or null] ...]`` of a cell."""
    if not measured.time_split_s:
        return None
    before = data.before(cell.id)
    past = before.time_split_s if before is not None else {}
    return [
        [
            title,
            short(measured.time_split_s.get(name, 0.0) * 1e3),
            short(past.get(name, 0.0) * 1e3) if past else None,
        ]
        for name, title in PARTS.items()
        if measured.time_split_s.get(name) or past.get(name)
    ]


def band(verdict: Verdict) -> tuple[float, float] | None:
    """Return where the gate expected the run's value, in the metric's unit; None without a band.

    The verdict's interval of the change is as wide as the noise that the gate allowed, on the log
    scale, on either side: that far around the baseline the value was expected. There is none
    beside a reference model.
    """
    change, high, centre = verdict.change, verdict.high, verdict.baseline
    if verdict.blocks:
        return None
    if change is None or high is None or centre is None or change <= -1 or high <= -1:
        return None
    factor = (1 + high) / (1 + change)
    low, top = centre / factor, centre * factor
    return (low, top) if low > 0 and math.isfinite(top) else None


def trend(data: ReportData, cell: Cell, measured: Measurement) -> object | None:
    """Return the metrics of a cell over the sessions, in their display units.

    ``sessions`` has [Unix time, 0 of the baseline, 1 of an earlier run or 2 of the present one],
    in the order of time; ``metrics`` has, for each, ``title``, ``unit``, ``values`` by session
    (null where it is not known), ``band`` ([low, high] or null), ``limit`` and ``note``.
    """
    points = _points(data, cell, measured)
    known = []
    for name in SHOWN:
        found = [values.get(name) for _, _, values in points]
        if all(value is None for value in found):
            continue
        verdict = cell.verdicts.get(name)
        expected = band(verdict) if verdict is not None else None
        limit = limit_of(verdict) if verdict is not None else None
        known.append(
            {
                "title": measured.title(name),
                "unit": METRICS[name].display_unit,
                "values": [None if value is None else display(name, value) for value in found],
                "band": None if expected is None else [display(name, end) for end in expected],
                "limit": None if limit is None else display(name, limit),
                "note": "; ".join([_note(data, verdict), *_changes(data, cell, name)]),
            }
        )
    return {"sessions": [point[:2] for point in points], "metrics": known} if known else None


def _points(
    data: ReportData, cell: Cell, measured: Measurement
) -> list[tuple[int, int, dict[str, float]]]:
    """Return the time, the origin and the values of each session, in the order of time."""

    def comparable(name: str, *, estimated: bool) -> bool:
        # Estimated joules and measured ones are never compared, nor drawn as one history.
        if name not in METRICS:
            return False
        return not of_energy(name) or estimated == measured.energy_estimated

    points: list[tuple[int, int, dict[str, float]]] = []
    recorded = data.baselines.get(cell.id)
    # A run that was recorded is a session of the baseline too: it is drawn once.
    present = data.run.sessions.began[:1] if cell.unmeasured is None else ()
    began = set()
    for session in recorded.sessions if recorded is not None else ():
        if session.time in present:
            continue
        guessed = session.fingerprint.rails.get(ENERGY, "").startswith("estimate")
        began.add(session.time)
        values = {
            name: one.value
            for name, one in session.values.items()
            if comparable(name, estimated=guessed)
        }
        points.append((unix(session.time), _BASELINE, values))
    for run, past in data.history.get(cell.id, ()):
        if run is not data.run and began & set(run.sessions.began):
            continue
        values = {
            name: one.value
            for name, one in past.metrics.items()
            if comparable(name, estimated=past.energy_estimated)
        }
        origin = _PRESENT if run is data.run else _EARLIER
        points.append((unix(run.environment.time), origin, values))
    return sorted(points, key=lambda point: point[:2])


def _note(data: ReportData, verdict: Verdict | None) -> str:
    """Say what the band stands on, or why there is none."""
    if verdict is None:
        return "not judged: no band"
    if verdict.blocks or data.run.against:
        return "judged beside a reference, not against sessions: no band"
    if band(verdict) is None:
        return "the noise is not known: no band"
    whose = {"model": ", of the whole model", "run": ", of the whole run"}.get(verdict.scope, "")
    return f"band of {count(verdict.sessions, 'session')}{whose}"


def _changes(data: ReportData, cell: Cell, metric: str) -> Iterator[str]:
    """Say where the level of the recorded sessions changed."""
    recorded = data.baselines.get(cell.id)
    values = recorded.in_use(metric) if recorded is not None and metric in GATED else {}
    times = {one.id: one.time[:10] for one in recorded.sessions} if recorded is not None else {}
    for change in change_points(list(values.values())):
        yield f"changed by {percent(change.change)} on {times[list(values)[change.place]]}"


FIGURES: dict[str, Callable[[ReportData, Cell, Measurement], object | None]] = {
    "trend": trend,
    "latency": latency,
    "power": power,
    "timeline": timeline,
    "sustained": sustained,
    "rails": rails,
    "time": time,
}
"""The kinds of figures of one cell in their order: each returns a few numbers, None for none."""
