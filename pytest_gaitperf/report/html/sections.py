"""The page's sections of text and tables: what each macro of ``page.html`` shows."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS, quantity_of
from pytest_gaitperf.report.html.data import ENERGY, Section, Table, metrics
from pytest_gaitperf.report.html.figures import PARTS
from pytest_gaitperf.report.table import COLUMNS, USUAL, USUAL_OF_SEARCHES
from pytest_gaitperf.report.text import (
    WORDS,
    cell_word,
    commit_text,
    loss,
    sensitivity_text,
    tally,
    verdict_word,
)
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import count, percent, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run, Verdict

SHOWN = tuple(COLUMNS[name].metric for name in dict.fromkeys((*USUAL, *USUAL_OF_SEARCHES)))
"""The metrics that tables show of every cell, as the terminal's do; the cell's own view has all."""

_MAPPED = ("throughput", "latency_p99", "energy_per_inference")
_MOST_OPEN = 4
_STEPS = 6
_EVEN = 0.01  # a change smaller than this is not worth a colour: no tolerance is so small
_CALM = ("pass", "improved", "missing, recorded", "incomparable, recorded")
# What grew by less than this share of the whole growth explains little of it.
_SHARE = 0.25


class Chip(NamedTuple):
    """A coloured word: a class of ``page.css`` says how it looks."""

    text: str
    kind: str


def word_chip(word: str, outcome: Outcome, text: str = "") -> Chip:
    """Return a cell's word: its kind is the outcome, or open where a green cell needs a look."""
    is_open = outcome is Outcome.GREEN and word not in _CALM
    return Chip(text or word, "open" if is_open else outcome.value)


def title_of(cell: Cell, metric: str) -> str:
    """Return a metric's name; of an estimate, it says so."""
    measurement = cell.measurement
    return METRICS[metric].title if measurement is None else measurement.title(metric)


def change_chip(cell: Cell, metric: str) -> Chip | None:
    """Return the change from the baseline, coloured by whether it is for the worse."""
    verdict = cell.verdicts.get(metric)
    text = percent(verdict.change) if verdict is not None else ""
    if verdict is None or not text:
        return None
    even = abs(verdict.change or 0.0) < _EVEN
    return Chip(text, "even" if even else "bad" if loss(verdict) > 0 else "good")


# The verdict


def verdict(data: ReportData) -> Section:
    """Return the outcome of the run, what regressed and what else keeps it from being green."""
    run = data.run
    of_cells = {f"{cell.id}: {reason}" for cell in run.cells for reason in cell.reasons}
    unmeasured = run.outcome is Outcome.UNMEASURED
    outcomes = {cell_word(run, cell): cell.outcome for cell in run.cells}
    regressions = [
        (cell, verdict)
        for cell in run.cells
        for verdict in cell.verdicts.values()
        if verdict.kind is VerdictKind.REGRESSED
    ]
    view = {
        "tally": [
            word_chip(word, outcomes[word], f"{number} {word}")
            for word, number in tally(run).items()
        ],
        "notes": list(_banner_notes(run)),
        "reasons": [reason for reason in run.reasons if unmeasured or reason not in of_cells],
        # By how many times worse, so that a rate and its inverse count alike.
        "regressions": sorted(regressions, key=lambda one: -loss(one[1])),
        "violated": [
            (cell, one)
            for cell in run.cells
            for one in cell.limits
            if one.state is LimitState.VIOLATED
        ],
    }
    return Section("verdict", "Verdict", view)


def _banner_notes(run: Run) -> Iterator[str]:
    if heard := sensitivity_text(run):
        yield f"It {heard}."
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


def why(data: ReportData, cell: Cell, verdict: Verdict) -> Sequence[str]:
    """Return the likely causes of a regression, or that there are none."""
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


# Maps of batch size x concurrency, and all cells


def _group(cell: Cell) -> tuple[str, str]:
    """Name the set of maps of a cell: its cells differ in batch size and concurrency alone."""
    load = cell.workload
    named = (one for one in (load.protocol, load.transport) if one not in ("http", "inline"))
    return load.model, ", ".join(filter(None, (load.model, load.content, *named)))


