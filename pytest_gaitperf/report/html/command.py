"""``gaitperf report``: results files as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.directory import profiles_in
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import check_writable, write_output
from pytest_gaitperf.report.html.page import page, require
from pytest_gaitperf.results_file import read_runs

if TYPE_CHECKING:
    import argparse


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``report`` to the program's commands."""
    report = commands.add_parser(
        "report",
        help="make an HTML page of the results of runs",
        description=(
            "Make one HTML page, which opens offline, of results files (--gaitperf-json) of one "
            "kind of device. The page is about the newest run; the others are its history."
        ),
    )
    report.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    report.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.html")
    report.add_argument(
        "--baselines",
        type=Path,
        metavar="DIR",
        help="the directory of the baselines, whose sessions the trends then show",
    )
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    require()
    check_writable(arguments.output)
    runs = read_runs(arguments.results)
    baselines = {}
    if arguments.baselines is not None:
        profile, there = runs[-1].profile.id, profiles_in(arguments.baselines)
        if profile not in there:
            raise ConfigurationError(
                f"{arguments.baselines}: there is no baseline of {profile!r}, which the results "
                f"are of, but of {', '.join(there)}: leave --baselines out or name another "
                "directory"
            )
        store = BaselineStore(arguments.baselines, profile, {})
        baselines = {f"{one.model}-{one.key}": one for one in store.cells()}
    write_output(arguments.output, page(runs, baselines).encode())
    print(f"report written: {arguments.output}")
