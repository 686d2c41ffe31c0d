"""Heat maps of batch size x concurrency, as tables; other loads as one table."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.banner import cell_link
from pytest_gaitperf.report.html.section import Section
from pytest_gaitperf.report.html.status import (
    FAULTS,
    GOOD,
    difference,
    heading,
    reference,
    status,
    verdict,
)
from pytest_gaitperf.report.text import count, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

_MAPPED = ("throughput", "latency_p99", "energy_per_inference")
_STEPS = 6
_MOST_OPEN = 4
# A change smaller than this is not worth a colour: no tolerance is so small.
_EVEN = 0.01


class _Group(NamedTuple):
    """The cells that one set of maps shows: they differ in batch size and concurrency alone."""

    model: str
    version: str
    protocol: str
    transport: str

    @property
    def title(self) -> str:
        named = [
            one for one in (self.protocol, self.transport) if one not in ("http", "inline", "")
        ]
        version = [f"version {self.version}"] if self.version else []
        return ", ".join([self.model, *version, *named])


def _group(cell: Cell) -> _Group:
    load = cell.workload
    return _Group(load.model, load.version, load.protocol, load.transport)


def section(data: ReportData) -> Section | None:
    """Return the maps of every model, those with a regression opened."""
    closed = [cell for cell in data.run.cells if cell.workload.concurrency]
    others = [cell for cell in data.run.cells if not cell.workload.concurrency]
    if not data.run.cells:
        return None
    groups = [(key, list(cells)) for key, cells in groupby(sorted(closed, key=_group), key=_group)]
    parts = [_legend(data)] if groups else []
    # Those with a fault first: they are opened, as far as a page stays quick.
    faulty = [group for group, cells in groups if any(status(cell) in FAULTS for cell in cells)]
    shown = [*faulty, *(group for group, _ in groups if group not in faulty)][:_MOST_OPEN]
    for group, cells in groups:
        opened = " open" if group in shown else ""
        maps = "".join(_map(data, group, cells, metric) for metric in _MAPPED)
        parts.append(
            f"<details{opened}><summary>{escape(group.title)}, {count(len(cells), 'cell')}"
            "</summary>"
            f'<div class="maps">{maps}</div></details>'
        )
    if others:
        parts.append(_other_loads(data, others))
    return Section("maps", "Batch size and concurrency", "".join(parts))


def _legend(data: ReportData) -> str:
    steps = "".join(f'<span class="h{step}">{step + 1}</span>' for step in range(_STEPS))
    return (
        '<div class="legend"><p>Background: <span class="scale" role="img" aria-label='
        f'"from 1, the lowest value of a map, to {_STEPS}, the highest">{steps}</span> from the '
        "lowest value of a map to its highest. Under the value: its difference from "
        f"{escape(reference(data))}, "
        '<span class="chip bad">worse</span> <span class="chip good">better</span> '
        '<span class="chip even">less than 1 %</span>; (!) marks a verdict that is not good.</p>'
        "</div>"
    )


def _map(data: ReportData, group: _Group, cells: Sequence[Cell], metric: str) -> str:
    """Return one metric's map, with empty places where a cell was not in the grid."""
    values = [cell.metrics[metric].value for cell in cells if metric in cell.metrics]
    title = heading(data, metric)
    if not values:
        why = next((cell.absent[metric] for cell in cells if metric in cell.absent), "")
        name = title.partition(",")[0]
        return f'<p class="nothing">No {escape(name)}{": " if why else ""}{escape(why)}</p>'
    place = {(cell.workload.batch_size, cell.workload.concurrency): cell for cell in cells}
    batches = sorted({batch for batch, _ in place})
    columns = sorted({concurrency for _, concurrency in place})
    span = min(values), max(values)
    head = "".join(f'<th scope="col">c{one}</th>' for one in columns)
    rows = "".join(
        f'<tr><th scope="row">b{batch}</th>'
        + "".join(_place(place.get((batch, column)), metric, span) for column in columns)
        + "</tr>"
        for batch in batches
    )
    name = f"{group.title}: {title}"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f'<table class="heat"><caption>{escape(title)}<span class="unseen"> of '
        f"{escape(group.title)}, by batch size (rows) and concurrency (columns)</span></caption>"
        f'<thead><tr><th scope="col">batch</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _place(cell: Cell | None, metric: str, span: tuple[float, float]) -> str:
    if cell is None:
        return "<td></td>"
    estimate = cell.metrics.get(metric)
    if estimate is None or cell.unmeasured:
        return (
            f"<td>{cell_link(cell, '(!) ' + status(cell) if cell.unmeasured else 'unknown')}</td>"
        )
    mark = "" if verdict(cell, metric) in ("", *GOOD) else " (!)"
    return (
        f'<td class="h{_step(estimate.value, span)}">'
        f"{cell_link(cell, scaled(metric, estimate.value) + mark)}"
        f"{difference_chip(cell, metric)}</td>"
    )


def difference_chip(cell: Cell, metric: str) -> str:
    """Return the change from the baseline, coloured by whether it is for the worse."""
    text = difference(cell, metric)
    if not text:
        return ""
    change = cell.judgements[metric].change or 0.0
    worse = change * METRICS[metric].worse_sign
    kind = "even" if abs(change) < _EVEN else "bad" if worse > 0 else "good"
    return f' <span class="chip {kind}">{escape(text)}</span>'


def _step(value: float, span: tuple[float, float]) -> int:
    """Return where a value lies between the least and the greatest, on a log scale, from 0."""
    low, high = span
    if not 0 < low < high:
        return 0
    share = math.log(value / low) / math.log(high / low)
    return min(int(share * _STEPS), _STEPS - 1)


def _other_loads(data: ReportData, cells: Sequence[Cell]) -> str:
    metrics = [m for m in ("subjects", *_MAPPED) if any(m in cell.metrics for cell in cells)]
    head = "".join(f'<th scope="col">{escape(heading(data, one))}</th>' for one in metrics)
    rows = "".join(
        f'<tr><th scope="row">{cell_link(cell)}</th><td>{escape(_load(cell))}</td>'
        + "".join(_value(cell, metric) for metric in metrics)
        + "</tr>"
        for cell in cells
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Other loads"><table>'
        "<caption>Rates, subjects and searches: loads that have no concurrency</caption>"
        f'<thead><tr><th scope="col">cell</th><th scope="col">load</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _value(cell: Cell, metric: str) -> str:
    estimate = cell.metrics.get(metric)
    if estimate is None or cell.unmeasured:
        return f"<td>{escape(status(cell)) if cell.unmeasured else ''}</td>"
    return f"<td>{scaled(metric, estimate.value)}{difference_chip(cell, metric)}</td>"


def _load(cell: Cell) -> str:
    load = cell.workload
    if load.most_subjects:
        return f"the most subjects at {load.frame_rate:g} inferences/s each"
    if load.subjects:
        return f"{count(load.subjects, 'subject')} at {load.frame_rate:g} inferences/s each"
    return f"{load.request_rate:g} requests/s, {load.arrival}"
