"""``gaitperf baseline diff``: what changed, against a git revision or between directories."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf import git
from pytest_gaitperf.baseline.difference import State, difference
from pytest_gaitperf.baseline.directory import Place, cells_by_place, files_in, no_baselines
from pytest_gaitperf.baseline.schema import decode
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import Columns, directory_of, matches, parted, say, say_json
from pytest_gaitperf.errors import BaselineError, ConfigurationError, sanitize
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.markdown import escape, fitting_table
from pytest_gaitperf.report.text import origin
from pytest_gaitperf.text import count, percent, scaled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.difference import CellChange, Difference, MetricChange
    from pytest_gaitperf.baseline.schema import BaselineFile

MARKDOWN_LIMIT = 60_000
"""The most characters of a Markdown text; GitHub takes 65 536 in a pull request's body."""

BEYOND = "* beyond what the spread between sessions explains"

_BEYOND_HEADER = ("cell", "metric", "old", "new", "change", "sessions")
_READ_FIRST = 30
_SESSIONS_SHOWN = 3
_NOTES_SHOWN = 10
_LONGEST_NAME = 200
_NOTE_BYTES = 80  # a line that says what is left out
_OF_CHANGE = ("old", "new", "change", "beyond", "worse")


class _Side(NamedTuple):
    """One of the two states: how to call it, and its files."""

    name: str
    files: Mapping[Place, BaselineFile]


def diff_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline diff``."""
    with clock("comparing baselines"):
        old, new = _sides(arguments)
        found = difference(cells_by_place(old.files), cells_by_place(new.files))
    if arguments.json is not None:
        say_json(_document(found, old.name, new.name), arguments.json)
    elif arguments.markdown:
        sys.stdout.write(sanitize(markdown(found, old.name, new.name)))
    else:
        _say(found, old.name, new.name)
    if arguments.exit_code and found.cells:
        sys.stdout.flush()
        sys.exit(1)


def _sides(arguments: argparse.Namespace) -> tuple[_Side, _Side]:
    """Read the two sides. Raises ConfigurationError where nothing is chosen on either."""
    seen: set[Place] = set()

    def wanted(place: Place) -> bool:
        seen.add(place)
        return arguments.profile in (None, place.profile) and matches(place.model, arguments.models)

    if arguments.between:
        if arguments.revisions:
            raise ConfigurationError("--between compares two directories: leave out the revisions")
        if missing := [directory for directory in arguments.between if not directory.is_dir()]:
            raise ConfigurationError(f"--between: {missing[0]} is not a directory")
        sides = [_Side(str(path), files_in(path, wanted)) for path in arguments.between]
        where = " and ".join(str(path) for path in arguments.between)
    else:
        directory = directory_of(arguments)
        revisions = arguments.revisions or ["HEAD"]
        if len(revisions) > 2:
            raise ConfigurationError("give one revision, or an old and a new one")
        sides = [_at(revision, directory, wanted) for revision in revisions]
        if len(sides) == 1:
            sides.append(_Side("work tree", files_in(directory, wanted)))
        where = f"{directory} in {sides[0].name} and {sides[1].name}"
    if not seen:
        raise no_baselines(where)
    if not any(side.files for side in sides):
        raise ConfigurationError(
            f"{where}: no baseline is chosen by --profile and --models; there are: "
            + ", ".join(sorted(map(str, seen)))
        )
    return sides[0], sides[1]


def _at(revision: str, directory: Path, wanted: Callable[[Place], bool]) -> _Side:
    """Read the baselines that ``directory`` had in a revision, by git itself; none without it."""
    prefix = git.below_top(directory)
    commit = git.commit_of(revision, directory)
    blobs: dict[Place, str] = {}
    for name, entry in git.files_at(commit, directory, prefix).items():
        profile, _, file = name[len(prefix) :].partition("/")
        place = Place(profile, file.removesuffix(".json"))
        if (
            entry.is_file
            and file.endswith(".json")
            and "/" not in file
            and not any(part.startswith(".") for part in place)
            and wanted(place)
        ):
            blobs[place] = entry.blob
    files = {}
    for place, blob in blobs.items():
        # In a partial clone git fetches what it lacks, or says why it cannot.
        data = git.answer(directory, "cat-file", "blob", blob)
        path = Path(f"{revision}:{prefix}{place}.json")
        try:
            files[place] = decode(data, path, place.model, place.profile)
        except BaselineError as error:
            raise BaselineError(
                f"{error} (that is the file of the revision: compare with another one, or choose "
                "other models with --models)"
            ) from None
    return _Side(f"{revision} ({commit[:12]})", files)


# In words


def _say(found: Difference, old: str, new: str) -> None:
    say(f"{old} -> {new}")
    say(_summary(found))
    for number, line in enumerate(_sessions_added(found)):
        say(line, indent=" " * 7, first=None if number else "added: ")
    for line in _notes(found):
        say(line, indent=" " * 6, first="note: ")
    for profile in sorted({cell.place.profile for cell in found.cells}):
        cells = [cell for cell in found.cells if cell.place.profile == profile]
        say(f"\n{profile}")
        table = Columns(_BEYOND_HEADER, left=("metric",))
        for cell in cells:
            for number, (item, row) in enumerate(_beyond(cell)):
                name = "" if number else f"{cell.place.model}/{cell.place.key}"
                table.add(name, *row, style="red" if item.worse else "green")
        table.show()
        for title, states in (
            ("all changes", (State.WORSE, State.BETTER, State.WITHIN)),
            ("new, with their values", (State.NEW,)),
            ("removed, with their values", (State.REMOVED,)),
        ):
            there = [cell for cell in cells if cell.state in states]
            for model in dict.fromkeys(cell.place.model for cell in there):
                say(f"\n{model}: {title}")
                _say_cells([cell for cell in there if cell.place.model == model])
    if any(item.beyond for cell in found.cells for item in cell.metrics):
        say(BEYOND)


def _say_cells(cells: Sequence[CellChange]) -> None:
    """Print a model's cells: changes, or the values of those that one side does not have."""
    for metrics in parted(_metrics(cells)):
        _say_part([c for c in cells if any(item.metric in metrics for item in c.metrics)], metrics)


