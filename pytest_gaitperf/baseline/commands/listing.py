"""``gaitperf baseline list``: which baselines there are, and how old they are."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.commands.output import (
    NAME_WIDTH,
    add_json,
    plain_table,
    print_table,
    write_json,
)
from pytest_gaitperf.baseline.commands.selection import add_profile, directory_of, profiles_in
from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.baseline.store import CellBaseline, Session


@dataclass(frozen=True, slots=True)
class _Row:
    """One profile (``model`` is "") or one of its models."""

    profile: str
    model: str
    models: int
    cells: int
    fewest: int
    most: int
    newest: Session

    @property
    def age_days(self) -> float:
        """How long ago the newest session was."""
        recorded = datetime.fromisoformat(self.newest.time.replace("Z", "+00:00"))
        return (datetime.now(timezone.utc) - recorded).total_seconds() / 86400


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``list``."""
    listing = actions.add_parser(
        "list",
        help="the profiles, or the models of one, with their sessions and age",
        description=(
            "List the profiles that have baselines; with --profile the models of one. SESSIONS is "
            "how many the cells have, fewest to most; the rest is of the newest session."
        ),
    )
    add_profile(listing, "all, without their models")
    listing.add_argument("--all", action="store_true", help="the models of every profile")
    add_json(listing)
    listing.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> None:
    from pytest_gaitperf.baseline.store import BaselineStore  # noqa: PLC0415 - msgspec

    directory = directory_of(arguments)
    profiles = profiles_in(directory)
    if arguments.profile is not None:
        if arguments.profile not in profiles:
            raise ConfigurationError(
                f"{directory}: there is no baseline of {arguments.profile!r}; there are: "
                + ", ".join(profiles)
            )
        profiles = [arguments.profile]
    cells = {profile: list(BaselineStore(directory, profile, {}).cells()) for profile in profiles}
    by_model = arguments.all or arguments.profile is not None
    rows = [
        row for profile in profiles for row in _rows(profile, cells[profile], by_model=by_model)
    ]
    if arguments.json is not None:
        write_json({"baselines": [_document(row) for row in rows]}, arguments.json)
        return
    if not by_model:
        _print(rows)
        return
    for number, profile in enumerate(profiles):
        print(f"{chr(10) if number else ''}{profile}")
        _print([row for row in rows if row.profile == profile])


def _rows(profile: str, cells: Sequence[CellBaseline], *, by_model: bool) -> Iterable[_Row]:
    for model in sorted({cell.model for cell in cells}) if by_model else [""]:
        mine = [cell for cell in cells if model in ("", cell.model)]
        if mine:
            sessions = [len(cell.sessions) for cell in mine]
            yield _Row(
                profile,
                model,
                len({cell.model for cell in mine}),
                len(mine),
                min(sessions),
                max(sessions),
                max((cell.sessions[-1] for cell in mine), key=lambda session: session.time),
            )


def _document(row: _Row) -> dict[str, object]:
    return {
        "profile": row.profile,
        "model": row.model or None,
        "models": row.models,
        "cells": row.cells,
        "sessions": {"fewest": row.fewest, "most": row.most},
        "newest": {
            "session": row.newest.id,
            "time": row.newest.time,
            "age_days": round(row.age_days, 2),
            "recorder": row.newest.recorder,
            "triton": row.newest.facts.triton,
        },
    }


def _print(rows: Sequence[_Row]) -> None:
    table = plain_table()
    by_model = any(row.model for row in rows)
    table.add_column("model" if by_model else "profile", min_width=NAME_WIDTH, overflow="fold")
    if not by_model:
        table.add_column("models", justify="right", no_wrap=True)
    table.add_column("cells", justify="right", no_wrap=True)
    table.add_column("sessions", justify="right", no_wrap=True)
    table.add_column("newest", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("Triton", no_wrap=True)
    table.add_column("recorder", overflow="fold")
    for row in rows:
        sessions = str(row.most) if row.fewest == row.most else f"{row.fewest}-{row.most}"
        table.add_row(
            row.model or row.profile,
            *([] if by_model else [str(row.models)]),
            str(row.cells),
            sessions,
            row.newest.time[:10],
            _age(row.age_days),
            row.newest.facts.triton,
            row.newest.recorder,
        )
    print_table(table)


def _age(days: float) -> str:
    if days < 1:
        return f"{max(days, 0) * 24:.0f} h"
    return f"{days:.0f} d"
