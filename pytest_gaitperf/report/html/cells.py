"""The table of all cells, which the reader filters and sorts, and what a chosen one shows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.banner import cell_link
from pytest_gaitperf.report.html.heat import difference_chip
from pytest_gaitperf.report.html.section import Section
from pytest_gaitperf.report.html.status import (
    ORDER,
    SHOWN,
    css_class,
    heading,
    reference,
    status,
    verdict,
    worsening,
)
from pytest_gaitperf.report.text import percent, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell


def section(data: ReportData) -> Section | None:
    """Return the table of all cells, in the order of the run."""
    cells = data.run.cells
    if not cells:
        return None
    metrics = [name for name in SHOWN if any(name in cell.metrics for cell in cells)]
    known = {status(cell) for cell in cells}
    models = dict.fromkeys(cell.workload.model for cell in cells)
    heads = ["cell", "verdict", *(heading(data, one) for one in metrics), "worst change"]
    head = "".join(
        f'<th scope="col"><button type="button" class="sort">{escape(one)}</button></th>'
        for one in heads
    )
    rows = "".join(_row(cell, metrics) for cell in cells)
    return Section(
        "cells",
        "All cells",
        '<div class="filter" role="search" aria-label="Filter the cells">'
        '<label>Text <input type="search" id="filter-text" autocomplete="off"></label>'
        f"{_choice('filter-model', 'Model', models)}"
        f"{_choice('filter-verdict', 'Verdict', [one for one in ORDER if one in known])}"
        f'<p id="filter-count" role="status" aria-live="polite">{len(cells)} of {len(cells)} cells'
        "</p></div>"
        '<div class="scroll tall" role="region" tabindex="0" aria-label="All cells">'
        '<table id="cells-table"><caption class="unseen">All cells; the buttons in the headers '
        f"sort. Changes are from {escape(reference(data))}.</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>",
    )


def _choice(name: str, label: str, values: Iterable[str]) -> str:
    options = "".join(
        f'<option value="{escape(value)}">{escape(value)}</option>' for value in values
    )
    return (
        f'<label>{label} <select id="{name}"><option value="">all</option>{options}</select>'
        "</label>"
    )


def _row(cell: Cell, metrics: Sequence[str]) -> str:
    """Return a cell's row; ``data-v`` has what a column is sorted by where text would not do."""
    word = status(cell)
    parts = [
        f'<tr data-model="{escape(cell.workload.model)}" data-verdict="{word}">',
        f'<th scope="row">{cell_link(cell)}</th><td data-v="{ORDER.index(word)}">',
        f'<span class="chip {css_class(word)}">{word}</span></td>',
    ]
    for metric in metrics:
        estimate = cell.metrics.get(metric)
        parts.append(
            "<td></td>"
            if estimate is None
            else f'<td data-v="{estimate.value:.6g}">{scaled(metric, estimate.value)}'
            f"{difference_chip(cell, metric)}</td>"
        )
    worst = max(
        (name for name in cell.judgements if name in METRICS and cell.judgements[name].change),
        key=lambda name: worsening(name, cell.judgements[name]),
        default=None,
    )
    if worst is None:
        parts.append("<td></td>")
    else:
        judgement = cell.judgements[worst]
        parts.append(
            f'<td data-v="{worsening(worst, judgement):.6g}">{escape(cell.title(worst))} '
            f"{escape(percent(judgement.change))}</td>"
        )
    return "".join(parts) + "</tr>"


def detail(cell: Cell) -> dict[str, object]:
    """Return what a chosen cell shows beside its figures, as texts: compact, since all have it."""
    facts = [("verdict", status(cell))]
    if cell.unmeasured:
        facts.append(("why", cell.unmeasured))
    if cell.windows:
        windows = f"{cell.windows} windows of {cell.window_s:.3g} s"
        facts.append(("measured", f"{windows}, {cell.requests} requests, {cell.failures} failed"))
    if cell.client_load is not None:
        facts.append(("client's CPU load", f"{cell.client_load:.0%} of a core"))
    above = cell.energy_above_idle_per_inference_j
    if above is not None:
        scale = METRICS["energy_per_inference"]
        estimate = " (estimate)" if cell.energy_is_estimated else ""
        facts.append((f"energy above idle{estimate}", f"{above * scale.scale:.4g} mJ/inference"))
    if cell.model_change:
        facts.append(("model", cell.model_change))
    if cell.behind:
        facts.append(("behind", cell.behind))
    facts += [("note", note) for note in cell.notes]
    facts += [("limit", f"{one.limit}: {one.absent or one.state}") for one in cell.limits]
    return {
        "model": cell.workload.model,
        "facts": facts,
        "metrics": [_metric(cell, name) for name in METRICS if name in cell.metrics],
    }


def _metric(cell: Cell, name: str) -> list[str]:
    """Return a row: metric, value, 95 % interval, change, verdict and its reason."""
    estimate, judgement = cell.metrics[name], cell.judgements.get(name)
    interval = (
        ""
        if estimate.low is None or estimate.high is None
        else f"{scaled(name, estimate.low)} to {scaled(name, estimate.high)}"
    )
    unit = METRICS[name].display_unit
    row = [cell.title(name), f"{scaled(name, estimate.value)} {unit}", interval]
    if judgement is not None:
        row += [percent(judgement.change), verdict(cell, name), judgement.reason]
    return row
