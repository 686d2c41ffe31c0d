"""``gaitperf baseline show``: the values that are recorded, and where they come from."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.commands.output import (
    NAME_WIDTH,
    add_json,
    plain_table,
    print_table,
    write_json,
)
from pytest_gaitperf.baseline.commands.selection import (
    add_profile,
    matches,
    patterns,
    profile_of,
)
from pytest_gaitperf.baseline.level import in_use, level, spread
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.text import count, origin, scaled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_gaitperf.baseline.store import CellBaseline, Session


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``show``."""
    show = actions.add_parser(
        "show",
        help="the recorded values of each cell, their spread and their provenance",
        description=(
            "Show for each cell and metric the value that the gate compares with (the geometric "
            "mean over sessions) and in brackets how sessions spread (SD in %); then who recorded "
            "them, when and on what."
        ),
        epilog="Example: gaitperf baseline show '3D_*/b8-*' --sessions",
    )
    show.add_argument(
        "cells",
        nargs="?",
        default="*",
        metavar="MODEL[/CELL]",
        help="only these; patterns, several models or cells comma-separated (all)",
    )
    show.add_argument("--sessions", action="store_true", help="each session's values too")
    add_profile(show)
    add_json(show)
    show.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> None:
    directory, profile = profile_of(arguments, project_settings(Path()))
    cells = _chosen(list(BaselineStore(directory, profile, {}).cells()), arguments.cells)
    if arguments.json is not None:
        write_json(
            {"profile": profile, "cells": [_document(cell) for cell in cells]}, arguments.json
        )
        return
    print(profile)
    for model in dict.fromkeys(cell.model for cell in cells):
        print(f"\n{model}")
        _print_cells([cell for cell in cells if cell.model == model], sessions=arguments.sessions)
    if any(_aside(cell, metric) for cell in cells for metric in METRICS):
        print("- not comparable with the newest session (see below), so not in use")
    print()
    _print_sessions(cells)


def _chosen(cells: list[CellBaseline], wanted: str) -> list[CellBaseline]:
    """Return the cells that MODEL[/CELL] means. Raises ConfigurationError where none is."""
    models, slash, keys = wanted.partition("/")
    of_models = [cell for cell in cells if matches(cell.model, patterns(models))]
    if not of_models:
        raise ConfigurationError(
            f"no recorded model matches {models!r}; the models are: "
            + ", ".join(dict.fromkeys(cell.model for cell in cells))
        )
    chosen = [cell for cell in of_models if not slash or matches(cell.key, patterns(keys))]
    if not chosen:
        raise ConfigurationError(
            f"no recorded cell of {models!r} matches {keys!r}; the cells are: "
            + ", ".join(dict.fromkeys(cell.key for cell in of_models))
        )
    return chosen


def _metrics(cells: Sequence[CellBaseline]) -> list[str]:
    there = {m for cell in cells for session in cell.sessions for m in session.values}
    return [metric for metric in METRICS if metric in there]


def _aside(cell: CellBaseline, metric: str) -> set[str]:
    """Return the sessions with this metric that the newest one cannot be compared with."""
    having = {session.id for session in cell.sessions if metric in session.values}
    return having - set(in_use(cell, metric))


def _print_cells(cells: Sequence[CellBaseline], *, sessions: bool) -> None:
    """Print one model's cells."""
    from rich.text import Text  # noqa: PLC0415 - only for a table

    metrics = _metrics(cells)
    table = plain_table()
    table.add_column("", max_width=NAME_WIDTH, overflow="fold")
    for metric in metrics:
        known = METRICS[metric]
        table.add_column(f"{known.title}\n{known.display_unit}", no_wrap=True)
    table.add_column("ses-\nsions", justify="right", no_wrap=True)
    for cell in cells:
        shown = []
        for metric in metrics:
            values = in_use(cell, metric).values()
            sd = spread(values)
            brackets = "" if sd is None else f" ({_percent(sd)})"
            shown.append(f"{scaled(metric, level(values))}{brackets}" if values else "")
        table.add_row(f" {cell.key}", *shown, str(len(cell.sessions)))
        for session in cell.sessions if sessions else ():
            table.add_row(
                Text(f" {session.time[5:16].replace('T', ' ')}", style="dim"),
                *(_value(session, metric, cell) for metric in metrics),
            )
    print_table(table)


def _percent(sd: float) -> str:
    return f"{sd * 100:.1f}" if sd < 0.1 else f"{sd * 100:.0f}"  # noqa: PLR2004 - 9.9, then 10


def _value(session: Session, metric: str, cell: CellBaseline) -> str:
    if metric not in session.values:
        return ""
    aside = "-" if session.id in _aside(cell, metric) else ""
    return scaled(metric, session.values[metric].value) + aside


def _print_sessions(cells: Sequence[CellBaseline]) -> None:
    """Print who recorded what: one paragraph for sessions that agree in all but their time."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in cells:
        for session in cell.sessions:
            facts = session.facts
            like = (
                cell.model,
                f"recorded by {origin(session)}",
                f"Triton {facts.triton}, pytest-gaitperf {session.plugin or 'unknown'}, "
                f"{facts.protocol}, {facts.transport}"
                + (f", model version {session.version}" if session.version else "")
                + "".join(f", {rails} summed" for rails in sorted(set(facts.rails.values()))),
                f"{facts.signature}; files {facts.content[:12] or 'unknown'}; requests carried "
                + (facts.data or "random data"),
                ", ".join(f"{name} {value}" for name, value in session.environment.items()),
            )
            groups.setdefault(like, {})[session.id] = session.time
    for (model, *lines), sessions in groups.items():
        times = sorted(sessions.values())
        span = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
        print(f"{model}: {count(len(times), 'session')}, {span}")
        for line in filter(None, lines):
            print(textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="  "))


def _document(cell: CellBaseline) -> dict[str, object]:
    metrics: dict[str, object] = {}
    for metric in _metrics([cell]):
        values = in_use(cell, metric)
        metrics[metric] = {
            "unit": METRICS[metric].unit,
            "value": level(values.values()),
            "spread": spread(values.values()),
            "sessions": list(values),
        }
    return {
        "model": cell.model,
        "cell": cell.key,
        "metrics": metrics,
        "sessions": [_session(session) for session in cell.sessions],
    }


def _session(session: Session) -> dict[str, object]:
    facts = session.facts
    return {
        "session": session.id,
        "time": session.time,
        "recorder": session.recorder,
        "commit": session.commit or None,
        "dirty": session.dirty,
        "plugin": session.plugin,
        "triton": facts.triton,
        "signature": facts.signature,
        "protocol": facts.protocol,
        "transport": facts.transport,
        "version": session.version or None,
        "content": facts.content or None,
        "data": facts.data or None,
        "environment": dict(session.environment),
        "values": {
            metric: {
                "value": value.value,
                "spread": value.spread,
                "windows": value.n,
                "rails": value.rails or None,
            }
            for metric, value in session.values.items()
        },
    }
