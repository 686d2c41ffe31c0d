"""The page's sections of text and tables: what each macro of ``page.html`` shows."""

from __future__ import annotations

import math
import re
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.data import Section, Table, common_text, metrics
from pytest_gaitperf.report.html.verdict import CALM, Chip, meter_text
from pytest_gaitperf.report.table import COLUMNS, USUAL
from pytest_gaitperf.report.text import (
    WORDS,
    cell_word,
    commit_text,
    loss,
    tally,
    urgency,
    value,
    verdict_word,
)
from pytest_gaitperf.results import LimitState, Outcome
from pytest_gaitperf.text import count, percent, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run

_USUAL = dict.fromkeys(name for names in USUAL.values() for name in names)
SHOWN = tuple(COLUMNS[name].metric for name in _USUAL)
"""The metrics that tables show of every cell, as the terminal's do; the cell's own view has all."""

_BUSY = tuple(COLUMNS[name] for name in ("cpus", "gpu_busy", "memory", "temperature"))
_OF_OTHERS = (
    *("subjects", "best_rate", "throughput", "goodput", "answer_rate", "first_answer_p50"),
    *("latency_p99", "energy_per_inference"),
    *("sustained_throughput", "sustained_ratio", "sustained_latency_p99"),
)
_MAPPED = (
    *("throughput", "latency_p50", "latency_p99", "energy_per_inference"),
    "server_cpu_per_inference",
)
_EXPECTED = ("latency_p99", "energy_per_inference")
_REQUESTS, _RANGE = re.compile(r"\d+(?= requests, )"), "\0"
_MOST_OPEN = 4
_STEPS = 6
_EVEN = 0.01  # a change smaller than this is not worth a colour: no tolerance is so small


def change_chip(cell: Cell, metric: str) -> Chip | None:
    """Return the change from the baseline, coloured by whether it is for the worse."""
    verdict = cell.verdicts.get(metric)
    text = percent(verdict.change) if verdict is not None else ""
    if verdict is None or not text:
        return None
    even = abs(verdict.change or 0.0) < _EVEN
    return Chip(text, "even" if even else "bad" if loss(verdict) > 0 else "good")


# Maps of batch size x concurrency, and all cells


def _group(cell: Cell) -> tuple[str, str]:
    """Name the set of maps of a cell: its cells differ in batch size and concurrency alone."""
    load = cell.workload
    return load.model, ", ".join(filter(None, (load.model, common_text(load))))


def maps(data: ReportData) -> Section | None:
    """Return the maps of every model, those with a red cell opened; other loads as one table."""
    loaded = [cell for cell in data.run.cells if not cell.workload.alone]
    if not loaded:
        return None
    closed: list[Cell] = []
    others: list[Cell] = []
    for cell in loaded:
        load = cell.workload
        (closed if load.concurrency and not load.sustained_s else others).append(cell)
    groups = [(key, list(cells)) for key, cells in groupby(sorted(closed, key=_group), key=_group)]
    # Those with a red cell first: they are opened, as far as a page stays quick.
    red = [key for key, cells in groups if any(one.outcome is Outcome.RED for one in cells)]
    opened = [*red, *(key for key, _ in groups if key not in red)][:_MOST_OPEN]
    measured = [cell for cell in closed if cell.measurement is not None]
    lacking = {name: sum(name not in metrics(cell) for cell in measured) for name in _EXPECTED}
    view = {
        "steps": range(_STEPS),
        "lacking": [
            f"no {METRICS[name].title} in {count(number, 'cell')}"
            for name, number in lacking.items()
            if number
        ],
        "groups": [
            {
                "name": key[1],
                "count": count(len(cells), "cell"),
                "open": key in opened,
                **_grid(cells),
                "maps": list(_maps(cells)),
            }
            for key, cells in groups
        ],
        "others": others,
        "columns": _measured(others, _OF_OTHERS),
    }
    return Section("maps", "Batch size and concurrency", view)