def _say_part(cells: Sequence[CellChange], metrics: Sequence[str]) -> None:
    changes = all(item.change is not None for cell in cells for item in cell.metrics)
    units = {metric: "" if changes else f"\n{METRICS[metric].display_unit}" for metric in metrics}
    titles = [f"{METRICS[metric].title}{unit}" for metric, unit in units.items()]
    table = Columns(["", *titles, "sessions"])
    for cell in cells:
        items = {item.metric: _change(item) for item in cell.metrics}
        values = [items.get(metric, "") for metric in metrics]
        table.add(f" {cell.place.key}", *values, _session_counts(cell))
    table.show()


def _summary(found: Difference) -> str:
    """Return what changed in one line."""
    if not found.cells:
        return f"no cell of {found.compared} changed"
    counts = [(found.count(state), state.value) for state in State]
    parts = ", ".join(f"{number} {what}" for number, what in counts if number)
    return f"{len(found.cells)} of {count(found.compared, 'cell')} changed: {parts}"


def _sessions_added(found: Difference) -> list[str]:
    """Return who recorded the sessions that were added, newest first, in a few lines."""
    said = [f"{session.time} by {origin(session)}" for session in found.added]
    return _first(said, _SESSIONS_SHOWN, "older one")


def _notes(found: Difference) -> list[str]:
    """Return what else changed: models that came and went, their files, what they ran on."""
    cells = Counter((cell.place.model, cell.note) for cell in found.cells if cell.note)
    lines = [
        *(f"removed model: {place}" for place in found.removed_models),
        *(f"new model: {place}" for place in found.new_models),
        *(f"{model} ({count(number, 'cell')}): {note}" for (model, note), number in cells.items()),
    ]
    return _first(lines, _NOTES_SHOWN, "more note")


def _first(lines: Sequence[str], most: int, rest: str) -> list[str]:
    """Return the first lines, none of them long, and one that counts the rest."""
    more = [f"and {count(len(lines) - most, rest)}"] if len(lines) > most else []
    return [*map(_short, lines[:most]), *more]


def _beyond(cell: CellChange) -> Iterator[tuple[MetricChange, tuple[str, ...]]]:
    """Yield the changes beyond the spread, and each as a row without the cell's name."""
    for item in cell.metrics:
        if item.beyond:
            values = (_value(item.metric, item.old), _value(item.metric, item.new), _change(item))
            yield item, (_title(item.metric), *values, _session_counts(cell))


def _title(metric: str) -> str:
    return f"{METRICS[metric].title} {METRICS[metric].display_unit}"


def _value(metric: str, number: float | None) -> str:
    return "-" if number is None else scaled(metric, number)


