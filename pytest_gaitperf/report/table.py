"""The table of cells, grouped by model, in as many columns as fit, and what columns there are."""

from __future__ import annotations

import io
import math
import textwrap
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.metrics import GATED, METRICS
from pytest_gaitperf.report.mixes import neighbours_text
from pytest_gaitperf.report.relative import COSTS, ratios
from pytest_gaitperf.report.text import (
    MARKS,
    QUIET,
    WORDS,
    cell_word,
    reach_text,
    tally_text,
    urgency,
    value,
    verdict_word,
    worst,
)
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.text import count, did_you_mean, number, percent, scaled
from pytest_gaitperf.workload import shapes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Metric
    from pytest_gaitperf.results import Cell, Run

ALL = "all"
CHANGE = "change"
"""The largest change for the worse among what was judged of a cell, with its metric's name."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``title`` and ``unit`` are its header.

    ``metric`` is what it shows, and what the change beside the value is of; "" where ``value``
    reads something else from a measurement, in the unit that is shown (None where absent), or
    ``by_cell`` has it. ``narrow``: no room is kept for a change that there is none of.
    """

    name: str
    title: str
    unit: str
    metric: str = ""
    value: Callable[[Measurement], float | None] = lambda _measurement: None
    narrow: bool = False
    by_cell: Mapping[str, float] = field(default_factory=dict)


def _of(metric: Metric) -> Column:
    name = metric.column or metric.title
    title = metric.heading or name
    unit = metric.display_unit.removeprefix(title)
    return Column(name, title, unit, metric.name, narrow=metric.narrow)


def _precision(measurement: Measurement) -> float | None:
    """Return the relative half-width of the throughput's interval, in percent."""
    estimate = measurement.metrics.get("throughput")
    half = None if estimate is None else estimate.relative_half_width
    return None if half is None else half * 100


def _part(name: str) -> Column:
    """Return the column of one part of a request's time, or of several that begin so, in ms."""

    def value(measurement: Measurement) -> float | None:
        split = measurement.time_split_s
        found = [seconds * 1e3 for part, seconds in split.items() if part.startswith(name)]
        return math.fsum(found) if found else None

    return Column(name, name, "ms", value=value)


def _attribute(name: str, unit: str, of: str, scale: float = 1.0, title: str = "") -> Column:
    """Return a column of an attribute of the measurement, or of how busy the machine was."""

    def value(measurement: Measurement) -> float | None:
        found: float | None = getattr(measurement, of, getattr(measurement.utilisation, of, None))
        return None if found is None else found * scale

    return Column(name, title or name, unit, value=value)


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        *map(_of, METRICS.values()),
        Column("precision", "+-", "%", value=_precision),
        *map(_part, ("queue", "compute", "network")),
        _attribute("client", "ms", "client_cpu_per_request_us", 1e-3),
        _attribute("cpus", "busy", "busy_cpus"),
        _attribute("gpu_busy", "%", "busiest_gpu", 100),
        _attribute("memory", "GiB", "memory_bytes", 2**-30),
        _attribute("clock", "MHz", "slowest_hz", 1e-6),
        _attribute("temperature", "C", "hottest_c"),
        _attribute("send_error", "ms", "send_error_p99_s", 1e3, "sent late"),
        _attribute("requests", "", "requests"),
        _attribute("seconds", "s", "duration_s", title="time"),
        *(Column(name, words, "x") for name, (_, words) in COSTS.items()),
        Column(CHANGE, "change", ""),
    )
}
"""Every column by the name that ``--gaitperf-columns`` takes, in the order of ``all``."""

_BY_METRIC = {column.metric: column.name for column in COLUMNS.values() if column.metric}

USUAL: Mapping[str, tuple[str, ...]] = {
    "": ("throughput", "p50", "p99", "energy", "cpu"),
    "goodput": ("goodput", "throughput", "p99", "energy", "goodput_j", "cpu"),
    "beside": ("throughput", "slowdown", "p50", "p99", "cpu", "goodput"),
    "stream": ("answers", "first", "p50", "energy", "cpu", "goodput"),
    "search": ("subjects", "best", "energy", "p50", "p99"),
    "sustained": ("sustained", "ratio", "sustained_p99", "energy", "cpu"),
    "model": ("load", "first_inference", "error", "accuracy", "loaded", "peak", "gpu_peak"),
}
"""What is shown of each kind of cell, where it was measured, while nobody names columns."""


