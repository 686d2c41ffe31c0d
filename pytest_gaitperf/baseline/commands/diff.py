"""``gaitperf baseline diff``: what changed, against a git revision or between directories."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.baseline.commands.output import (
    NAME_WIDTH,
    add_json,
    plain_table,
    print_table,
    write_json,
)
from pytest_gaitperf.baseline.commands.selection import (
    add_profile,
    directory_of,
    matches,
    patterns,
)
from pytest_gaitperf.baseline.reading import cells_by_place, files_in
from pytest_gaitperf.baseline.revision import commit_of, files_at
from pytest_gaitperf.clock import clock
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.difference import CellChange, Difference
    from pytest_gaitperf.baseline.reading import Place
    from pytest_gaitperf.baseline.schema import BaselineFile

_DIFFERENT = 1


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``diff``."""
    diff = actions.add_parser(
        "diff",
        help="old -> new -> change per cell, against a git revision",
        description=(
            "Compare the baselines of the work tree with those of a git revision, or of two "
            "revisions, or of two directories. Values are what the gate compares with: geometric "
            "means over sessions. A * marks a change beyond what the spread between sessions "
            "explains (at 1 % for all changes together); the worst stand first."
        ),
        epilog=(
            "Examples: gaitperf baseline diff; gaitperf baseline diff main; "
            "gaitperf baseline diff v1.0 main --models '3D_*'"
        ),
    )
    diff.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="the old revision, and the new one (HEAD, and the work tree)",
    )
    diff.add_argument(
        "--between",
        nargs=2,
        type=Path,
        metavar="DIR",
        help="compare two directories of baselines, old and new, without git",
    )
    add_profile(diff, "all")
    diff.add_argument(
        "--models",
        metavar="PATTERNS",
        help="only models that match one of these, comma-separated",
    )
    form = diff.add_mutually_exclusive_group()
    form.add_argument(
        "--markdown", action="store_true", help="print Markdown for a pull request's text"
    )
    add_json(form)
    diff.add_argument(
        "--exit-code", action="store_true", help="exit with 1 where anything differs, as git does"
    )
    diff.set_defaults(run=_diff)


class _Side(NamedTuple):
    """One of the two states: how to call it, and its files."""

    name: str
    files: Mapping[Place, BaselineFile]


def _diff(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.baseline.difference import difference  # noqa: PLC0415 - numpy, scipy

    with clock("comparing baselines"):
        old, new = _sides(arguments)
        found = difference(cells_by_place(old.files), cells_by_place(new.files))
    if arguments.json is not None:
        write_json(_document(found, old.name, new.name), arguments.json)
    elif arguments.markdown:
        from pytest_gaitperf.report.baseline_changes import markdown  # noqa: PLC0415

        sys.stdout.write(markdown(found, old.name, new.name))
    else:
        _print(found, old.name, new.name)
    if arguments.exit_code and found.cells:
        sys.stdout.flush()
        sys.exit(_DIFFERENT)


def _sides(arguments: argparse.Namespace) -> tuple[_Side, _Side]:
    """Read the two sides. Raises ConfigurationError where nothing is chosen on either."""
    seen: set[Place] = set()
    chosen = None if arguments.models is None else patterns(arguments.models)

    def wanted(place: Place) -> bool:
        seen.add(place)
        return arguments.profile in (None, place.profile) and (
            chosen is None or matches(place.model, chosen)
        )

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
        if len(revisions) > 2:  # noqa: PLR2004 - an old and a new one
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


def _print(found: Difference, old: str, new: str) -> None:
    from pytest_gaitperf.baseline.difference import State  # noqa: PLC0415 - numpy, scipy
    from pytest_gaitperf.report.baseline_changes import (  # noqa: PLC0415
        BEYOND,
        notes,
        sessions_added,
        summary,
    )

    print(textwrap.fill(f"{old} -> {new}", 80))
    print(textwrap.fill(summary(found), 80))
    for number, line in enumerate(sessions_added(found)):
        start = "added: " if not number else "       "
        print(textwrap.fill(line, 80, initial_indent=start, subsequent_indent=" " * 7))
    for line in notes(found):
        print(textwrap.fill(f"note: {line}", 80, subsequent_indent=" " * 6))
    profiles = sorted({cell.place.profile for cell in found.cells})
    for profile in profiles:
        cells = [cell for cell in found.cells if cell.place.profile == profile]
        print(f"\n{profile}")
        _print_beyond(cells)
        for title, states in (
            ("all changes", (State.WORSE, State.BETTER, State.WITHIN)),
            ("new, with their values", (State.NEW,)),
            ("removed, with their values", (State.REMOVED,)),
        ):
            there = [cell for cell in cells if cell.state in states]
            for model in dict.fromkeys(cell.place.model for cell in there):
                print(f"\n{model}: {title}")
                _print_cells([cell for cell in there if cell.place.model == model])
    if any(item.beyond for cell in found.cells for item in cell.metrics):
        print(BEYOND)


def _print_beyond(cells: Sequence[CellChange]) -> None:
    """Print the changes beyond the spread, one to a line."""
    from pytest_gaitperf.report.baseline_changes import (  # noqa: PLC0415 - numpy, scipy
        change,
        metric_title,
        session_counts,
        value,
    )

    table = plain_table()
    table.add_column("cell", overflow="fold")
    table.add_column("metric", no_wrap=True)
    for name in ("old", "new", "change", "sessions"):
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        name = f"{cell.place.model}/{cell.place.key}"
        for item in cell.metrics:
            if item.beyond:
                table.add_row(
                    name,
                    metric_title(item.metric),
                    value(item.metric, item.old),
                    value(item.metric, item.new),
                    change(item),
                    session_counts(cell),
                    style="red" if item.worse else "green",
                )
                name = ""
    if table.row_count:
        print_table(table)


def _print_cells(cells: Sequence[CellChange]) -> None:
    """Print a model's cells: changes, or the values of those that one side does not have."""
    from pytest_gaitperf.report.baseline_changes import (  # noqa: PLC0415 - numpy, scipy
        change,
        session_counts,
        value,
    )

    there = {item.metric for cell in cells for item in cell.metrics}
    metrics = [metric for metric in METRICS if metric in there]
    changes = all(item.change is not None for cell in cells for item in cell.metrics)
    table = plain_table()
    table.add_column("", min_width=NAME_WIDTH)
    for metric in metrics:
        known = METRICS[metric]
        unit = "" if changes else f"\n{known.display_unit}"
        table.add_column(f"{known.title}{unit}", justify="right", no_wrap=True)
    table.add_column("sessions", justify="right", no_wrap=True)
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
        table.add_row(f" {cell.place.key}", *shown, session_counts(cell))
    print_table(table)


def _document(found: Difference, old: str, new: str) -> dict[str, object]:
    from pytest_gaitperf.baseline.difference import State  # noqa: PLC0415 - numpy, scipy

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
