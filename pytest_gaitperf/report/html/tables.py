"""The page's tables of cells: maps of batch size x concurrency, and all cells."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.data import Section, load_text, metrics
from pytest_gaitperf.report.text import (
    WORDS,
    cell_word,
    loss,
    verdict_word,
    word_rank,
    worst,
)
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.text import count, percent, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run

SHOWN = ("throughput", "latency_p50", "latency_p99", "energy_per_inference", "subjects")
"""The metrics that tables show of every cell; the cell's own view has all."""

_MAPPED = ("throughput", "latency_p99", "energy_per_inference")
_MOST_OPEN = 4
_STEPS = 6
_EVEN = 0.01  # a change smaller than this is not worth a colour: no tolerance is so small
_CALM = ("pass", "improved", "missing, recorded", "incomparable, recorded")


class Chip(NamedTuple):
    """A coloured word: a class of ``page.css`` says how it looks."""

    text: str
    kind: str


def kind_of(word: str, outcome: Outcome) -> str:
    """Return the class of a word's chip: the outcome, or open where a green cell needs a look."""
    return "open" if outcome is Outcome.GREEN and word not in _CALM else outcome.value


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


# Maps of batch size x concurrency


class _Place(NamedTuple):
    """One place of a map: a cell with its value's step, from 0, or None where it has none."""

    cell: str
    text: str
    step: int | None
    change: Chip | None


def _group(cell: Cell) -> tuple[str, str]:
    """Name the set of maps of a cell: its cells differ in batch size and concurrency alone."""
    load = cell.workload
    named = (one for one in (load.protocol, load.transport) if one not in ("http", "inline"))
    return load.model, ", ".join(filter(None, (load.model, load.content, *named)))


def maps(data: ReportData) -> Section | None:
    """Return the maps of every model, those with a red cell opened; other loads as one table."""
    run = data.run
    closed = [cell for cell in run.cells if cell.workload.concurrency]
    others = [cell for cell in run.cells if not cell.workload.concurrency]
    if not run.cells:
        return None
    groups = [(key, list(cells)) for key, cells in groupby(sorted(closed, key=_group), key=_group)]
    # Those with a red cell first: they are opened, as far as a page stays quick.
    red = [key for key, cells in groups if any(one.outcome is Outcome.RED for one in cells)]
    opened = [*red, *(key for key, _ in groups if key not in red)][:_MOST_OPEN]
    columns = [one for one in ("subjects", *_MAPPED) if any(one in metrics(c) for c in others)]
    return Section(
        "maps",
        "Batch size and concurrency",
        {
            "steps": range(_STEPS),
            "reference": data.reference,
            "groups": [
                {
                    "title": f"{key[1]}, {count(len(cells), 'cell')}",
                    "open": key in opened,
                    "maps": [_map(data, key[1], cells, metric) for metric in _MAPPED],
                }
                for key, cells in groups
            ],
            "headers": [data.heading(metric) for metric in columns],
            "others": [
                (
                    cell.id,
                    load_text(cell.workload),
                    [_place(run, cell, metric, (0.0, 0.0)) for metric in columns],
                )
                for cell in others
            ],
        },
    )


def _map(data: ReportData, group: str, cells: Sequence[Cell], metric: str) -> dict[str, object]:
    values = [metrics(cell)[metric].value for cell in cells if metric in metrics(cell)]
    title = data.heading(metric)
    if not values:
        measured = [cell.measurement for cell in cells if cell.measurement is not None]
        why = next((one.absent[metric] for one in measured if metric in one.absent), "")
        return {"nothing": f"No {title.partition(',')[0]}{': ' if why else ''}{why}"}
    place = {(cell.workload.batch_size, cell.workload.concurrency): cell for cell in cells}
    columns = sorted({concurrency for _, concurrency in place})
    span = min(values), max(values)
    return {
        "title": title,
        "of": group,
        "columns": columns,
        "rows": [
            (
                batch,
                [_place(data.run, place.get((batch, column)), metric, span) for column in columns],
            )
            for batch in sorted({batch for batch, _ in place})
        ],
    }


def _place(run: Run, cell: Cell | None, metric: str, span: tuple[float, float]) -> _Place | None:
    if cell is None:
        return None
    estimate, verdict = metrics(cell).get(metric), cell.verdicts.get(metric)
    if cell.unmeasured is not None:
        return _Place(cell.id, f"(!) {cell_word(run, cell)}", None, None)
    if estimate is None:
        return _Place(cell.id, "unknown", None, None)
    calm = verdict is None or verdict_word(run, cell, verdict) in _CALM
    text = f"{scaled(metric, estimate.value)}{'' if calm else ' (!)'}"
    return _Place(cell.id, text, _step(estimate.value, span), change_chip(cell, metric))


def _step(value: float, span: tuple[float, float]) -> int:
    """Return where a value lies between the least and the greatest, on a log scale, from 0."""
    low, high = span
    if not 0 < low < high:
        return 0
    share = math.log(value / low) / math.log(high / low)
    return min(int(share * _STEPS), _STEPS - 1)


# All cells


class _Row(NamedTuple):
    """A cell's row: a sort key stands before a text that would not sort by itself."""

    cell: Cell
    chip: Chip
    rank: int
    values: Sequence[tuple[float, str, Chip | None] | None]
    worst: tuple[float, str] | None


def cells(data: ReportData) -> Section | None:
    """Return the table of all cells, in the order of the run; the reader filters and sorts it."""
    run = data.run
    if not run.cells:
        return None
    columns = [name for name in SHOWN if any(name in metrics(cell) for cell in run.cells)]
    rows = [_row(run, cell, columns) for cell in run.cells]
    there = {row.chip.text for row in rows}
    return Section(
        "cells",
        "All cells",
        {
            "reference": data.reference,
            "headers": ["cell", "verdict", *map(data.heading, columns), "worst change"],
            "models": dict.fromkeys(cell.workload.model for cell in run.cells),
            "words": [word for word in WORDS if word in there],
            "rows": rows,
        },
    )


def _row(run: Run, cell: Cell, columns: Sequence[str]) -> _Row:
    found = metrics(cell)
    word, moved = cell_word(run, cell), worst(cell)
    return _Row(
        cell,
        Chip(word, kind_of(word, cell.outcome)),
        word_rank(word),
        [
            (found[name].value, scaled(name, found[name].value), change_chip(cell, name))
            if name in found
            else None
            for name in columns
        ],
        (loss(moved), f"{title_of(cell, moved.metric)} {percent(moved.change)}")
        if moved is not None and moved.change
        else None,
    )
