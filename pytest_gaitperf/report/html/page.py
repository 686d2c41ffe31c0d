"""The results of runs as one HTML page that opens offline, and the command ``gaitperf report``."""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.baseline.directory import profiles_in
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import check_writable, write_output
from pytest_gaitperf.report.html import figures, sections
from pytest_gaitperf.report.html.cell import cell_data
from pytest_gaitperf.report.html.data import ReportData, load_text
from pytest_gaitperf.report.html.sections import change_chip, place
from pytest_gaitperf.report.html.verdict import title_of, verdict, word_chip
from pytest_gaitperf.report.joined import together
from pytest_gaitperf.report.perf_analyzer import read_any
from pytest_gaitperf.report.text import (
    cell_word,
    headline,
    interval_text,
    loss,
    value,
    verdict_word,
    word_rank,
    worst,
)
from pytest_gaitperf.results_file import read_runs
from pytest_gaitperf.text import number, percent, scaled, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jinja2 import Template

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.report.html.data import Section
    from pytest_gaitperf.results import Run

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    verdict,
    sections.maps,
    sections.cells,
    figures.throughput_latency,
    figures.tradeoffs,
    figures.time_split,
    figures.rails,
    sections.remarks,
    sections.environment,
)
"""What makes the page, in its order; one that has nothing to say returns None."""

_WORDS: tuple[Callable[..., object], ...] = (
    *(cell_word, change_chip, headline, interval_text, load_text, loss, number, percent),
    *(place, scaled, shown, title_of, value, verdict_word, word_chip, word_rank, worst),
)
"""What the template asks of a run's values."""


def require() -> None:
    """Raise ConfigurationError, before any work is done, where a page could not be made."""
    missing = [name for name in ("jinja2", "plotly") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"a report needs {' and '.join(missing)}, not installed here: "
            "pip install 'pytest-gaitperf[report]'"
        )


def page(
    runs: Sequence[Run],
    baselines: Mapping[str, CellBaseline] | None = None,
    *,
    first: Sequence[Section] = (),
) -> str:
    """Return the page as HTML.

    ``runs`` are of one profile, oldest first, at least one; the page is about the newest, the
    others are its history. ``baselines`` are those it was judged by, by cell id. The sections
    ``first`` come before all others. Raises ConfigurationError where what draws a page is not
    installed.
    """
    require()
    data = ReportData(runs, baselines or {})
    made = [*first, *(section for make in SECTIONS if (section := make(data)) is not None)]
    script = f'"use strict";\n{_template("cell.js")}{_template("page.js")}'
    plotly, packed = _plotly_script()
    return _page_template().render(
        data=data,
        run=data.run,
        policy=_policy((script, plotly)),
        style=_template("page.css"),
        sections=made,
        figures={figure.id: figure.spec for section in made for figure in section.figures},
        cell_data={cell.id: cell_data(data, cell) for cell in data.run.cells},
        plotly=packed,
        script=script,
    )


@lru_cache(maxsize=1)
def _page_template() -> Template:
    """Return the page's template, which escapes all but our own style and script."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - of the extra report

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.globals |= {one.__name__: one for one in _WORDS}
    return environment.from_string(_template("page.html"))


@lru_cache(maxsize=1)
def _plotly_script() -> tuple[str, str]:
    """Return plotly.js, and the same gzipped in base64, which is less than half as long."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - of the extra report, and slow

    text = str(get_plotlyjs())
    return text, base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(scripts: Iterable[str]) -> str:
    """Return a content security policy: no network, and no script but these."""
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in scripts
    )
    # plotly writes its own rules into a style element.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text("utf-8")


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``report`` to the program's commands."""
    report = commands.add_parser(
        "report",
        help="make an HTML page of the results of runs",
        description=(
            "Make one HTML page, which opens offline, of results files (--gaitperf-json), or the "
            "journal of a run that was killed, of one kind of device. The page is about the newest "
            "run; the others are its history. With --together it is about all of them, which are "
            "of different devices or power modes, or what perf_analyzer wrote: -f MODEL.csv or "
            "MODEL-b4.csv, or the JSON of --profile-export-file."
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
    report.add_argument(
        "--together",
        action="store_true",
        help="results of different devices, power modes or tools as one run, with one frontier",
    )
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    require()
    check_writable(arguments.output)
    gc.disable()  # of ten thousand cells nothing is garbage, and looking for it is half of the time
    try:
        _write(arguments)
    finally:
        gc.enable()


def _write(arguments: argparse.Namespace) -> None:
    if arguments.together:
        if arguments.baselines is not None:
            raise ConfigurationError(
                "--baselines are of one device: leave them, or --together, out"
            )
        runs: Sequence[Run] = [together(arguments.results)]
    else:
        runs = read_runs(arguments.results, read_any)
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
    print(f"report written: {arguments.output}")  # noqa: T201 - a command
