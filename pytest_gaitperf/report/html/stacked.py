"""Stacked bars, one for each cell: what its time and its power are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.data import Figure, Section, Table, figure_text, shortened
from pytest_gaitperf.report.text import cell_word
from pytest_gaitperf.text import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run

PARTS = {
    "schedule": "sent late",
    "client_send": "client sends",
    "network": "network",
    "queue": "queue",
    "compute_input": "input",
    "compute_infer": "inference",
    "compute_output": "output",
    "client_receive": "client receives",
}
"""The parts of ``Measurement.time_split_s`` in the order of time, as people read them."""

MOST_BARS = 40
"""How many cells one figure shows: each of the others has its own figure."""

_SHAPES = ("", "/", ".", "x", "-", "|", "\\", "+")  # they show the parts without colour
_PATTERN = {"fillmode": "overlay", "fgcolor": "var(--paper)", "size": 6, "solidity": 0.25}
_ROW_PX = 26
_APART, _ESTIMATE = " (not in the total)", " (estimate)"


@dataclass(frozen=True, slots=True)
class _Bars:
    """One stack in each row: ``parts`` are its values by name, in the order they are stacked.

    Two groups of one figure stand one above the other in each row.
    """

    parts: Mapping[str, Sequence[float | None]]
    group: str = ""
    suffix: str = ""


def _figure(
    name: str, title: str, axis: str, rows: Sequence[str], groups: Sequence[_Bars], *, told: str
) -> Figure:
    """Return horizontal stacks, one or two in each row; ``axis`` is their unit in words."""
    names = list(dict.fromkeys(part for bars in groups for part in bars.parts))
    labels = [figure_text(row) for row in rows]
    columns = [
        (names.index(part), part + bars.suffix, bars.group, values)
        for bars in groups
        for part, values in bars.parts.items()
    ]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": figure_text(column),
            "y": labels,
            "x": values,
            "offsetgroup": group,
            "marker": {
                "color": f"var(--series-{place % 8 + 1})",
                "pattern": _PATTERN | {"shape": _SHAPES[place % len(_SHAPES)]},
            },
            "hovertemplate": "%{y}: %{x:.4g}<extra>%{fullData.name}</extra>",
        }
        for place, column, group, values in columns
    ]
    ticks = {"tickvals": labels, "ticktext": [figure_text(shortened(row)) for row in rows]}
    layout = {
        "barmode": "stack",
        "bargap": 0.25,
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "type": "category", **ticks},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "margin": {"l": 10, "r": 16, "t": 70, "b": 48},
    }
    table = Table(
        f"{title}, in {axis}",
        ("cell", *(column for _, column, _, _ in columns)),
        [
            (row, *(_text(values[index]) for *_, values in columns))
            for index, row in enumerate(rows)
        ],
    )
    height_px = 160 + len(rows) * len(groups) * _ROW_PX
    return Figure(name, title, {"data": data, "layout": layout}, told, table, height_px)


def _drawn(
    run: Run, known: Sequence[tuple[Cell, Measurement]]
) -> tuple[Sequence[tuple[Cell, Measurement]], str]:
    """Return the cells that a figure has room for, and a sentence on those left out.

    Those with another word than pass come first.
    """
    if len(known) <= MOST_BARS:
        return known, ""
    doubtful = [cell.id for cell, _ in known if cell_word(run, cell) != "pass"]
    names = dict.fromkeys([*doubtful, *(cell.id for cell, _ in known)])
    chosen = set(list(names)[:MOST_BARS])
    return [one for one in known if one[0].id in chosen], (
        f" {MOST_BARS} of {len(known)} cells, those with a verdict other than pass first; each of "
        "the others has this figure among its own."
    )


def time_split(data: ReportData) -> Section | None:
    """Return the mean time of a request in each cell, by what it went to."""
    known = [(cell, found) for cell, found in data.measured if found.time_split_s]
    if not known:
        return None
    cells, left_out = _drawn(data.run, known)
    parts = {
        title: [found.time_split_s.get(name, 0.0) * 1e3 for _, found in cells]
        for name, title in PARTS.items()
        if any(found.time_split_s.get(name) for _, found in cells)
    }
    figure = _figure(
        "time-split",
        "Time of a request, by what it went to",
        "ms per request",
        [cell.id for cell, _ in cells],
        [_Bars(parts)],
        told="One bar for each cell, as long as the mean time of a request: what the server's "
        "statistics call queue, input, inference and output, what the client took to send and to "
        "receive, and as network what is left." + left_out,
    )
    return Section("time", "Where the time goes", figures=(figure,))


def inferences(found: Measurement) -> float:
    """Return the inferences of the measured span, 0 where they are not known."""
    rate = found.metrics.get("throughput")
    return rate.value * found.duration_s if rate is not None else 0.0


def rails(data: ReportData) -> Section | None:
    """Return the mean power and the energy per inference of each cell, by rail."""
    known = [
        (cell, found)
        for cell, found in data.measured
        if found.rails_j and found.duration_s > 0 and inferences(found) > 0
    ]
    if not known:
        return None
    cells, left_out = _drawn(data.run, known)
    estimate = _ESTIMATE if any(found.energy_estimated for _, found in cells) else ""
    told = "One bar for each cell, made of the rails that add up to the total."
    if any(set(found.rails_j) - set(found.energy_rails) for _, found in cells):
        told += (
            " The second bar has the rails that are no part of it: most of them hang behind one "
            "that is, and would be counted twice."
        )
    if estimate:
        told += " No sensor stands behind an estimate."
    factors = {
        ("power", "Mean power", "W"): [1 / found.duration_s for _, found in cells],
        ("energy", "Energy per inference", "mJ per inference"): [
            1e3 / inferences(found) for _, found in cells
        ],
    }
    figures = [
        _figure(
            f"rails-{name}",
            f"{title} by rail{estimate}",
            f"{unit}{estimate}",
            [cell.id for cell, _ in cells],
            _rail_bars(cells, values, estimate),
            told=told + left_out,
        )
        for (name, title, unit), values in factors.items()
    ]
    return Section("rails", f"Power by rail{estimate}", figures=figures)


def _rail_bars(
    cells: Sequence[tuple[Cell, Measurement]], factors: Sequence[float], estimate: str
) -> list[_Bars]:
    """Return the joules of each cell's rails, times its factor: the total's, and those apart."""
    groups = []
    for inside in (True, False):
        names = dict.fromkeys(
            rail
            for _, found in cells
            for rail in found.rails_j
            if (rail in found.energy_rails) is inside
        )
        parts = {
            rail: [
                found.rails_j[rail] * factor
                if rail in found.rails_j and (rail in found.energy_rails) is inside
                else None
                for (_, found), factor in zip(cells, factors, strict=True)
            ]
            for rail in names
        }
        if parts:
            told = ("" if inside else _APART) + ("" if "estimate" in parts else estimate)
            groups.append(_Bars(parts, "total" if inside else "apart", told))
    return groups


def _text(value: float | None) -> str:
    return "" if value is None else number(value)
