"""``gaitperf baseline diff``: what changed, against a git revision or between directories."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.difference import State, difference
from pytest_gaitperf.baseline.directory import cells_by_place, files_in
from pytest_gaitperf.baseline.revision import commit_of, files_at
from pytest_gaitperf.clock import clock
from pytest_gaitperf.commands.output import (
    Columns,
    directory_of,
    matches,
    say,
    say_json,
)
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.baseline_changes import (
    BEYOND,
    change,
    markdown,
    metric_title,
    notes,
    session_counts,
    sessions_added,
    summary,
    value,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.difference import CellChange, Difference
    from pytest_gaitperf.baseline.directory import Place
    from pytest_gaitperf.baseline.schema import BaselineFile

_DIFFERENT = 1


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
        sys.exit(_DIFFERENT)


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
        sides = [
            _Side(
                f"{revision} ({commit_of(revision, directory)[:12]})",
                files_at(revision, directory, wanted),
            )
            for revision in revisions
        ]
        if len(sides) == 1:
            sides.append(_Side("work tree", files_in(directory, wanted)))
        where = f"{directory} in {sides[0].name} and {sides[1].name}"
    if not seen:
        raise ConfigurationError(
            f"{where}: there are no baselines; record one with 'pytest suites "
            "--gaitperf-update=missing', or name their directory with --baselines"
        )
    if not any(side.files for side in sides):
        raise ConfigurationError(
            f"{where}: no baseline is chosen by --profile and --models; there are: "
            + ", ".join(sorted(map(str, seen)))
        )
    return sides[0], sides[1]


def _say(found: Difference, old: str, new: str) -> None:
    say(f"{old} -> {new}")
    say(summary(found))
    for number, line in enumerate(sessions_added(found)):
        say(line, indent=" " * 7, first=None if number else "added: ")
    for line in notes(found):
        say(line, indent=" " * 6, first="note: ")
    for profile in sorted({cell.place.profile for cell in found.cells}):
        cells = [cell for cell in found.cells if cell.place.profile == profile]
        say(f"\n{profile}")
        _say_beyond(cells)
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


def _say_beyond(cells: Sequence[CellChange]) -> None:
    """Print the changes beyond the spread, one to a line."""
    table = Columns(("cell", "metric", "old", "new", "change", "sessions"), left=("metric",))
    for cell in cells:
        name = f"{cell.place.model}/{cell.place.key}"
        for item in cell.metrics:
            if item.beyond:
                table.add(
                    name,
                    metric_title(item.metric),
                    value(item.metric, item.old),
                    value(item.metric, item.new),
                    change(item),
                    session_counts(cell),
                    style="red" if item.worse else "green",
                )
                name = ""
    table.show()


def _say_cells(cells: Sequence[CellChange]) -> None:
    """Print a model's cells: changes, or the values of those that one side does not have."""
    there = {item.metric for cell in cells for item in cell.metrics}
    metrics = [metric for metric in METRICS if metric in there]
    changes = all(item.change is not None for cell in cells for item in cell.metrics)
    units = {metric: "" if changes else f"\n{METRICS[metric].display_unit}" for metric in metrics}
    table = Columns(
        ["", *(f"{METRICS[metric].title}{unit}" for metric, unit in units.items()), "sessions"]
    )
    for cell in cells:
        items = {item.metric: item for item in cell.metrics}
        shown = []
        for metric in metrics:
            item = items.get(metric)
            if item is None:
                shown.append("")
            elif item.change is None:
                shown.append(value(metric, item.new if item.old is None else item.old))
            else:
                shown.append(change(item))
        table.add(f" {cell.place.key}", *shown, session_counts(cell))
    table.show()


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
                        "old": item.old,
                        "new": item.new,
                        "change": item.change,
                        "beyond": item.beyond,
                        "worse": item.worse,
                    }
                    for item in cell.metrics
                },
            }
            for cell in found.cells
        ],
    }
