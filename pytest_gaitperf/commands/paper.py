"""``gaitperf paper``: one figure of Embedded-Gait's publications, of this machine."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.commands.output import say
from pytest_gaitperf.config.option import without
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import check_writable, write_output
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.report.html.page import page, require
from pytest_gaitperf.report.html.papers import PAPERS, section
from pytest_gaitperf.report.joined import together
from pytest_gaitperf.results_file import read_results
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUITES = Path("suites")
_OURS = {
    "--gaitperf-json",
    "--gaitperf-grid",
    "--gaitperf-baselines",
    "--gaitperf-update",
    "--gaitperf-sessions",
}
_MEASURED = (0, 1, 10)
"""What pytest ends with where it has measured, whatever the verdicts."""


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``paper`` to the program's commands."""
    paper = commands.add_parser(
        "paper",
        help="measure and draw a figure of Embedded-Gait's publications",
        description=(
            "Measure what one figure of Embedded-Gait's publications shows, with the grid of that "
            "name in suites/papers, and draw it beside the published numbers. Without a name: "
            "list the figures."
        ),
    )
    paper.add_argument("name", nargs="?", metavar="NAME")
    paper.add_argument("--quick", action="store_true", help="few loads: minutes in place of hours")
    paper.add_argument(
        "--results",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="draw these results (--gaitperf-json), of one device or several; measure nothing",
    )
    paper.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help="default: paper-NAME.html"
    )
    paper.add_argument(
        "--pytest",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARGUMENT",
        help="all that follows is given to pytest, such as --triton=docker",
    )
    paper.set_defaults(run=_paper)


def _paper(arguments: argparse.Namespace) -> None:
    name = arguments.name
    if name is None:
        for known, paper in PAPERS.items():
            say(f"{known:10}{paper.title}", indent=" " * 10, first="")
        return
    if name not in PAPERS:
        raise ConfigurationError(
            f"there is no figure {name!r}{did_you_mean(name, PAPERS)} they are {', '.join(PAPERS)}"
        )
    require()
    output = arguments.output or Path(f"paper-{name}.html")
    check_writable(output)
    files = arguments.results or [
        _measured(name, output.with_suffix(".json"), arguments.pytest, quick=arguments.quick)
    ]
    run = together(files) if len(files) > 1 else read_results(files[0])
    write_output(output, page([run], first=[section(name, run)]).encode())
    say(f"figure written: {output}")


def _measured(name: str, results: Path, arguments: Sequence[str], *, quick: bool) -> Path:
    """Run the suite over the grid of a figure; return its results."""
    paper = PAPERS[name]
    grid = _SUITES / "papers" / f"{name}{'-quick' if quick else ''}.toml"
    if not grid.exists():
        raise ConfigurationError(
            f"{grid} is not here: run this in a checkout of pytest-gaitperf, or draw results of "
            "your own with --results"
        )
    given = without(arguments, _OURS)
    command = [
        *(sys.executable, "-m", "pytest", str(_SUITES / paper.suite)),
        *(f"--gaitperf-grid={grid}", f"--gaitperf-json={results}", *paper.options, *given),
    ]
    results.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=prefix("paper")) as nowhere:
        # Nothing is gated: without a baseline a cell is recorded, and forgotten.
        command += [f"--gaitperf-baselines={nowhere}", "--gaitperf-update=missing"]
        code = subprocess.run(command, check=False).returncode
    if code not in _MEASURED or not results.exists():
        raise ConfigurationError(f"nothing was measured: pytest ended with {code}, as shown above")
    return results
