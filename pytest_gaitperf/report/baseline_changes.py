"""What changed in the baselines, in sentences and as Markdown for a pull request."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.difference import CellChange, Difference, State
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.markdown import escape, fitting_table
from pytest_gaitperf.report.text import origin
from pytest_gaitperf.text import count, percent, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.baseline.difference import MetricChange

MARKDOWN_LIMIT = 60_000
"""The most characters of a Markdown text; GitHub takes 65 536 in a pull request's body."""

BEYOND = "* beyond what the spread between sessions explains"

_READ_FIRST = 30
_SESSIONS_SHOWN = 3
_NOTES_SHOWN = 10
_LONGEST_NAME = 200
_NOTE_BYTES = 80  # a line that says what is left out


def summary(found: Difference) -> str:
    """Return what changed in one line."""
    if not found.cells:
        return f"no cell of {found.compared} changed"
    counts = [(found.count(state), state.value) for state in State]
    parts = ", ".join(f"{number} {what}" for number, what in counts if number)
    return f"{len(found.cells)} of {count(found.compared, 'cell')} changed: {parts}"


def sessions_added(found: Difference) -> list[str]:
    """Return who recorded the sessions that were added, newest first, in a few lines."""
    lines = [
        _short(f"{session.time} by {origin(session)}") for session in found.added[:_SESSIONS_SHOWN]
    ]
    more = len(found.added) - len(lines)
    return [*lines, *([f"and {count(more, 'older one')}"] if more else [])]


def notes(found: Difference) -> list[str]:
    """Return what else changed: models that came and went, their files, what they ran on."""
    cells: dict[tuple[str, str], int] = {}
    for cell in found.cells:
        if cell.note:
            at = (cell.place.model, cell.note)
            cells[at] = cells.get(at, 0) + 1
    lines = [
        *(f"removed model: {place}" for place in found.removed_models),
        *(f"new model: {place}" for place in found.new_models),
        *(f"{model} ({count(number, 'cell')}): {note}" for (model, note), number in cells.items()),
    ]
    shown = [_short(line) for line in lines[:_NOTES_SHOWN]]
    more = len(lines) - len(shown)
    return [*shown, *([f"and {more} more"] if more else [])]


def metric_title(metric: str) -> str:
    """Return a metric's name with its unit."""
    return f"{METRICS[metric].title} {METRICS[metric].display_unit}"


def value(metric: str, number: float | None) -> str:
    """Return a value in the metric's display unit, - where there is none."""
    return "-" if number is None else scaled(metric, number)


def change(item: MetricChange) -> str:
    """Return a change in %, marked where it is beyond the spread."""
    return percent(item.change) + ("*" if item.beyond else "")


def session_counts(cell: CellChange) -> str:
    """Return how many sessions a cell had and has."""
    if cell.old_sessions == cell.new_sessions:
        return str(cell.new_sessions)
    return f"{cell.old_sessions} -> {cell.new_sessions}"


def markdown(found: Difference, old: str, new: str) -> str:
    """Return a pull request's text: what to read first, then everything, folded.

    ``old`` and ``new`` name the two sides. At most ``MARKDOWN_LIMIT`` characters; what does not
    fit is left out and counted. Every name is escaped.
    """
    profiles = sorted({cell.place.profile for cell in found.cells})
    several = len(profiles) > 1
    head = f"**{escape(summary(found))}**\n\n{escape(_short(old))} → {escape(_short(new))}\n"
    head += f"\nProfile {escape(_short(profiles[0]))}\n" if len(profiles) == 1 else ""
    if found.added:
        head += "\nSessions added:\n\n"
        head += "".join(f"- {escape(line)}\n" for line in sessions_added(found))
    if lines := notes(found):
        head += "\nAlso changed:\n\n" + "".join(f"- {escape(line)}\n" for line in lines)
    if not found.cells:
        return head
    tail = f"\n{escape(BEYOND)} ({escape('1%')} in all, by Holm's procedure).\n"
    left = MARKDOWN_LIMIT - len(head) - len(tail)

    first = ""
    rows: list[tuple[str, ...]] = [
        (
            _name(cell, several=several),
            metric_title(item.metric),
            value(item.metric, item.old),
            value(item.metric, item.new),
            change(item),
            session_counts(cell),
        )
        for cell in found.cells
        for item in cell.metrics
        if item.beyond
    ]
    if rows:
        header: tuple[str, ...] = ("cell", "metric", "old", "new", "change", "sessions")
        first = f"\n{_fitting(header, rows[:_READ_FIRST], left // 2)}"
        if len(rows) > _READ_FIRST:
            first += f"\n{count(len(rows) - _READ_FIRST, 'more such change')} below.\n"
    opening = "\n<details><summary>All changed cells: old → new (change)</summary>\n\n"
    closing = "\n</details>\n"
    left -= len(first) + len(opening) + len(closing)
    metrics = _metrics(found.cells)
    everything = []
    for cell in found.cells:
        items = {item.metric: _both(item) for item in cell.metrics}
        name, values = _name(cell, several=several), (items.get(one, "") for one in metrics)
        everything.append((name, cell.state.value, *values, session_counts(cell)))
    header = ("cell", "", *(metric_title(metric) for metric in metrics), "sessions")
    folded = _fitting(header, everything, left)
    return head + first + opening + folded + closing + tail


def _both(item: MetricChange) -> str:
    both = f"{value(item.metric, item.old)} → {value(item.metric, item.new)}"
    return both if item.change is None else f"{both} ({change(item)})"


def _metrics(cells: Iterable[CellChange]) -> list[str]:
    there = {item.metric for cell in cells for item in cell.metrics}
    return [metric for metric in METRICS if metric in there]


def _name(cell: CellChange, *, several: bool) -> str:
    name = f"{cell.place.model}/{cell.place.key}"
    return _short(f"{cell.place.profile}/{name}" if several else name)


def _fitting(header: Sequence[str], rows: Sequence[Sequence[str]], limit: int) -> str:
    """Lay out as many of the rows as fit into ``limit`` bytes, and say how many do not."""
    numbers = range(2, len(header))
    room, rest = limit - _NOTE_BYTES, "`gaitperf baseline diff`"
    return fitting_table(header, rows, room, numbers=numbers, rest=rest)


def _short(text: str) -> str:
    return textwrap.shorten(text, _LONGEST_NAME, placeholder=" ...")
