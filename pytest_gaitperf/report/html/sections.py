"""The page's sections of text: the verdict with its causes, notes and environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, quantity_of
from pytest_gaitperf.report.html.data import ENERGY, Section, Table
from pytest_gaitperf.report.html.stacked import PARTS
from pytest_gaitperf.report.html.tables import Chip, kind_of, title_of
from pytest_gaitperf.report.text import (
    cell_word,
    commit_text,
    headline,
    loss,
    tally,
    verdict_word,
)
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import count, percent, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run, Verdict

_MOST_NAMED, _MOST_LINKS = 10, 8
# What grew by less than this share of the whole growth explains little of it.
_SHARE = 0.25


def verdict(data: ReportData) -> Section:
    """Return the outcome of the run, what regressed and what else keeps it from being green."""
    run = data.run
    of_cells = {f"{cell.id}: {reason}" for cell in run.cells for reason in cell.reasons}
    unmeasured = run.outcome is Outcome.UNMEASURED
    reasons = [reason for reason in run.reasons if unmeasured or reason not in of_cells]
    outcomes = {cell_word(run, cell): cell.outcome for cell in run.cells}
    violated = [
        (
            cell.id,
            title_of(cell, one.metric),
            shown(one.metric, None if one.now is None else one.now.value),
            one.limit,
        )
        for cell in run.cells
        for one in cell.limits
        if one.state is LimitState.VIOLATED
    ]
    regressions = [
        (cell, verdict)
        for cell in run.cells
        for verdict in cell.verdicts.values()
        if verdict.kind is VerdictKind.REGRESSED
    ]
    # By how many times worse, so that a rate and its inverse count alike.
    regressions.sort(key=lambda one: -loss(one[1]))
    return Section(
        "verdict",
        "Verdict",
        {
            "outcome": run.outcome.value,
            "headline": headline(run),
            "tally": [
                Chip(f"{number} {word}", kind_of(word, outcomes[word]))
                for word, number in tally(run).items()
            ],
            "against": run.against,
            "notes": list(_banner_notes(run)),
            "reasons": reasons[:_MOST_NAMED],
            "more_reasons": len(reasons) - _MOST_NAMED,
            "findings": [finding.text for finding in run.findings if finding.text],
            "regressions": [
                {
                    "cell": cell.id,
                    "title": title_of(cell, one.metric),
                    "word": verdict_word(run, cell, one),
                    "verdict": one,
                    "causes": _why(data, cell, one),
                }
                for cell, one in regressions[:_MOST_NAMED]
            ],
            "more_regressions": len(regressions) - _MOST_NAMED,
            "violated": violated[:_MOST_NAMED],
            "more_violated": len(violated) - _MOST_NAMED,
        },
    )


def _banner_notes(run: Run) -> Iterator[str]:
    provisional = sum(any(v.provisional for v in cell.verdicts.values()) for cell in run.cells)
    if provisional:
        cells = count(provisional, "cell")
        yield f"{cells} judged provisionally: the baseline has too few sessions."
    if missing := sum(map(len, run.orphans.values())):
        yield f"{count(missing, 'cell')} of the baselines did not run."
    if any(cell.measurement and cell.measurement.energy_estimated for cell in run.cells):
        yield "Energy is an estimate from CPU time, not a sensor's reading."


def causes(data: ReportData, cell: Cell, metric: str) -> list[str]:
    """Return the likely causes of a regression, the most telling first."""
    found = [
        one.text
        for one in data.run.findings
        if one.worse and one.metric == metric and one.model in ("", cell.workload.model)
    ]
    if cell.model_change:
        found.append(cell.model_change)
    before, now = data.before(cell.id), cell.measurement
    if before is not None and now is not None:
        found += _rail(now, before) if quantity_of(metric) == "energy" else _time(now, before)
    return found


def _why(data: ReportData, cell: Cell, verdict: Verdict) -> Sequence[str]:
    found = causes(data, cell, verdict.metric)
    if not found:
        found.append("nothing in this run explains it")
        if data.before(cell.id) is None:
            found.append("a page that has the run before too would compare the two")
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


# Notes and environment


def remarks(data: ReportData) -> Section | None:
    """Return errors and notes, each once with the cells that it is about."""
    bad, light = _linked(data.run, _faults), _linked(data.run, _notes)
    orphans = [
        (model, ", ".join(keys[:_MOST_LINKS]) + _more(keys))
        for model, keys in data.run.orphans.items()
    ]
    if not (bad or light or orphans):
        return None
    view = {"bad": bad, "light": light, "orphans": orphans}
    return Section("remarks", "Notes and errors", view)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _MOST_LINKS} more" if len(names) > _MOST_LINKS else ""


def _linked(
    run: Run, remarks_of: Callable[[Cell], Iterable[tuple[str, str]]]
) -> list[tuple[str, str, list[str], str]]:
    """Return each remark once, with the first of its cells."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in run.cells:
        for remark in remarks_of(cell):
            found.setdefault(remark, []).append(cell.id)
    return [(kind, text, ids[:_MOST_LINKS], _more(ids)) for (kind, text), ids in found.items()]


