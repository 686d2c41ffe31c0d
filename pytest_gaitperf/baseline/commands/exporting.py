"""``gaitperf baseline export``: baselines as other tools read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.commands.selection import add_profile, profile_of
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.report.export import command

if TYPE_CHECKING:
    import argparse

    from pytest_gaitperf.report.export.history import SessionFigures


def add_to(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the action ``export``."""
    command.add_to(actions, add_profile, _recorded)


def _recorded(arguments: argparse.Namespace) -> tuple[SessionFigures, ...]:
    """Return what the profile's baselines hold."""
    from pytest_gaitperf.config.settings import project_settings  # noqa: PLC0415 - as above
    from pytest_gaitperf.report.export.history import baseline_sessions  # noqa: PLC0415 - numpy

    directory, profile = profile_of(arguments, project_settings(Path()))
    return baseline_sessions(BaselineStore(directory, profile, {}).cells(), profile)