def _change(item: MetricChange) -> str:
    """Return a change in %, marked where it is beyond the spread; of one side only, its value."""
    if item.change is None:
        return _value(item.metric, item.new if item.old is None else item.old)
    return percent(item.change) + ("*" if item.beyond else "")


def _session_counts(cell: CellChange) -> str:
    if cell.old_sessions == cell.new_sessions:
        return str(cell.new_sessions)
    return f"{cell.old_sessions} -> {cell.new_sessions}"


# As Markdown


def markdown(found: Difference, old: str, new: str) -> str:
    """Return a pull request's text: what to read first, then everything, folded.

    ``old`` and ``new`` name the two sides. At most ``MARKDOWN_LIMIT`` characters; what does not
    fit is left out and counted. Every name is escaped.
    """
    profiles = sorted({cell.place.profile for cell in found.cells})
    names = [_short("/".join(cell.place[len(profiles) < 2 :])) for cell in found.cells]
    head = f"**{escape(_summary(found))}**\n\n{escape(_short(old))} → {escape(_short(new))}\n"
    head += f"\nProfile {escape(_short(profiles[0]))}\n" if len(profiles) == 1 else ""
    if found.added:
        head += "\nSessions added:\n\n"
        head += "".join(f"- {escape(line)}\n" for line in _sessions_added(found))
    if lines := _notes(found):
        head += "\nAlso changed:\n\n" + "".join(f"- {escape(line)}\n" for line in lines)
    if not found.cells:
        return head
    tail = f"\n{escape(BEYOND)} ({escape('1%')} in all, by Holm's procedure).\n"
    left = MARKDOWN_LIMIT - len(head) - len(tail)

    first = ""
    named = list(zip(names, found.cells, strict=True))
    rows = [(name, *row) for name, cell in named for _, row in _beyond(cell)]
    if rows:
        first = f"\n{_fitting(_BEYOND_HEADER, rows[:_READ_FIRST], left // 2)}"
        if len(rows) > _READ_FIRST:
            first += f"\n{count(len(rows) - _READ_FIRST, 'more such change')} below.\n"
    opening = "\n<details><summary>All changed cells: old → new (change)</summary>\n\n"
    closing = "\n</details>\n"
    left -= len(first) + len(opening) + len(closing)
    metrics = _metrics(found.cells)
    everything = []
    for name, cell in named:
        items = {item.metric: _both(item) for item in cell.metrics}
        values = (items.get(one, "") for one in metrics)
        everything.append((name, cell.state.value, *values, _session_counts(cell)))
    folded = _fitting(("cell", "", *map(_title, metrics), "sessions"), everything, left)
    return head + first + opening + folded + closing + tail


def _both(item: MetricChange) -> str:
    both = f"{_value(item.metric, item.old)} → {_value(item.metric, item.new)}"
    return both if item.change is None else f"{both} ({_change(item)})"


def _metrics(cells: Iterable[CellChange]) -> list[str]:
    there = {item.metric for cell in cells for item in cell.metrics}
    return [metric for metric in METRICS if metric in there]


def _fitting(header: Sequence[str], rows: Sequence[Sequence[str]], limit: int) -> str:
    """Lay out as many of the rows as fit into ``limit`` bytes, and say how many do not."""
    numbers = range(2, len(header))
    room, rest = limit - _NOTE_BYTES, "`gaitperf baseline diff`"
    return fitting_table(header, rows, room, numbers=numbers, rest=rest)


def _short(text: str) -> str:
    return textwrap.shorten(text, _LONGEST_NAME, placeholder=" ...")


def _document(found: Difference, old: str, new: str) -> dict[str, object]:
    return {
        "old": old,
        "new": new,
        "compared": found.compared,
        "new_models": [place._asdict() for place in found.new_models],
        "removed_models": [place._asdict() for place in found.removed_models],
        "counts": {state.name.lower(): found.count(state) for state in State},
        "added": [
            {
                "session": session.id,
                "time": session.time,
                "recorder": session.recorder,
                "commit": session.commit or None,
                "dirty": session.dirty,
            }
            for session in found.added
        ],
        "cells": [
            {
                **cell.place._asdict(),
                "state": cell.state.name.lower(),
                "sessions": {"old": cell.old_sessions, "new": cell.new_sessions},
                "note": cell.note or None,
                "metrics": {
                    item.metric: {
                        "unit": METRICS[item.metric].unit,
                        **{name: getattr(item, name) for name in _OF_CHANGE},
                    }
                    for item in cell.metrics
                },
            }
            for cell in found.cells
        ],
    }
