"""The page: every section in turn, in one file with its styles, its scripts and its data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.html import (
    banner,
    cells,
    heat,
    latency,
    power,
    rails,
    surroundings,
    time_split,
    tradeoffs,
    trend,
)
from pytest_gaitperf.report.html.compact import many
from pytest_gaitperf.report.html.section import table_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.html.section import CellFigure, Figure, Section

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    banner.section,
    heat.section,
    cells.section,
    tradeoffs.throughput_latency,
    tradeoffs.pareto,
    time_split.section,
    rails.section,
    surroundings.remarks,
    surroundings.environment,
)
"""What makes the page, in its order; one that has nothing to say returns None."""

CELL_FIGURES: tuple[CellFigure, ...] = (
    trend.CELL_FIGURE,
    latency.CELL_FIGURE,
    *power.CELL_FIGURES,
    rails.CELL_FIGURE,
    time_split.CELL_FIGURE,
)
"""What is shown of a cell that the reader chooses."""

_SCRIPTS = ("figures.js", "cells.js", "theme.js")


def page(data: ReportData) -> str:
    """Return the page as HTML. Raises ConfigurationError where plotly is not installed."""
    sections = [section for make in SECTIONS if (section := make(data)) is not None]
    kinds = ",".join(
        f"{json.dumps(one.kind)}:{_asset(f'cell_{one.kind}.js').strip().rstrip(';')}"
        for one in CELL_FIGURES
    )
    script = f'"use strict";\nconst KINDS={{{kinds}}};\n' + "".join(map(_asset, _SCRIPTS))
    plotly = plotly_script()
    figures = {one.id: one.spec for section in sections for one in section.figures}
    title = f"gaitperf: {data.run.profile.id}, {data.run.environment.time}"
    return Template(_asset("page.html")).substitute(
        policy=_policy((script, plotly.text)),
        title=escape(title),
        style=_asset("page.css"),
        many="many" if many(data) else "",
        profile=escape(data.run.profile.id),
        links="".join(f'<li><a href="#{one.id}">{escape(one.title)}</a></li>' for one in sections),
        sections="".join(map(_section, sections)),
        figures=_json(figures),
        cells=_json(_cells(data)),
        plotly=plotly.packed,
        script=script,
    )


def require_plotly() -> None:
    """Raise ConfigurationError, before any work is done, where a page could not be made."""
    from importlib.util import find_spec  # noqa: PLC0415 - only where a page is asked for

    if find_spec("plotly") is None:
        raise ConfigurationError(
            "a report needs plotly, which is not installed: pip install 'pytest-gaitperf[report]'"
        )


class PlotlyScript(NamedTuple):
    """plotly.js, and the same gzipped in base64, which is less than half as long."""

    text: str
    packed: str


@lru_cache(maxsize=1)
def plotly_script() -> PlotlyScript:
    """Return plotly.js. Raises ConfigurationError where plotly is not installed."""
    require_plotly()
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - an extra, and slow

    text = str(get_plotlyjs())
    return PlotlyScript(text, base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


def _cells(data: ReportData) -> dict[str, object]:
    """Return the values of the cells' figures, by cell and kind."""
    return {
        cell.id: cells.detail(cell)
        | {
            "figures": {
                one.kind: values
                for one in CELL_FIGURES
                if (values := one.values(data, cell)) is not None
            },
        }
        for cell in data.run.cells
    }


def _section(section: Section) -> str:
    return (
        f'<section id="{section.id}" aria-labelledby="{section.id}-title">'
        f'<h2 id="{section.id}-title">{escape(section.title)}</h2>'
        f"{section.html}{''.join(map(_figure, section.figures))}</section>\n"
    )


def _figure(figure: Figure) -> str:
    return (
        f'<figure id="{figure.id}"><h3>{escape(figure.title)}</h3>'
        f'<div class="plot" data-figure="{figure.id}" role="img" '
        f'style="height:{figure.height_px}px" aria-label="{escape(figure.title)}" '
        f'aria-describedby="{figure.id}-text"></div>'
        f'<figcaption id="{figure.id}-text">{escape(figure.description)}</figcaption>'
        f"<details><summary>The numbers of this figure</summary>"
        f"{table_html(figure.table)}</details></figure>"
    )


def _json(value: object) -> str:
    """Return JSON that no script element can mistake for its end or for a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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


def _asset(name: str) -> str:
    return files("pytest_gaitperf.report.html").joinpath("assets").joinpath(name).read_text("utf-8")