def _grid(cells: Sequence[Cell]) -> dict[str, object]:
    places = {(cell.workload.batch_size, cell.workload.concurrency): cell for cell in cells}
    columns = sorted({concurrency for _, concurrency in places})
    batches = sorted({batch for batch, _ in places})
    rows = [(batch, [places.get((batch, column)) for column in columns]) for batch in batches]
    return {"columns": columns, "rows": rows}


def _maps(cells: Sequence[Cell]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield each map's metric, its worst value and its best; p50 stands in for p99."""
    for name in _MAPPED:
        values = [found for cell in cells if (found := value(cell, name)) is not None]
        tails = sum("latency_p99" in metrics(cell) for cell in cells)
        if values and not (name == "latency_p50" and tails == len(values)):
            ends = (max(values), min(values))
            yield name, ends if METRICS[name].worse_sign > 0 else ends[::-1]


def place(
    run: Run, cell: Cell, metric: str, span: tuple[float, float] = (0.0, 0.0)
) -> tuple[str, str, Chip | None]:
    """Return a cell's place in a map: text, class of its colour, change.

    The colour is a step from the worst to the best of ``span`` on a log scale, unless the verdict
    needs a look.
    """
    found, verdict = value(cell, metric), cell.verdicts.get(metric)
    if cell.unmeasured is not None:
        return f"(!) {cell_word(run, cell)}", "look", None
    if found is None:
        return "unknown", "", None
    text, change = scaled(metric, found), change_chip(cell, metric)
    if any(one.metric == metric and one.state is LimitState.VIOLATED for one in cell.limits):
        return f"{text} (!)", "worse", change
    if verdict is not None and (word := verdict_word(run, cell, verdict)) not in CALM:
        return f"{text} (!)", "worse" if word == "regressed" else "look", change
    worst, best = span
    known = worst != best and min(*span, found) > 0
    share = math.log(found / worst) / math.log(best / worst) if known else 0.0
    return text, f"h{min(int(share * _STEPS), _STEPS - 1)}", change


def cells(data: ReportData) -> Section | None:
    """Return the table of all cells, those to look at first; the reader filters and sorts it."""
    there = tally(data.run)
    view = {
        "rows": sorted(data.run.cells, key=lambda cell: urgency(data.run, cell)),
        "columns": _measured(data.run.cells, SHOWN),
        "busy": [
            column
            for column in _BUSY
            if any(column.value(found) is not None for _, found in data.measured)
        ],
        "words": [word for word in WORDS if word in there],
    }
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
    """Return each remark once, with its cells: numbers of requests become their range."""
    found: dict[tuple[str, str], tuple[list[int], list[str]]] = {}
    for cell in run.cells:
        for kind, text in remarks_of(cell):
            requests = _REQUESTS.search(text)
            numbers, ids = found.setdefault((kind, _REQUESTS.sub(_RANGE, text)), ([], []))
            numbers += [int(requests[0])] if requests else []
            ids.append(cell.id)
    return [
        (kind, text.replace(_RANGE, " to ".join(map(str, _ends(numbers)))), ids)
        for (kind, text), (numbers, ids) in found.items()
    ]


def _ends(numbers: Sequence[int]) -> list[int]:
    return sorted({min(numbers), max(numbers)}) if numbers else []


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
    if cell.measurement is not None and (behind := cell.measurement.kept_behind):
        yield "behind", behind


def _notes(cell: Cell) -> Iterator[tuple[str, str]]:
    found = cell.measurement
    notes = () if found is None else (*found.notes, found.energy_note)
    for note in filter(None, (*notes, cell.model_change)):
        yield "note", note
    absent: dict[str, list[str]] = {}
    for metric, reason in () if found is None else found.absent.items():
        absent.setdefault(reason, []).append(METRICS[metric].title if metric in METRICS else metric)
    for reason, names in absent.items():
        yield "no value", f"{', '.join(names)}: {reason}"


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
    if about.triton is not None:
        yield "Triton", f"{about.triton.version} ({about.triton.mode}, {about.triton.url})"
    yield "power meter", meter_text(run)
    if power.meter is not None:
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
