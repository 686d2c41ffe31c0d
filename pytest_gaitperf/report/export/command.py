"""``gaitperf baseline export``: baselines, or the results of runs, for other tools."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.clock import clock
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.report.export.exporters import exporter, names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.report.export.history import SessionFigures

_MOST_NAMED = 3


def add_to(
    actions: argparse._SubParsersAction[Any],
    add_profile: Callable[[argparse.ArgumentParser], None],
    sessions_of: Callable[[argparse.Namespace], tuple[SessionFigures, ...]],
) -> None:
    """Add the action ``export``.

    ``add_profile`` adds the options that say which baselines are meant, ``sessions_of`` reads them.
    """
    export = actions.add_parser(
        "export",
        help="write the baselines, or the results of runs, in the format of another tool",
        description=(
            "Write what the baselines hold, or the results files of runs (--gaitperf-json), in the "
            "format of another tool. Estimated energy is called estimated in every format."
        ),
        epilog="Formats: " + ", ".join(names()) + ". docs/exports.md has a command for each.",
    )
    export.add_argument("--format", required=True, metavar="FORMAT", help="see below")
    export.add_argument(
        "--results",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="results files to export in place of the baselines, of one kind of device",
    )
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file to write (standard output)"
    )
    add_profile(export)
    export.set_defaults(run=lambda arguments: _export(arguments, sessions_of))


def _export(
    arguments: argparse.Namespace,
    sessions_of: Callable[[argparse.Namespace], tuple[SessionFigures, ...]],
) -> None:
    chosen = exporter(arguments.format)
    target = arguments.output
    with clock(f"exporting to {arguments.format}"):
        sessions = _results(arguments.results) if arguments.results else sessions_of(arguments)
        for note in _notes(sessions, arguments.format):
            print(textwrap.fill(sanitize(note), 80, subsequent_indent="  "), file=sys.stderr)
        if not any(session.cells for session in sessions):
            raise ConfigurationError("there is nothing to export: no cell has a measurement")
        text = chosen.export(sessions, "" if target is None else target.name)
    if target is None:
        sys.stdout.write(text)
        return
    from pytest_gaitperf.files import write_output  # noqa: PLC0415 - only to write

    write_output(target, text.encode())


def _results(paths: Sequence[Path]) -> tuple[SessionFigures, ...]:
    """Read results files, oldest first."""
    from pytest_gaitperf.report.export.results_file import session_of  # noqa: PLC0415 - msgspec, numpy
    from pytest_gaitperf.report.reading import read_runs  # noqa: PLC0415 - as above

    return tuple(map(session_of, read_runs(paths)))


def _notes(sessions: Sequence[SessionFigures], name: str) -> list[str]:
    """Say what the file will not have."""
    notes = []
    left_out = {cell: why for session in sessions for cell, why in session.left_out.items()}
    if left_out:
        named = "; ".join(f"{cell}: {why}" for cell, why in list(left_out.items())[:_MOST_NAMED])
        more = len(left_out) - _MOST_NAMED
        notes.append(
            f"{len(left_out)} cells without a valid measurement are left out: {named}"
            + (f"; and {more} more" if more > 0 else "")
        )
    if name in ("csv", "otava"):
        from pytest_gaitperf.report.export.csv_table import missing_columns  # noqa: PLC0415 - only here

        if missing := missing_columns(sessions):
            notes.append(
                f"{len(missing)} columns are left out since some of the {len(sessions)} sessions "
                f"lack them: {', '.join(missing[:_MOST_NAMED])}"
                + (" ..." if len(missing) > _MOST_NAMED else "")
            )
    return notes
