"""What a page is made of: sections, figures with their tables, figures of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain text: the escaping is done when it is written.

    The first column heads its row.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A plotly figure, with what says the same without eyes.

    ``id`` is unique in the page: letters, digits and hyphens. ``spec`` is plotly's ``{"data": ...,
    "layout": ...}`` without fonts, backgrounds and grid colours, which the page sets by its theme;
    a string ``var(--NAME)`` anywhere in it becomes the value of that colour of ``page.css``.
    Text that comes from data goes through ``figure_text``. ``description`` says in a sentence or
    two what there is to see, ``table`` has the numbers. ``height_px`` is that of the drawing.
    """

    id: str
    title: str
    spec: Mapping[str, object]
    description: str
    table: Table
    height_px: int = 380


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under one heading: ``html``, safe to be put in, then the figures."""

    id: str
    title: str
    html: str = ""
    figures: Sequence[Figure] = ()


@dataclass(frozen=True, slots=True)
class CellFigure:
    """A kind of figure that each cell has, drawn by the browser when a reader chooses the cell.

    ``values`` returns the few numbers of one cell as JSON, None where it has none.
    ``assets/cell_KIND.js`` is one JavaScript function ``(values, cell) => figure`` with ``cell``
    ``{id, model}`` and the figure ``{title, data, layout, description, headers, rows}``, texts
    plain but those inside ``data`` and ``layout``: they go through the global ``figureText``.
    """

    kind: str
    values: Callable[[ReportData, Cell], object | None]


def figure_text(text: str) -> str:
    """Return text so that plotly, which knows some tags, shows it as it is."""
    return escape(text, quote=False)


def table_html(table: Table, *, hidden_caption: bool = False) -> str:
    """Return a table in a box of its own that scrolls, reachable by keyboard."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in table.headers)
    rows = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{escape(one)}</th>' if index == 0 else f"<td>{escape(one)}</td>"
            for index, one in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    )
    caption = escape(table.caption)
    hidden = ' class="unseen"' if hidden_caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption{hidden}>{caption}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
