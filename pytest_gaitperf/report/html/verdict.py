"""The top of the page: the run's facts, what regressed and why, what is undecided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS, TOGETHER, of_energy
from pytest_gaitperf.report.html.data import ENERGY, Section, unix
from pytest_gaitperf.report.html.figures import PARTS
from pytest_gaitperf.report.text import commit_text, loss, sensitivity_text
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import count, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, LimitCheck, Run, Verdict

CALM = ("pass", "improved", "missing, recorded", "incomparable, recorded")
"""The words that ask nobody for a look."""

# What grew by less than this share of the whole growth explains little of it.
_SHARE = 0.25
_DAY_S = 86400


class Chip(NamedTuple):
    """A coloured word: a class of ``page.css`` says how it looks."""

    text: str
    kind: str


class Moved(NamedTuple):
    """A cell whose verdicts, the worst first, or limits need a reader.

    ``remarks`` are the likely causes of a regression, or what would decide a change.
    """

    cell: Cell
    verdicts: Sequence[Verdict]
    limits: Sequence[LimitCheck]
    remarks: Sequence[str]


def word_chip(word: str, outcome: Outcome) -> Chip:
    """Return a cell's word: its kind is the outcome, or open where a green cell needs a look."""
    is_open = outcome is Outcome.GREEN and word not in CALM
    return Chip(word, "open" if is_open else outcome.value)


def title_of(cell: Cell, metric: str) -> str:
    """Return a metric's name; of an estimate, it says so."""
    measurement = cell.measurement
    return METRICS[metric].title if measurement is None else measurement.title(metric)


def verdict(data: ReportData) -> Section:
    """Return the facts and the outcome of the run, and which cells made it."""
    run = data.run
    of_cells = {f"{cell.id}: {reason}" for cell in run.cells for reason in cell.reasons}
    unmeasured = run.outcome is Outcome.UNMEASURED
    view = {
        "facts": list(_facts(data)),
        "reasons": [reason for reason in run.reasons if unmeasured or reason not in of_cells],
        "regressed": _moved(data, VerdictKind.REGRESSED),
        "undecided": _moved(data, VerdictKind.INCONCLUSIVE),
    }
    return Section("verdict", "Verdict", view)


def _facts(data: ReportData) -> Iterator[tuple[str, str]]:
    run, about = data.run, data.run.environment
    yield "measured", f"{about.time[:16].replace('T', ' ')} UTC"
    yield "commit", commit_text(about.commit, about.dirty) or "unknown"
    yield "device", run.profile.id
    yield from run.profile.settings
    if about.triton is not None:
        yield "server", f"Triton {about.triton.version}, {about.triton.mode}".rstrip(", ")
    yield "power meter", meter_text(run)
    yield "baseline", _baseline_text(data)
    if missing := sum(map(len, run.orphans.values())):
        yield "did not run", f"{count(missing, 'cell')} of the baselines"
    if text := sensitivity_text(run):
        yield "sensitivity", text.partition(": ")[2]


def meter_text(run: Run) -> str:
    """Return what measured the power."""
    power = run.environment.power
    if power.meter is None:
        return "none"
    estimated = ": an estimate, no sensor" if power.estimated else ""
    return f"{power.description or power.meter}{estimated}"


