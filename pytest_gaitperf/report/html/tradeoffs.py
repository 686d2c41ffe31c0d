"""Cells against each other: latency, throughput and energy, and the Pareto set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.frontier import cost, pareto
from pytest_gaitperf.report.html.data import (
    ENERGY,
    LATENCY,
    THROUGHPUT,
    Figure,
    Section,
    Table,
    display,
    figure_text,
    load_text,
    metrics,
    shortened,
)
from pytest_gaitperf.text import scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MOST_MODELS = 12
_MOST_NAMED, _LONGEST_NAME = 7, 40
_DECADE, _MANY_DECADES = 10.0, 300.0
_FRAME = {
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
}


def throughput_latency(data: ReportData) -> Section | None:
    """Return one figure for each model: its cells' throughput and latency, a path per batch."""
    models: dict[str, list[Cell]] = {}
    for cell in _with(data, LATENCY, THROUGHPUT):
        models.setdefault(cell.workload.model, []).append(cell)
    drawn = dict(list(models.items())[:_MOST_MODELS])
    if not drawn:
        return None
    left = len(models) - len(drawn)
    told = f"Of {len(models)} models the first {_MOST_MODELS} are drawn." if left else ""
    figures = [
        _paths(f"throughput-latency-{number}", model, of_model)
        for number, (model, of_model) in enumerate(drawn.items(), 1)
    ]
    return Section("throughput-latency", "Throughput and latency", told, figures)


def tradeoffs(data: ReportData) -> Section | None:
    """Return the cells of all models, latency against energy and throughput, with the best."""
    figures = [
        figure for metric in (ENERGY, THROUGHPUT) if (figure := _tradeoff(data, metric)) is not None
    ]
    return Section("pareto", "The Pareto set", figures=figures) if figures else None


def _with(data: ReportData, *names: str) -> list[Cell]:
    return [cell for cell, found in data.judged if set(names) <= set(found.metrics)]


def _axis(cells: Sequence[Cell], metric: str, title: str) -> dict[str, object]:
    """Return an axis in the metric's display unit, of logarithms where it spans a decade."""
    values = [metrics(cell)[metric].value * METRICS[metric].scale for cell in cells]
    titled = {"title": {"text": f"{title} ({METRICS[metric].display_unit})"}}
    if min(values) > 0 and max(values) > _DECADE * min(values):
        powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
        # plotly's own ticks between the powers are bare digits, which nobody can read.
        digits = (1, 2, 5) if max(values) < _MANY_DECADES * min(values) else (1,)
        ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
        return {**titled, "type": "log", "tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]}
    return {**titled, "rangemode": "tozero"}


def _paths(name: str, model: str, cells: Sequence[Cell]) -> Figure:
    """Return the paths of one model: each joins the cells of a batch and what it holds by load."""
    batches: dict[str, list[Cell]] = {}
    order = sorted(cells, key=lambda one: (one.workload.batch_size, _load(one)))
    for cell in order:
        load = cell.workload
        of = f"batch {load.batch_size}{load.content and f', {load.content}'}"
        batches.setdefault(of, []).append(cell)
    traces = [
        _scatter(path, (THROUGHPUT, LATENCY), batch, [one.key for one in path], number)
        | {"mode": "lines+markers" if all(one.workload.concurrency for one in path) else "markers"}
        for number, (batch, path) in enumerate(batches.items())
    ]
    return Figure(
        name,
        f"{model}: throughput and latency",
        _spec(traces, cells, {THROUGHPUT: "throughput", LATENCY: "median latency"}),
        f"Each point is a cell of {model}; a line joins those of one batch size, from the lowest "
        "concurrency to the highest. Right is more throughput, down is less latency: where a line "
        "turns upwards, more concurrency only makes requests wait.",
        Table(
            f"Throughput and latency of {model}",
            ("cell", "batch size", "load", "throughput (inf/s)", "p50 (ms)", "p99 (ms)"),
            [
                (
                    one.key,
                    str(one.workload.batch_size),
                    load_text(one.workload),
                    *_texts(one, (THROUGHPUT, LATENCY, "latency_p99")),
                )
                for path in batches.values()
                for one in path
            ],
        ),
        420,
    )


def _tradeoff(data: ReportData, metric: str) -> Figure | None:
    """Return the cells by latency and another metric, None where fewer than two have both."""
    cells = _with(data, LATENCY, metric)
    if len(cells) < 2:
        return None
    of_run = data.run.frontier
    if of_run is not None and metric in of_run.objectives:
        best, accuracy = set(of_run.cells), of_run.accuracy
    else:
        best, accuracy = _best(cells, metric), {}
    estimated = any(cell.measurement and cell.measurement.estimates(metric) for cell in cells)
    guess = " (estimate)" if estimated else ""
    word = "throughput" if metric == THROUGHPUT else "energy per inference"
    named = _named(cells, best)
    traces = [
        _scatter(own, (LATENCY, metric), name, [one.id for one in own], number)
        for number, (name, own) in enumerate(named.items())
    ]
    members = sorted(
        (cell for cell in cells if cell.id in best), key=lambda one: metrics(one)[LATENCY].value
    )
    ring = {"symbol": "circle-open", "size": 16, "color": "var(--ink)", "line": {"width": 2}}
    traces.append(
        _scatter(members, (LATENCY, metric), f"Pareto set ({len(members)})", [], 0)
        | {
            # With accuracy as a third objective, a line would join what lies at other depths.
            "mode": "markers" if accuracy else "lines+markers",
            "hoverinfo": "skip",
            "hovertemplate": None,
            "line": {"color": "var(--ink)", "dash": "dot", "width": 1.5},
            "marker": ring,
        }
    )
    objectives = f"latency, {word} and accuracy" if accuracy else f"latency and {word}"
    return Figure(
        f"pareto-{metric.partition('_')[0]}",
        f"Latency and {word}{guess}",
        _spec(traces, cells, {LATENCY: "median latency", metric: word + guess}),
        f"Each point is a cell. Ringed: {len(members)} of {len(cells)}, those that no other is "
        f"sure to beat in {objectives}. Left is faster, "
        + ("up is more throughput." if metric == THROUGHPUT else "down is thriftier.")
        + (" The energy is an estimate: no sensor stands behind it." if guess else ""),
        Table(
            f"The Pareto set by {objectives}{guess}",
            ("cell", "p50 (ms)", f"{word}{guess} ({METRICS[metric].display_unit})")
            + (("accuracy",) if accuracy else ()),
            [
                (
                    one.id,
                    *_texts(one, (LATENCY, metric)),
                    *((f"{accuracy.get(one.workload.model, math.nan):g}",) if accuracy else ()),
                )
                for one in members
            ],
        ),
        400 + 24 * len(traces),
    )


def _named(cells: Sequence[Cell], best: set[str]) -> Mapping[str, Sequence[Cell]]:
    """Return the cells by model, those of the Pareto set first; of many models the rest as one."""
    models: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda one: one.id not in best):
        models.setdefault(cell.workload.model, []).append(cell)
    if len(models) <= _MOST_NAMED + 1:
        return models
    found = list(models.items())
    rest = [cell for _, own in found[_MOST_NAMED:] for cell in own]
    return dict(found[:_MOST_NAMED]) | {f"{len(found) - _MOST_NAMED} other models": rest}