def _faults(cell: Cell) -> Iterator[tuple[str, str]]:
    if cell.unmeasured is not None:
        yield "unmeasured" if cell.error is not None else "invalid", cell.unmeasured
    for quantity, why in cell.lacking.items():
        yield "unmeasured", f"{quantity}: {why}"
    if cell.unconfirmed is not None:
        yield "unconfirmed", cell.unconfirmed
    for check in cell.limits:
        if check.absent:
            yield "limit", f"{check.limit}: {check.absent}"
    if cell.measurement is not None and cell.measurement.behind:
        yield "behind", cell.measurement.behind


def _notes(cell: Cell) -> Iterator[tuple[str, str]]:
    found = cell.measurement
    notes = () if found is None else (*found.notes, found.energy_note)
    for note in filter(None, (*notes, cell.model_change)):
        yield "note", note
    for metric, why in () if found is None else found.absent.items():
        yield "no value", f"{metric}: {why}"


def environment(data: ReportData) -> Section:
    """Return where the newest run was measured, and which runs the page is made of."""
    tables = [Table("Device, server and meter", ("what", "value"), list(_facts(data.run)))]
    if len(data.runs) > 1:
        rows = [
            (
                run.environment.time,
                _commit(run),
                run.outcome.value,
                count(len(run.cells), "cell"),
                run.against,
            )
            for run in reversed(data.runs)
        ]
        headers = ("time", "commit", "outcome", "cells", "against")
        tables.append(Table("Runs on this page, newest first", headers, rows))
    return Section("environment", "Environment", tables)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    about, power = run.environment, run.environment.power
    yield "measured", about.time
    yield "commit", _commit(run)
    if about.triton is not None:
        yield "Triton", f"{about.triton.version} ({about.triton.mode}, {about.triton.url})"
    if power.meter is None:
        yield "power meter", f"none: {power.absent}" if power.absent else "none"
    else:
        estimated = ": an estimate, no sensor" if power.estimated else ""
        yield "power meter", f"{power.description or power.meter}{estimated}"
        yield "rails", ", ".join(power.rails)
        yield "rails of the total", " + ".join(power.total_rails)
    for place, watts in enumerate(power.idle_w, 1):
        values = ", ".join(f"{rail} {value:.3g} W" for rail, value in watts.items())
        yield f"idle power, {place}", values
    if power.idle_drift:
        yield "idle drift", power.idle_drift
    if about.load_average:
        yield "load average", ", ".join(f"{one:.2f}" for one in about.load_average)
    for zone, degrees in about.temperatures_c.items():
        yield f"temperature of {zone}", f"{degrees:.1f} °C"
    yield "profile", run.profile.id
    yield from run.profile.fields.items()
    yield from run.profile.facts.items()
    yield "plugin, pytest, Python", f"{about.plugin}, {about.pytest}, {about.python}"


def _commit(run: Run) -> str:
    return commit_text(run.environment.commit, run.environment.dirty) or "unknown"
