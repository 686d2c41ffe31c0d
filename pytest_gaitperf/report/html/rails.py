"""Which rail the power goes to, and which rails are no part of the total."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.compact import short
from pytest_gaitperf.report.html.section import CellFigure, Figure, Section, Table
from pytest_gaitperf.report.html.stacked import Bars, height_px, shown, spec
from pytest_gaitperf.report.text import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

_APART, _ESTIMATE = " (not in the total)", " (estimate)"


def inferences(cell: Cell) -> float:
    """Return the inferences of the measured span, 0 where they are not known."""
    rate = cell.metrics.get("throughput")
    return rate.value * cell.duration_s if rate is not None else 0.0


def section(data: ReportData) -> Section | None:
    """Return the mean power and the energy per inference of each cell, by rail."""
    known = [
        cell
        for cell in data.run.cells
        if cell.rails_j and cell.duration_s > 0 and inferences(cell) > 0
    ]
    if not known:
        return None
    cells, left_out = shown(known)
    estimate = _ESTIMATE if any(cell.energy_is_estimated for cell in cells) else ""
    apart = any(set(cell.rails_j) - set(cell.energy_rails) for cell in cells)
    told = "One bar for each cell, made of the rails that add up to the total." + (
        " The second bar has the rails that are no part of it: most of them hang behind one that "
        "is, and would be counted twice."
        if apart
        else ""
    )
    guess = " No sensor stands behind an estimate." if estimate else ""
    return Section(
        "rails",
        f"Power by rail{estimate}",
        figures=(
            _figure(
                "rails-power",
                f"Mean power by rail{estimate}",
                f"W{estimate}",
                cells,
                [1 / cell.duration_s for cell in cells],
                told + guess + left_out,
            ),
            _figure(
                "rails-energy",
                f"Energy per inference by rail{estimate}",
                f"mJ per inference{estimate}",
                cells,
                [1e3 / inferences(cell) for cell in cells],
                told + guess + left_out,
            ),
        ),
    )


def _figure(  # noqa: PLR0917 - one caller
    name: str,
    title: str,
    axis: str,
    cells: Sequence[Cell],
    factors: Sequence[float],
    description: str,
) -> Figure:
    """Return the joules of each cell's rails, times its factor."""
    estimate = _ESTIMATE if any(cell.energy_is_estimated for cell in cells) else ""
    groups = []
    for inside in (True, False):
        rails = dict.fromkeys(
            rail for cell in cells for rail in cell.rails_j if (rail in cell.energy_rails) is inside
        )
        parts = {
            rail: [
                cell.rails_j[rail] * factor
                if rail in cell.rails_j and (rail in cell.energy_rails) is inside
                else None
                for cell, factor in zip(cells, factors, strict=True)
            ]
            for rail in rails
        }
        if parts:
            told = ("" if inside else _APART) + ("" if "estimate" in parts else estimate)
            groups.append(Bars(parts, "total" if inside else "apart", told))
    columns = [
        (rail + group.suffix, values) for group in groups for rail, values in group.parts.items()
    ]
    return Figure(
        name,
        title,
        spec([cell.id for cell in cells], groups, axis),
        description,
        Table(
            f"{title}, in {axis}",
            ("cell", *(rail for rail, _ in columns)),
            [
                (
                    cell.id,
                    *(
                        "" if (value := column[index]) is None else number(value)
                        for _, column in columns
                    ),
                )
                for index, cell in enumerate(cells)
            ],
        ),
        height_px(len(cells), len(groups)),
    )


def values(_data: ReportData, cell: Cell) -> object | None:
    """Return the rails of a cell: ``rails`` as [name, W, in the total: 1 or 0].

    ``mj_per_w`` is what one watt of this cell is in mJ per inference, ``estimate`` 1 or 0.
    """
    done = inferences(cell)
    if not cell.rails_j or cell.duration_s <= 0 or done <= 0:
        return None
    return {
        "rails": [
            [rail, short(joules / cell.duration_s), int(rail in cell.energy_rails)]
            for rail, joules in cell.rails_j.items()
        ],
        "mj_per_w": short(cell.duration_s / done * 1e3, 6),
        "estimate": int(cell.energy_is_estimated),
    }


CELL_FIGURE = CellFigure("rails", values)