def maps(data: ReportData) -> Section | None:
    """Return the maps of every model, those with a red cell opened; other loads as one table."""
    if not data.run.cells:
        return None
    closed = [cell for cell in data.run.cells if cell.workload.concurrency]
    others = [cell for cell in data.run.cells if not cell.workload.concurrency]
    groups = [(key, list(cells)) for key, cells in groupby(sorted(closed, key=_group), key=_group)]
    # Those with a red cell first: they are opened, as far as a page stays quick.
    red = [key for key, cells in groups if any(one.outcome is Outcome.RED for one in cells)]
    opened = [*red, *(key for key, _ in groups if key not in red)][:_MOST_OPEN]
    view = {
        "steps": range(_STEPS),
        "groups": [
            {
                "name": key[1],
                "count": count(len(cells), "cell"),
                "open": key in opened,
                **_grid(cells),
                "maps": [_map(data, cells, metric) for metric in _MAPPED],
            }
            for key, cells in groups
        ],
        "others": others,
        "columns": _measured(others, ("subjects", *_MAPPED)),
    }
    return Section("maps", "Batch size and concurrency", view)


def _grid(cells: Sequence[Cell]) -> dict[str, object]:
    places = {(cell.workload.batch_size, cell.workload.concurrency): cell for cell in cells}
    columns = sorted({concurrency for _, concurrency in places})
    batches = sorted({batch for batch, _ in places})
    rows = [(batch, [places.get((batch, column)) for column in columns]) for batch in batches]
    return {"columns": columns, "rows": rows}


def _map(data: ReportData, cells: Sequence[Cell], metric: str) -> dict[str, object]:
    """Return the values that a map reaches from and to, or why there is none."""
    values = [metrics(cell)[metric].value for cell in cells if metric in metrics(cell)]
    if values:
        return {"metric": metric, "span": (min(values), max(values))}
    measured = [cell.measurement for cell in cells if cell.measurement is not None]
    reasons = [f": {one.absent[metric]}" for one in measured if metric in one.absent]
    title = data.heading(metric).partition(",")[0]
    return {"nothing": f"No {title}{''.join(reasons[:1])}"}


def place(
    run: Run, cell: Cell, metric: str, span: tuple[float, float] = (0.0, 0.0)
) -> tuple[str, int | None, Chip | None]:
    """Return a cell's place in a map: text, step from 0 on a log scale over ``span``, change."""
    estimate, verdict = metrics(cell).get(metric), cell.verdicts.get(metric)
    if cell.unmeasured is not None:
        return f"(!) {cell_word(run, cell)}", None, None
    if estimate is None:
        return "unknown", None, None
    calm = verdict is None or verdict_word(run, cell, verdict) in _CALM
    text = f"{scaled(metric, estimate.value)}{'' if calm else ' (!)'}"
    low, high = span
    share = math.log(estimate.value / low) / math.log(high / low) if 0 < low < high else 0.0
    return text, min(int(share * _STEPS), _STEPS - 1), change_chip(cell, metric)


def cells(data: ReportData) -> Section | None:
    """Return the table of all cells, in the order of the run; the reader filters and sorts it."""
    there = tally(data.run)
    view = {"columns": _measured(data.run.cells, SHOWN), "words": [w for w in WORDS if w in there]}
    return Section("cells", "All cells", view) if data.run.cells else None


def _measured(cells: Iterable[Cell], names: Iterable[str]) -> list[str]:
    there = {name for cell in cells for name in metrics(cell)}
    return [name for name in names if name in there]


# Notes and environment


def remarks(data: ReportData) -> Section | None:
    """Return errors and notes, each once with the cells that it is about."""
    view = {"bad": _linked(data.run, _faults), "light": _linked(data.run, _notes)}
    known = view["bad"] or view["light"] or data.run.orphans
    return Section("remarks", "Notes and errors", view) if known else None


def _linked(
    run: Run, remarks_of: Callable[[Cell], Iterable[tuple[str, str]]]
) -> list[tuple[str, str, list[str]]]:
    """Return each remark once, with its cells."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in run.cells:
        for remark in remarks_of(cell):
            found.setdefault(remark, []).append(cell.id)
    return [(kind, text, ids) for (kind, text), ids in found.items()]


def _faults(cell: Cell) -> Iterator[tuple[str, str]]:
    if cell.unmeasured is not None:
        yield "unmeasured" if cell.error is not None else "invalid", cell.unmeasured
    for quantity, reason in cell.lacking.items():
        yield "unmeasured", f"{quantity}: {reason}"
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
    for metric, reason in () if found is None else found.absent.items():
        yield "no value", f"{metric}: {reason}"


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
    for number, watts in enumerate(power.idle_w, 1):
        values = ", ".join(f"{rail} {value:.3g} W" for rail, value in watts.items())
        yield f"idle power, {number}", values
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
