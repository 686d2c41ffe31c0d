"""The table of cells, grouped by model, in as many columns as fit."""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.metrics import GATED, METRICS
from pytest_gaitperf.report.columns import (
    CHANGE,
    COLUMNS,
    USUAL,
    USUAL_OF_SEARCHES,
    Column,
    loss,
    worst,
)
from pytest_gaitperf.report.looks import RANKS, look, look_of_cell
from pytest_gaitperf.report.text import count, number, percent, scaled
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.engine.session import CellResult, Session

MOST_ROWS = 40
"""A table of more cells has those that somebody must look at, so many at most."""

_VALUE_WIDTH, _CHANGE_WIDTH, _CELL_WIDTH = 6, 7, 8
_VERDICT = "verdict"


class _Entry(NamedTuple):
    """What a column shows of a cell: a value, a change beside it, and the change's colour."""

    value: str
    change: str = ""
    style: str = ""


class _Row(NamedTuple):
    """A cell in the table; ``word`` is its verdict, ``style`` that one's colour."""

    result: CellResult
    entries: list[_Entry]
    word: str
    style: str


def table(session: Session, *, width: int, colour: bool, every: bool = True) -> str:
    """Return the table of the cells, grouped by model, at most ``width`` characters wide.

    Searches have a table of their own: their load is their answer. Unless ``every`` cell is asked
    for, many cells are shortened to those that somebody must look at. Under the table stands what
    was left out.
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
    results = list(session.results.values())
    shown = {id(result) for result in (results if every else _most_urgent(session, results))}
    unseen: dict[str, None] = {}
    widest = 0
    for names, searches in ((_names(session, USUAL), False), (_searched(session), True)):
        cells = [result for result in results if result.workload.most_subjects is searches]
        columns = _columns(session, cells, names)
        rows = [_row(session, result, columns) for result in cells if id(result) in shown]
        if rows:
            needed, left_out = _print(console, columns, rows, width)
            widest = max(widest, needed)
            named = session.settings.columns
            unseen |= dict.fromkeys(
                column.name for column in left_out if named or column.metric in GATED
            )
    lines = [] if every else _hidden(session, [one for one in results if id(one) not in shown])
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


def plain_rows(session: Session, cells: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """Return the headings of a table of these cells, however wide, and its rows without colours.

    A row has the cell's name, the value and the change of each column, and the verdict.
    """
    searches = any(cell.workload.most_subjects for cell in cells)
    more = _searched(session) if searches else ()
    columns = _columns(session, cells, dict.fromkeys((*_names(session, USUAL), *more)))
    headings = [f"{column.title} {column.unit}".strip() for column in columns]
    rows = []
    for result in cells:
        row = _row(session, result, columns)
        said = [text for entry in row.entries for text in (entry.value, entry.change)]
        rows.append([result.workload.key, *said, row.word])
    return headings, rows


def _names(session: Session, usual: tuple[str, ...]) -> tuple[str, ...]:
    return session.settings.columns or usual


def _searched(session: Session) -> tuple[str, ...]:
    """Return the columns of searches: what was found comes first, whatever else is named."""
    return tuple(dict.fromkeys(("subjects", *_names(session, USUAL_OF_SEARCHES))))


def _columns(session: Session, cells: Sequence[CellResult], names: Iterable[str]) -> list[Column]:
    """Return the named columns; those that nobody named only where something was measured."""
    measured = [cell.measurement for cell in cells if cell.measurement is not None]
    return [
        _marked(COLUMNS[name], estimated=any(one.estimated for one in measured))
        for name in names
        if session.settings.columns or any(COLUMNS[name].metric in one.metrics for one in measured)
    ]


def _marked(column: Column, *, estimated: bool) -> Column:
    """Say in the header that energy and power are estimates, where they are."""
    if not estimated or not column.metric or METRICS[column.metric].unit not in ("J", "W"):
        return column
    return Column(column.name, column.title, f"{column.unit} est.", column.metric)


def _most_urgent(session: Session, results: Sequence[CellResult]) -> Sequence[CellResult]:
    """Return all cells, or of many the worst of those that somebody must look at."""
    if len(results) <= MOST_ROWS:
        return results
    ranked = [
        (RANKS[shown.word], -max(map(loss, result.verdicts.values()), default=0.0), index)
        for index, result in enumerate(results)
        if not (shown := look_of_cell(session, result)).quiet
    ]
    return [results[index] for *_, index in sorted(ranked)[:MOST_ROWS]]


def _hidden(session: Session, results: Sequence[CellResult]) -> list[str]:
    """Say how many cells are not in the table, and what became of them."""
    if not results:
        return []
    words = Counter(look_of_cell(session, result).word or "not judged" for result in results)
    said = ", ".join(f"{words[word]} {word}" for word in words)
    return [f"not in the table: {count(len(results), 'cell')} ({said}); -v shows all"]


def _row(session: Session, result: CellResult, columns: Iterable[Column]) -> _Row:
    shown = look_of_cell(session, result)
    if result.measurement is None:
        return _Row(result, [_Entry("")] * len(list(columns)), shown.word, shown.style)
    provisional = any(verdict.provisional for verdict in result.verdicts.values())
    # Neither a broken limit nor a cell that had no baseline was judged by few sessions.
    judged = shown.word not in ("LIMIT", "recorded")
    star = "*" if provisional and judged else ""
    entries = [_entry(result, column) for column in columns]
    return _Row(result, entries, f"{shown.word}{star}" if shown.word else "", shown.style)


def _entry(result: CellResult, column: Column) -> _Entry:
    measurement = result.measurement
    assert measurement is not None
    if column.name == CHANGE:
        moved = worst(result.verdicts)
        if moved is None:
            return _Entry("-")
        seen = look(result, moved.state)
        title = METRICS[moved.metric].title
        return _Entry(title, f"{percent(moved.change)}{seen.mark}", seen.style)
    if not column.metric:
        value = column.value(measurement)
        return _Entry("-" if value is None else number(value))
    verdict, estimate = (
        result.verdicts.get(column.metric),
        measurement.metrics.get(column.metric),
    )
    if estimate is None:
        return _Entry("-")
    now = verdict.now if verdict is not None and verdict.now is not None else estimate.value
    value_text = scaled(column.metric, now)
    if column.metric == "subjects":
        value_text = f"{math.floor(now)} ({value_text})"
    if verdict is None:
        return _Entry(value_text)
    seen = look(result, verdict.state)
    mark = seen.mark if verdict.state is not VerdictKind.MISSING else ""
    return _Entry(value_text, f"{percent(verdict.change)}{mark}", seen.style)


def _print(
    console: Console, columns: Sequence[Column], rows: Sequence[_Row], width: int
) -> tuple[int, Sequence[Column]]:
    """Print the rows, a header above them; return the width all columns need, and which had none.

    The cell's name gives way before the last column does, and nothing does before the verdict.
    """
    widths = [_widths(column, [row.entries[i] for row in rows]) for i, column in enumerate(columns)]
    word_width = max(cell_len(_VERDICT), *(cell_len(row.word) for row in rows))
    cell_width = max(cell_len(row.result.workload.key) + 1 for row in rows)
    taken = [value + change + 2 for value, change in widths]
    room = width - word_width - cell_width - 1
    fitting = 1
    while fitting < len(columns) and sum(taken[: fitting + 1]) <= room:
        fitting += 1
    needed = cell_width + 1 + sum(taken) + word_width
    over = sum(taken[:fitting]) - room
    if over > 0:
        cell_width = max(cell_width - over, _CELL_WIDTH)

    def grid(*, header: bool) -> Table:
        made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=header)
        made.add_column("", width=cell_width, no_wrap=True)
        for column, (value, change) in zip(columns[:fitting], widths[:fitting], strict=True):
            made.add_column(column.title, width=value, justify="right", no_wrap=True)
            made.add_column(column.unit, width=change, no_wrap=True)
        made.add_column(_VERDICT, width=word_width, no_wrap=True)
        return made

    console.print(grid(header=True))
    models = list(dict.fromkeys(row.result.workload.model for row in rows))
    ordered = sorted(rows, key=lambda row: models.index(row.result.workload.model))
    for model, group in groupby(ordered, key=lambda row: row.result.workload.model):
        console.print(Text(sanitize(model), "bold"), no_wrap=True, overflow="ellipsis", crop=True)
        body = grid(header=False)
        for row in group:
            cells = [
                text
                for entry in row.entries[:fitting]
                for text in (Text(entry.value), Text(entry.change, entry.style))
            ]
            name = Text(f" {row.result.workload.key}", overflow="ellipsis")
            body.add_row(name, *cells, Text(row.word, row.style))
        console.print(body)
    return needed, columns[fitting:]


def _widths(column: Column, entries: Iterable[_Entry]) -> tuple[int, int]:
    """Return the widths of a column's values and of what stands beside them."""
    value, change = cell_len(column.title), cell_len(column.unit)
    judged = column.metric in GATED
    value, change = max(value, _VALUE_WIDTH), max(change, _CHANGE_WIDTH if judged else 0)
    for entry in entries:
        value, change = max(value, cell_len(entry.value)), max(change, cell_len(entry.change))
    return value, change