def _baseline_text(data: ReportData) -> str:
    """Return what the run was compared with, and how old that is where the page knows it."""
    run = data.run
    if run.against:
        return f"none: compared in turns with {run.against}"
    used = {one.sessions for cell in run.cells for one in cell.verdicts.values()} - {0}
    if not used:
        return "recorded by this run" if any(cell.recorded for cell in run.cells) else "none"
    few = f"{min(used)} to " if len(used) > 1 else ""
    said = f"{few}{count(max(used), 'session')}"
    known = (data.baselines[cell.id] for cell in run.cells if cell.id in data.baselines)
    times = {session.time for one in known for session in one.sessions} - {*run.sessions.began}
    newest, now = unix(max(times, default="")), unix(run.environment.time)
    # Files come from anywhere: a time that is none, or a clock that was wrong, is no age.
    days = count((now - newest) // _DAY_S, "day")
    return f"{said}, the newest {days} old" if 0 < newest <= now else said


def _moved(data: ReportData, kind: VerdictKind) -> list[Moved]:
    """Return the cells with such verdicts, the worst first; to regressions belong broken limits."""
    regressed = kind is VerdictKind.REGRESSED
    found = []
    for cell in data.run.cells:
        # By how many times worse, so that a rate and its inverse count alike.
        verdicts = sorted(
            (one for one in cell.verdicts.values() if one.kind is kind), key=loss, reverse=True
        )
        limits = [one for one in cell.limits if regressed and one.state is LimitState.VIOLATED]
        if not verdicts and not limits:
            continue
        remarks = (
            [text for one in verdicts for text in causes(data, cell, one.metric)]
            if regressed
            else [one.sharpen for one in verdicts if one.sharpen]
        )
        found.append(Moved(cell, verdicts, limits, list(dict.fromkeys(remarks))))
    # A limit that is broken without a regression comes last.
    return sorted(found, key=lambda one: -loss(one.verdicts[0]) if one.verdicts else math.inf)


def causes(data: ReportData, cell: Cell, metric: str) -> list[str]:
    """Return the likely causes of a regression, the most telling first."""
    found = [
        one.text
        for one in data.run.findings
        if one.worse and one.metric in (metric, TOGETHER) and one.model in ("", cell.workload.model)
    ]
    if cell.model_change:
        found.append(cell.model_change)
    before, now = data.before(cell.id), cell.measurement
    if before is not None and now is not None:
        found += _rail(now, before) if of_energy(metric) else _time(now, before)
    return found


def _time(now: Measurement, before: Measurement) -> Iterator[str]:
    """Say which part of a request's time grew most since the run before."""
    parts, past = now.time_split_s, before.time_split_s
    grown = {name: seconds - past.get(name, 0.0) for name, seconds in parts.items()}
    name = max(grown, key=grown.__getitem__, default="")
    if name and grown[name] > 0 and grown[name] >= _SHARE * sum(grown.values()):
        yield (
            f"the time in {PARTS.get(name, name)} grew most since the run before: "
            f"{past.get(name, 0.0) * 1e3:.2f} to {parts[name] * 1e3:.2f} ms per request"
        )


def _rail(now: Measurement, before: Measurement) -> Iterator[str]:
    """Say which rail's energy per inference grew most since the run before."""
    parts, past = _rails_per_inference(now), _rails_per_inference(before)
    grown = {name: parts[name] - past[name] for name in parts if name in past}
    name = max(grown, key=lambda one: grown[one], default="")
    if name and grown[name] > 0:
        estimate = ", an estimate" if now.energy_estimated else ""
        change = percent(parts[name] / past[name] - 1) if past[name] > 0 else "from nothing"
        unit = METRICS[ENERGY]
        yield (
            f"rail {name} grew most since the run before: {past[name] * unit.scale:.3g} to "
            f"{parts[name] * unit.scale:.3g} {unit.display_unit} per inference ({change}{estimate})"
        )


def _rails_per_inference(found: Measurement) -> dict[str, float]:
    """Return joules per inference by rail; a total is left out where its parts are known."""
    energy = found.metrics.get(ENERGY)
    joules = sum(found.rails_j.get(name, 0.0) for name in found.energy_rails)
    if energy is None or joules <= 0:
        return {}
    alone = len(found.energy_rails) == 1 and len(found.rails_j) > 1
    return {
        name: value / joules * energy.value
        for name, value in found.rails_j.items()
        if not (alone and name in found.energy_rails)
    }


def limit_of(verdict: Verdict) -> float | None:
    """Return the value at which the verdict turns to regressed, None where there is none."""
    if verdict.blocks or verdict.baseline is None or verdict.limit is None:
        return None
    limit = verdict.baseline * (1 + verdict.limit)
    return limit if math.isfinite(limit) else None