def resolve_columns(asked: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that ``--gaitperf-columns`` names, each once; ``all`` stands for each.

    A metric's full name stands for its column. Raises ConfigurationError for an unknown name.
    """
    names: dict[str, None] = {}
    for part in asked:
        name = _BY_METRIC.get(part, part)
        if name == ALL:
            names |= dict.fromkeys(COLUMNS)
        elif name in COLUMNS:
            names[name] = None
        else:
            near = did_you_mean(part, COLUMNS)
            there = f"the columns are {', '.join(COLUMNS)}, and {ALL}"
            raise ConfigurationError(f"--gaitperf-columns: {part!r} is no column{near} {there}")
    return tuple(names)


MOST_ROWS = 40
"""A table of more cells has those that somebody must look at, so many at most."""

_VALUE_WIDTH, _CHANGE_WIDTH, _CELL_WIDTH = 6, 7, 8
_VERDICT = "verdict"
_FIRST = (Outcome.RED, Outcome.UNMEASURED, Outcome.GREEN)


class _Entry(NamedTuple):
    """What a column shows of a cell: a value, a change beside it, and the change's colour."""

    value: str
    change: str = ""
    style: str = ""


class _Row(NamedTuple):
    """A cell in the table; ``word`` is its last column."""

    cell: Cell
    entries: list[_Entry]
    word: str


def table(
    run: Run,
    *,
    width: int,
    colour: bool,
    every: bool = True,
    columns: tuple[str, ...] = (),
) -> str:
    """Return the table of the cells, red ones first, at most ``width`` characters wide.

    A heading names the model and, where it has shapes or data of its own, what is sent to it.
    ``columns`` are the named ones; unless there are any, the usual ones. Each kind of cell has a
    table of its own. Unless ``every`` cell is asked for, many are shortened to those that somebody
    must look at. Under the table stands what was left out.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        # pytest has read NO_COLOR and FORCE_COLOR, and --color wins over both: rich must not again.
        no_color=not colour,
        highlight=False,
    )
    shown = {cell.id for cell in (run.cells if every else _most_urgent(run))}
    unseen: dict[str, None] = {}
    widest = 0
    for kind in USUAL:
        cells = [cell for cell in run.cells if _kind(cell) == kind]
        made = _columns(run, cells, columns, kind)
        rows = [_row(run, cell, made) for cell in cells if cell.id in shown]
        rows.sort(key=lambda row: _FIRST.index(row.cell.outcome))
        if rows:
            needed, left_out = _print(console, made, rows, width)
            widest = max(widest, needed)
            unseen |= dict.fromkeys(
                column.name for column in left_out if columns or column.metric in GATED
            )
    lines = []
    if hidden := [cell for cell in run.cells if cell.id not in shown]:
        many = count(len(hidden), "cell")
        lines.append(f"not in the table: {many} ({tally_text(run, hidden)}); -v shows all")
    if unseen:
        lines.append(
            f"no room for {', '.join(unseen)}: {widest} columns show all, or name fewer with "
            "--gaitperf-columns"
        )
    for line in lines:
        for part in textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False):
            console.print(Text(part), soft_wrap=True)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def plain_rows(
    run: Run, cells: Sequence[Cell], columns: tuple[str, ...] = ()
) -> tuple[list[str], list[list[str]]]:
    """Return the headings of a table of these cells, however wide, and its rows without colours.

    A row has the cell's name, its word, and the value with its change of each column.
    """
    kinds = {_kind(cell) for cell in cells}
    found = [one for kind in USUAL if kind in kinds for one in _columns(run, cells, columns, kind)]
    made = list({column.name: column for column in found}.values())
    headings = [f"{column.title} {column.unit}".strip() for column in made]
    rows = []
    for cell in cells:
        row = _row(run, cell, made)
        entries = [f"{entry.value} {entry.change}".strip() for entry in row.entries]
        rows.append([cell.key, row.word, *entries])
    return ["cell", "verdict", *headings], rows


def _kind(cell: Cell) -> str:
    """Return which of the tables a cell is in: a key of ``USUAL``."""
    workload = cell.workload
    if workload.alone or workload.search:
        return "model" if workload.alone else "search"
    if workload.sustained_s or workload.beside:
        return "sustained" if workload.sustained_s else "beside"
    return "stream" if workload.streaming else "goodput" if workload.deadline_s else ""


def _columns(run: Run, cells: Sequence[Cell], named: tuple[str, ...], kind: str) -> list[Column]:
    """Return the named columns; those that nobody named only where something was measured.

    Of searches, what was found comes first, whatever else is named.
    """
    answer = tuple({cell.workload.answer: None for cell in cells if cell.workload.search})
    found = [_BY_METRIC[metric] for metric in answer] if kind == "search" else []
    measured = [cell.measurement for cell in cells if cell.measurement is not None]
    known = {metric for one in measured for metric in one.metrics}
    usual = [name for name in USUAL[kind] if COLUMNS[name].metric in known]
    beside = {name: ratios(run, name) for name in COSTS}
    usual += [name for name, ids in beside.items() if any(cell.id in ids for cell in cells)]
    made = []
    for name in dict.fromkeys([*found, *(named or usual)]):
        column = COLUMNS[name]
        metric = column.metric or COSTS.get(name, ("",))[0]
        guess = metric and any(one.estimates(metric) for one in measured)
        unit = f"{column.unit} est." if guess else column.unit
        made.append(replace(column, unit=unit, by_cell=beside.get(name, {})))
    return made


def _most_urgent(run: Run) -> Sequence[Cell]:
    """Return all cells, or of many the worst of those that somebody must look at."""
    if len(run.cells) <= MOST_ROWS:
        return run.cells
    loud = [cell for cell in run.cells if cell_word(run, cell) not in QUIET]
    return sorted(loud, key=lambda cell: urgency(run, cell))[:MOST_ROWS]


def _row(run: Run, cell: Cell, columns: Sequence[Column]) -> _Row:
    word = cell_word(run, cell)
    if cell.measurement is None:
        return _Row(cell, [_Entry("")] * len(columns), word)
    return _Row(cell, [_entry(run, cell, cell.measurement, one) for one in columns], word)


def _entry(run: Run, cell: Cell, measurement: Measurement, column: Column) -> _Entry:
    if column.name == CHANGE:
        moved = worst(cell)
        if moved is None:
            return _Entry("-")
        change = f"{percent(moved.change)}{MARKS.get(moved.kind, '')}"
        return _Entry(METRICS[moved.metric].title, change, WORDS[verdict_word(run, cell, moved)])
    if not column.metric:
        found = column.by_cell.get(cell.id, column.value(measurement))
        return _Entry("-" if found is None else number(found))
    verdict, now = cell.verdicts.get(column.metric), value(cell, column.metric)
    if now is None or column.metric not in measurement.metrics:
        return _Entry("-")
    value_text = scaled(column.metric, now)
    if column.metric == "subjects" and math.isfinite(now):
        value_text = f"{math.floor(now)} ({value_text})"
    if verdict is None:
        return _Entry(value_text)
    change = f"{percent(verdict.change)}{MARKS.get(verdict.kind, '')}{reach_text(verdict)}"
    return _Entry(value_text, change, WORDS[verdict_word(run, cell, verdict)])


def _print(
    console: Console, columns: Sequence[Column], rows: Sequence[_Row], width: int
) -> tuple[int, Sequence[Column]]:
    """Print the rows, a header above them; return the width all columns need, and which had none.

    The cell's name gives way before the last column does, and nothing does before the verdict.
    """
    widths = [_widths(column, [row.entries[i] for row in rows]) for i, column in enumerate(columns)]
    word_width = max(cell_len(_VERDICT), *(cell_len(row.word) for row in rows))
    cell_width = max(cell_len(_load(row)) + 1 for row in rows)
    taken = [value + change + 2 for value, change in widths]
    room = width - word_width - cell_width - 1
    needed = cell_width + 1 + sum(taken) + word_width
    if needed > width and (narrow := list(map(_narrow, rows))) != rows:
        return _print(console, columns, narrow, width)
    fitting = max(sum(total <= room for total in accumulate(taken)), 1)
    over = sum(taken[:fitting]) - room
    if over > 0:
        cell_width = max(cell_width - over, _CELL_WIDTH)

    def grid(*, header: bool) -> Table:
        made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=header)
        made.add_column("", width=cell_width, no_wrap=True)
        for column, (left, right) in zip(columns[:fitting], widths[:fitting], strict=True):
            made.add_column(column.title, width=left, justify="right", no_wrap=True)
            made.add_column(column.unit, width=right, no_wrap=True)
        made.add_column(_VERDICT, width=word_width, no_wrap=True)
        return made

    console.print(grid(header=True))
    headings = list(dict.fromkeys(map(_heading, rows)))
    models = [model for model, _ in headings]
    headings.sort(key=lambda heading: models.index(heading[0]))
    ordered = sorted(rows, key=lambda row: headings.index(_heading(row)))
    for (model, content), group in groupby(ordered, key=_heading):
        heading = Text.assemble((sanitize(model), "bold"), f" {content}")
        console.print(heading, no_wrap=True, overflow="ellipsis", crop=True)
        body = grid(header=False)
        for row in group:
            cells = [
                text
                for entry in row.entries[:fitting]
                for text in (Text(entry.value), Text(entry.change, entry.style))
            ]
            name = Text(f" {_load(row)}", overflow="ellipsis")
            body.add_row(name, *cells, Text(row.word, WORDS[row.word]))
        console.print(body)
    return needed, columns[fitting:]


def _narrow(row: _Row) -> _Row:
    """Return a row without the width of intervals, which gives way before a column does."""
    entries = [entry._replace(change=entry.change.partition(" ")[0]) for entry in row.entries]
    return row._replace(entries=entries)


def _load(row: _Row) -> str:
    """Return the name of a row's load; its neighbours stand in the heading."""
    return replace(row.cell.workload, beside=()).load


def _heading(row: _Row) -> tuple[str, str]:
    """Return the model, its neighbours, and what is sent to it: a hash of shapes is explained."""
    workload = row.cell.workload
    beside = f"beside {neighbours_text(workload)}" if workload.beside else ""
    content = " ".join(filter(None, (beside, workload.content)))
    if "shapes=h" in content:
        content += f": {shapes_text(dict(workload.shapes))}"
    return workload.model, sanitize(content)


def _widths(column: Column, entries: Iterable[_Entry]) -> tuple[int, int]:
    least = _CHANGE_WIDTH if column.metric in GATED and not column.narrow else 0
    shown = [_Entry(column.title, column.unit), *entries]
    return (
        max(_VALUE_WIDTH, *(cell_len(one.value) for one in shown)),
        max(least, *(cell_len(one.change) for one in shown)),
    )
