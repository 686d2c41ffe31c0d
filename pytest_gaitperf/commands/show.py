"""``gaitperf baseline list`` and ``show``: what is recorded, and where it comes from."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.cells import geomean, spread
from pytest_gaitperf.baseline.directory import profiles_in
from pytest_gaitperf.commands import output
from pytest_gaitperf.commands.output import (
    Columns,
    cells_in,
    columns,
    matches,
    parted,
    say,
    say_json,
)
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.trend import change_points
from pytest_gaitperf.metrics import GATED, METRICS
from pytest_gaitperf.report.text import origin
from pytest_gaitperf.text import count, percent, scaled
from pytest_gaitperf.workload import shapes_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline, Session


_COMPARED = ("triton", "signature", "protocol", "transport")


# list


def list_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline list``."""
    directory = output.directory_of(arguments)
    profiles = profiles_in(directory)
    if arguments.profile is not None:
        if arguments.profile not in profiles:
            raise ConfigurationError(
                f"{directory}: there is no baseline of {arguments.profile!r}; there are: "
                + ", ".join(profiles)
            )
        profiles = [arguments.profile]
    by_model = arguments.all or arguments.profile is not None
    rows = []
    for profile in profiles:
        cells = cells_in(directory, profile)
        models = sorted({cell.model for cell in cells}) if by_model else [None] if cells else []
        rows += [_listed(profile, model, cells) for model in models]
    if arguments.json is not None:
        say_json({"baselines": rows}, arguments.json)
    elif by_model:
        for number, profile in enumerate(profiles):
            say(f"\n{profile}" if number else profile)
            _say_rows([row for row in rows if row["profile"] == profile], "model")
    else:
        _say_rows(rows, "profile", "models")


def _listed(profile: str, model: str | None, cells: Sequence[CellBaseline]) -> dict[str, Any]:
    """Return what there is of a profile, or of one of its models."""
    mine = [cell for cell in cells if model in (None, cell.model)]
    counts = [len(cell.sessions) for cell in mine]
    newest = max((cell.sessions[-1] for cell in mine), key=lambda session: session.time)
    recorded = datetime.fromisoformat(newest.time.replace("Z", "+00:00"))
    return {
        "profile": profile,
        "model": model,
        "models": len({cell.model for cell in mine}),
        "cells": len(mine),
        "sessions": {"fewest": min(counts), "most": max(counts)},
        "newest": {
            "session": newest.id,
            "time": newest.time,
            "age_days": round((datetime.now(timezone.utc) - recorded).total_seconds() / 86400, 2),
            "recorder": newest.recorder,
            "triton": newest.fingerprint.triton,
        },
    }


def _say_rows(rows: Sequence[dict[str, Any]], *name: str) -> None:
    headings = (*name, "cells", "sessions", "newest", "age", "Triton", "recorder")
    table = Columns(headings, left=("newest", "Triton"), wrapped=("recorder",))
    for row in rows:
        (fewest, most), newest = row["sessions"].values(), row["newest"]
        days = newest["age_days"]
        table.add(
            *(str(row[one]) for one in (*name, "cells")),
            str(most) if fewest == most else f"{fewest}-{most}",
            newest["time"][:10],
            f"{days:.0f} d" if days >= 1 else f"{max(days, 0) * 24:.0f} h",
            newest["triton"],
            newest["recorder"],
        )
    table.show()


# show