def _best(cells: Sequence[Cell], metric: str) -> set[str]:
    """Return the ids of the cells that no other is sure to beat in latency and this metric."""
    costs = [
        [cost(metrics(cell)[name], METRICS[name].direction) for name in (LATENCY, metric)]
        for cell in cells
    ]
    return {cells[index].id for index in pareto(costs)}


def _scatter(
    cells: Sequence[Cell], axes: tuple[str, str], name: str, texts: Sequence[str], number: int
) -> dict[str, object]:
    """Return cells as points, by the metrics of the two axes; ``number`` says colour and shape."""
    x, y = axes
    titles = {THROUGHPUT: "", LATENCY: "p50 ", ENERGY: ""}
    hover = [
        f"{titles[metric]}%{{{axis}:.4g}} {METRICS[metric].display_unit}"
        for axis, metric in zip("xy", axes, strict=True)
    ]
    colour = f"var(--series-{number % 8 + 1})"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": figure_text(shortened(name, _LONGEST_NAME)),
        "x": [display(x, metrics(one)[x].value) for one in cells],
        "y": [display(y, metrics(one)[y].value) for one in cells],
        "text": list(map(figure_text, texts)),
        "hovertemplate": f"%{{text}}: {', '.join(hover)}<extra></extra>",
        "line": {"color": colour, "dash": _DASHES[number % len(_DASHES)], "width": 2},
        "marker": {"color": colour, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 9},
    }


def _spec(
    traces: Sequence[object], cells: Sequence[Cell], titles: Mapping[str, str]
) -> dict[str, object]:
    """Return a figure of these traces; ``titles`` are those of its two axes, by metric."""
    x, y = (_axis(cells, metric, title) for metric, title in titles.items())
    return {"data": traces, "layout": {"xaxis": x, "yaxis": y, **_FRAME}}


def _texts(cell: Cell, names: Iterable[str]) -> list[str]:
    found = metrics(cell)
    return [scaled(name, found[name].value) if name in found else "" for name in names]


def _load(cell: Cell) -> float:
    load = cell.workload
    return load.concurrency or load.request_rate or load.subjects
