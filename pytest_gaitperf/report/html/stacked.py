"""Stacked bars, one for each cell: what its time or its power is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.section import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.report.schema import Cell

MOST_BARS = 40
"""How many cells one figure shows: of the others, each has its own figure."""

PATTERNS = ("", "/", ".", "x", "-", "|", "\\", "+")
"""What tells the parts apart without colour, in plotly's words."""

_ROW_PX = 26
_LONGEST_NAME = 30


@dataclass(frozen=True, slots=True)
class Bars:
    """One stack in each row: ``parts`` are its values by name, in the order they are stacked.

    Two groups of one figure stand one above the other in each row.
    """

    parts: Mapping[str, Sequence[float | None]]
    group: str = ""
    suffix: str = ""


def spec(rows: Sequence[str], groups: Sequence[Bars], axis: str) -> dict[str, object]:
    """Return the figure of horizontal stacks; ``axis`` is its title, with the unit."""
    names = list(dict.fromkeys(name for bars in groups for name in bars.parts))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": figure_text(name + bars.suffix),
            "y": [figure_text(row) for row in rows],
            "x": values,
            "offsetgroup": bars.group,
            "marker": {
                "color": f"var(--series-{names.index(name) % 8 + 1})",
                "pattern": {
                    "shape": PATTERNS[names.index(name) % len(PATTERNS)],
                    "fillmode": "overlay",
                    "fgcolor": "var(--paper)",
                    "size": 6,
                    "solidity": 0.25,
                },
            },
            "hovertemplate": "%{y}: %{x:.4g}<extra>%{fullData.name}</extra>",
        }
        for bars in groups
        for name, values in bars.parts.items()
    ]
    return {
        "data": data,
        "layout": {
            "barmode": "stack",
            "bargap": 0.25,
            "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
            "yaxis": {
                "autorange": "reversed",
                "type": "category",
                "tickvals": [figure_text(row) for row in rows],
                "ticktext": [figure_text(shortened(row)) for row in rows],
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
            "margin": {"l": 10, "r": 16, "t": 70, "b": 48},
        },
    }


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name that leaves a drawing some room: its begin and its end, which says most."""
    head = longest * 2 // 5
    return name if len(name) <= longest else f"{name[:head]}...{name[head + 3 - longest :]}"


def height_px(rows: int, groups: int) -> int:
    """Return how high a figure of so many rows is drawn."""
    return 160 + rows * groups * _ROW_PX


def shown(cells: Sequence[Cell]) -> tuple[Sequence[Cell], str]:
    """Return the cells that a figure has room for, and a sentence on those left out.

    Those with a verdict other than pass come first.
    """
    if len(cells) <= MOST_BARS:
        return cells, ""
    doubtful = [cell for cell in cells if set(cell.verdicts.values()) - {"pass"}]
    ids = {cell.id for cell in doubtful}
    rest = [cell for cell in cells if cell.id not in ids]
    ids = {cell.id for cell in [*doubtful, *rest][:MOST_BARS]}
    return [cell for cell in cells if cell.id in ids], (
        f" {MOST_BARS} of {len(cells)} cells, those with a verdict other than pass first; each of "
        "the others has this figure among its own."
    )