def show_baselines(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf baseline show``."""
    directory, profile = output.profile_of(arguments)
    cells = _chosen(cells_in(directory, profile), arguments.cells)
    if arguments.json is not None:
        document = {"profile": profile, "cells": [_cell_document(cell) for cell in cells]}
        say_json(document, arguments.json)
        return
    say(profile)
    for model in dict.fromkeys(cell.model for cell in cells):
        say(f"\n{model}")
        of_model = [cell for cell in cells if cell.model == model]
        _say_cells(of_model, sessions=arguments.sessions)
        for line in _changes(of_model):
            say(line, indent="  ")
    if any(_aside(cell, metric) for cell in cells for metric in METRICS):
        say("- not comparable with the newest session (see below), so not in use")
    say()
    _say_sessions(cells)


def _chosen(cells: Sequence[CellBaseline], wanted: str) -> list[CellBaseline]:
    """Return the cells that MODEL[/CELL] means. Raises ConfigurationError where none is."""
    models, slash, keys = wanted.partition("/")
    of_models = [cell for cell in cells if matches(cell.model, models)]
    chosen = [cell for cell in of_models if not slash or matches(cell.key, keys)]
    if not chosen:
        what, there = f"model matches {models!r}; the models are", [cell.model for cell in cells]
        if of_models:
            what = f"cell of {models!r} matches {keys!r}; the cells are"
            there = [cell.key for cell in of_models]
        raise ConfigurationError(f"no recorded {what}: {', '.join(dict.fromkeys(there))}")
    return chosen


def _aside(cell: CellBaseline, metric: str) -> set[str]:
    """Return the sessions with this metric that the newest one cannot be compared with."""
    having = {session.id for session in cell.having(metric)}
    return having - cell.in_use(metric).keys()


def _say_cells(cells: Sequence[CellBaseline], *, sessions: bool) -> None:
    """Print one model's cells, with each session's values where ``sessions`` are asked for."""
    for metrics in parted(columns({m for cell in cells for m in _recorded(cell)})):
        there = [cell for cell in cells if not _recorded(cell).isdisjoint(metrics)]
        _say_table(there, metrics, sessions=sessions)


def _recorded(cell: CellBaseline) -> set[str]:
    return {metric for session in cell.sessions for metric in session.values}


def _say_table(cells: Sequence[CellBaseline], metrics: Sequence[str], *, sessions: bool) -> None:
    titles = [f"{METRICS[metric].title}\n{METRICS[metric].display_unit}" for metric in metrics]
    table = Columns(["", *titles, "ses-\nsions"], left=titles)
    for cell in cells:
        shown = []
        for metric in metrics:
            values = cell.in_use(metric).values()
            sd = spread(values)
            brackets = "" if sd is None else f" ({sd * 100:.{1 if sd < 0.1 else 0}f})"
            shown.append(f"{scaled(metric, geomean(values))}{brackets}" if values else "")
        table.add(f" {cell.key}", *shown, str(len(cell.sessions)))
        for session in cell.sessions if sessions else ():
            shown = [f" {session.time[5:16].replace('T', ' ')}"]
            for metric in metrics:
                value = session.values.get(metric)
                aside = "-" if session.id in _aside(cell, metric) else ""
                shown.append("" if value is None else scaled(metric, value.value) + aside)
            table.add(*shown, first="dim")
    table.show()


def _changes(cells: Sequence[CellBaseline]) -> Iterator[str]:
    """Say where the level of a history changed: a line for each cell, metric and change."""
    for cell in cells:
        for metric in GATED:
            values = cell.in_use(metric)
            times = {session.id: session.time[:10] for session in cell.sessions}
            for change in change_points(list(values.values())):
                since = times[list(values)[change.place]]
                yield (
                    f"{cell.key}: {METRICS[metric].title} changed by {percent(change.change)} "
                    f"with the session of {since}"
                )


def _say_sessions(cells: Sequence[CellBaseline]) -> None:
    """Print who recorded what: one paragraph for sessions that agree in all but their time."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in cells:
        for session in cell.sessions:
            made = session.fingerprint
            like = (
                cell.model,
                f"recorded by {origin(session)}",
                f"Triton {made.triton}, pytest-gaitperf {session.plugin or 'unknown'}, "
                f"{made.protocol}, {made.transport}"
                + (f", model version {made.version}" if made.version else "")
                + "".join(f", {rails} summed" for rails in sorted(set(made.rails.values()))),
                f"{made.signature}; files {made.content[:12] or 'unknown'}; requests carried "
                + (made.data or "random data")
                + (f" of {shapes_text(made.shapes)}" if made.shapes else ""),
                ", ".join(f"{name} {value}" for name, value in session.environment.items()),
            )
            groups.setdefault(like, {})[session.id] = session.time
    for (model, *lines), sessions in groups.items():
        times = sorted(sessions.values())
        span = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
        say(f"{model}: {count(len(times), 'session')}, {span}")
        for line in filter(None, lines):
            say(line, indent="  ")


def _cell_document(cell: CellBaseline) -> dict[str, object]:
    metrics: dict[str, object] = {}
    for metric in filter(cell.having, METRICS):
        values = cell.in_use(metric)
        metrics[metric] = {
            "unit": METRICS[metric].unit,
            "value": geomean(values.values()),
            "spread": spread(values.values()),
            "sessions": list(values),
            "changes": [
                {"session": list(values)[one.place], "change": one.change}
                for one in (change_points(list(values.values())) if metric in GATED else [])
            ],
        }
    return {
        "model": cell.model,
        "cell": cell.key,
        "metrics": metrics,
        "sessions": [_session_document(session) for session in cell.sessions],
    }


def _session_document(session: Session) -> dict[str, object]:
    made = session.fingerprint
    return {
        "session": session.id,
        "time": session.time,
        "recorder": session.recorder,
        "commit": session.commit or None,
        "dirty": session.dirty,
        "plugin": session.plugin,
        **{name: getattr(made, name) for name in _COMPARED},
        "version": made.version or None,
        "content": made.content or None,
        "data": made.data or None,
        "shapes": {name: list(shape) for name, shape in made.shapes.items()},
        "environment": dict(session.environment),
        "values": {
            metric: {
                "value": value.value,
                "spread": value.spread,
                "lives": value.lives,
                "rails": value.rails or None,
            }
            for metric, value in session.values.items()
        },
    }
