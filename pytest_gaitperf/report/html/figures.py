"""The figures of all cells: latency against throughput and energy, and what these are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.frontier import OUTPUT_ERROR, cost, pareto
from pytest_gaitperf.report.html.data import (
    ENERGY,
    LATENCY,
    THROUGHPUT,
    Figure,
    Section,
    Table,
    common_text,
    display,
    figure_text,
    load_text,
    metrics,
    shortened,
)
from pytest_gaitperf.report.text import cell_word
from pytest_gaitperf.text import count, number, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.results import Cell, Run

    _Measured = tuple[Cell, Measurement]
    _Bar = tuple[str, str, Sequence[float | None]]

PARTS = {
    "schedule": "sent late",
    "client_send": "client sends",
    "network": "network",
    "queue": "queue",
    "compute_input": "input",
    "compute_infer": "inference",
    "compute_output": "output",
    "server_other": "rest of the server",
    "server": "server, not told apart",
    "client_receive": "client receives",
}
"""The parts of ``Measurement.time_split_s`` in the order of time, as people read them."""

MOST_BARS = 40
"""How many cells one figure shows: each of the others has its own figure."""

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SHAPES = ("", "/", ".", "x", "-", "|", "\\", "+")  # they show the parts without colour
_PATTERN = {"fillmode": "overlay", "fgcolor": "var(--paper)", "size": 6, "solidity": 0.25}
_MOST_MODELS, _MOST_NAMED, _LONGEST_NAME = 12, 7, 40
_DECADE, _MANY_DECADES = 10.0, 300.0
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
_ROW_PX = 26


# Cells against each other


def throughput_latency(data: ReportData) -> Section | None:
    """Return one figure for each model: its cells' throughput and latency, a path per batch."""
    if not (models := _by_model(_with(data, LATENCY, THROUGHPUT))):
        return None
    told = (
        "Each point is a cell; a line joins one batch size from the lowest concurrency to the "
        "highest. Where it turns upwards, more concurrency only makes requests wait."
    )
    if len(models) > _MOST_MODELS:
        told += f" Of {len(models)} models the first {_MOST_MODELS} are drawn."
    figures = [
        _paths(f"throughput-latency-{place}", model, of_model)
        for place, (model, of_model) in enumerate(list(models.items())[:_MOST_MODELS], 1)
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


def _by_model(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    models: dict[str, list[Cell]] = {}
    for cell in cells:
        models.setdefault(cell.workload.model, []).append(cell)
    return models


def _paths(name: str, model: str, cells: Sequence[Cell]) -> Figure:
    """Return the paths of one model: each joins cells of like requests by their load."""
    batches: dict[str, list[Cell]] = {}
    loads = [(one.workload.concurrency or one.workload.sends_per_s, one) for one in cells]
    for _, cell in sorted(loads, key=lambda one: (one[1].workload.batch_size, one[0])):
        load = cell.workload
        batch = ", ".join(filter(None, (f"batch {load.batch_size}", common_text(load))))
        batches.setdefault(batch, []).append(cell)
    traces = [
        _scatter(path, (THROUGHPUT, LATENCY), batch, [one.key for one in path], place)
        | {"mode": "lines+markers" if all(one.workload.concurrency for one in path) else "markers"}
        for place, (batch, path) in enumerate(batches.items())
    ]
    return Figure(
        name,
        model,
        _spec(traces, cells, {THROUGHPUT: "throughput", LATENCY: "median latency"}),
        f"{count(len(cells), 'cell')} of {model}.",
        Table(
            f"Throughput and latency of {model}",
            ("cell", "batch size", "load", "throughput (inf/s)", "p50 (ms)", "p99 (ms)"),
            [
                (
                    one.key,
                    str(batch),
                    load_text(one.workload),
                    *_texts(one, (THROUGHPUT, LATENCY, "latency_p99")),
                )
                for batch, path in batches.items()
                for one in path
            ],
        ),
        340,
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
        costs = [
            [cost(metrics(cell)[name], METRICS[name].direction) for name in (LATENCY, metric)]
            for cell in cells
        ]
        best, accuracy = {cells[index].id for index in pareto(costs)}, {}
    estimated = any(one.measurement and one.measurement.estimates(metric) for one in cells)
    guess = " (estimate)" if estimated else ""
    word = "throughput" if metric == THROUGHPUT else "energy per inference"
    traces = [
        _scatter(own, (LATENCY, metric), name, [one.id for one in own], place)
        for place, (name, own) in enumerate(_named(cells, best).items())
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
    third = "output error" if of_run and OUTPUT_ERROR in of_run.objectives else "accuracy"
    objectives = f"latency, {word} and {third}" if accuracy else f"latency and {word}"
    unit = METRICS[metric].display_unit
    headers: tuple[str, ...] = ("cell", "p50 (ms)", f"{word}{guess} ({unit})")
    rows = [(one.id, *_texts(one, (LATENCY, metric))) for one in members]
    if accuracy:
        headers += (third,)
        shares = [accuracy.get(one.workload.model, math.nan) for one in members]
        rows = [(*row, f"{share:g}") for row, share in zip(rows, shares, strict=True)]
    return Figure(
        f"pareto-{metric.partition('_')[0]}",
        f"Latency and {word}{guess}",
        _spec(traces, cells, {LATENCY: "median latency", metric: word + guess}),
        f"Each point is a cell. Ringed: {len(members)} of {len(cells)}, those that no other is "
        f"sure to beat in {objectives}. Left is faster, "
        + ("up is more throughput." if metric == THROUGHPUT else "down is thriftier.")
        + (" The energy is an estimate: no sensor stands behind it." if guess else ""),
        Table(f"The Pareto set by {objectives}{guess}", headers, rows),
        400 + 24 * len(traces),
    )


def _named(cells: Sequence[Cell], best: set[str]) -> Mapping[str, Sequence[Cell]]:
    """Return the cells by model, those of the Pareto set first; of many models the rest as one."""
    models = _by_model(sorted(cells, key=lambda one: one.id not in best))
    if len(models) <= _MOST_NAMED + 1:
        return models
    found = list(models.items())
    rest = [cell for _, own in found[_MOST_NAMED:] for cell in own]
    return dict(found[:_MOST_NAMED]) | {f"{len(found) - _MOST_NAMED} other models": rest}


def _scatter(
    cells: Sequence[Cell], axes: tuple[str, str], name: str, texts: Sequence[str], place: int
) -> dict[str, object]:
    """Return cells as points, by the metrics of the two axes; ``place`` says colour and shape."""
    x, y = axes
    hover = [
        f"{'p50 ' * (metric == LATENCY)}%{{{axis}:.4g}} {METRICS[metric].display_unit}"
        for axis, metric in zip("xy", axes, strict=True)
    ]
    colour = f"var(--series-{place % 8 + 1})"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": figure_text(shortened(name, _LONGEST_NAME)),
        "x": [display(x, metrics(one)[x].value) for one in cells],
        "y": [display(y, metrics(one)[y].value) for one in cells],
        "text": list(map(figure_text, texts)),
        "hovertemplate": f"%{{text}}: {', '.join(hover)}<extra></extra>",
        "line": {"color": colour, "dash": _DASHES[place % len(_DASHES)], "width": 2},
        "marker": {"color": colour, "symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 9},
    }


def _spec(
    traces: Sequence[object], cells: Sequence[Cell], titles: Mapping[str, str]
) -> dict[str, object]:
    """Return a figure of these traces; ``titles`` are those of its two axes, by metric."""
    x, y = (_axis(cells, metric, title) for metric, title in titles.items())
    frame = {"legend": _LEGEND, "margin": {"l": 60, "r": 20, "t": 40, "b": 50}}
    return {"data": traces, "layout": {"xaxis": x, "yaxis": y, **frame}}


def _axis(cells: Sequence[Cell], metric: str, title: str) -> dict[str, object]:
    """Return an axis in the metric's display unit, of logarithms where it spans a decade."""
    values = [metrics(cell)[metric].value * METRICS[metric].scale for cell in cells]
    titled = {"title": {"text": f"{title} ({METRICS[metric].display_unit})"}}
    least, most = min(values), max(values)
    if not 0 < _DECADE * least < most:
        return {**titled, "rangemode": "tozero"}
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    # plotly's own ticks between the powers are bare digits, which nobody can read.
    digits = (1, 2, 5) if most < _MANY_DECADES * least else (1,)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return {**titled, "type": "log", "tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]}


def _texts(cell: Cell, names: Iterable[str]) -> list[str]:
    found = metrics(cell)
    return [scaled(name, found[name].value) if name in found else "" for name in names]


# Stacked bars, one for each cell


def time_split(data: ReportData) -> Section | None:
    """Return the mean time of a request in each cell, by what it went to."""
    known = [one for one in data.measured if any(map(one[1].time_split_s.get, PARTS))]
    if not known:
        return None
    cells, left_out = _drawn(data.run, known)
    bars: list[_Bar] = [
        (title, "", [found.time_split_s.get(name, 0.0) * 1e3 for _, found in cells])
        for name, title in PARTS.items()
        if any(found.time_split_s.get(name) for _, found in cells)
    ]
    title, axis = "Time of a request, by what it went to", "ms per request"
    told = (
        "One bar for each cell, as long as the mean time of a request: what the server's "
        "statistics call queue, input, inference and output, what the client took to send and to "
        "receive, and as network what is left."
    )
    figure = _stacks("time-split", title, axis, cells, bars, told=told + left_out)
    return Section("time", "Where the time goes", figures=(figure,))


def inferences(found: Measurement) -> float:
    """Return the inferences of the measured span, 0 where they are not known."""
    rate = found.metrics.get(THROUGHPUT)
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
    guess = " (estimate)" if any(found.energy_estimated for _, found in cells) else ""
    told = "One bar for each cell, made of the rails that add up to the total."
    if any(set(found.rails_j) - set(found.energy_rails) for _, found in cells):
        told += (
            " The second bar has the rails that are no part of it: most of them hang behind one "
            "that is, and would be counted twice."
        )
    if guess:
        told += " No sensor stands behind an estimate."
    per_s = [1 / found.duration_s for _, found in cells]
    per_inference = [1e3 / inferences(found) for _, found in cells]
    figures = [
        _stacks(
            name,
            f"{title} by rail{guess}",
            f"{unit}{guess}",
            cells,
            [*_rails(cells, factors, guess, inside=True), *_rails(cells, factors, guess)],
            told=told + left_out,
        )
        for name, title, unit, factors in (
            ("rails-power", "Mean power", "W", per_s),
            ("rails-energy", "Energy per inference", "mJ per inference", per_inference),
        )
    ]
    return Section("rails", f"Power by rail{guess}", figures=figures)


def _rails(
    cells: Sequence[_Measured], factors: Sequence[float], guess: str, *, inside: bool = False
) -> list[_Bar]:
    """Return the joules of each cell's rails times its factor: the total's, or those apart."""
    found: dict[str, list[float | None]] = {}
    for place, ((_, one), factor) in enumerate(zip(cells, factors, strict=True)):
        for rail, joules in one.rails_j.items():
            if (rail in one.energy_rails) is inside:
                found.setdefault(rail, [None] * len(cells))[place] = joules * factor
    # The rail of an estimate may say so by its name.
    told = ("" if inside else " (not in the total)") + ("" if "estimate" in found else guess)
    return [(rail + told, "total" if inside else "apart", one) for rail, one in found.items()]


def _drawn(run: Run, known: Sequence[_Measured]) -> tuple[Sequence[_Measured], str]:
    """Return the cells that a figure has room for, and a sentence on those left out.

    Those with another word than pass come first.
    """
    if len(known) <= MOST_BARS:
        return known, ""
    ordered = sorted(known, key=lambda one: cell_word(run, one[0]) == "pass")
    chosen = {cell.id for cell, _ in ordered[:MOST_BARS]}
    return [one for one in known if one[0].id in chosen], (
        f" {MOST_BARS} of {len(known)} cells, those with a verdict other than pass first; each of "
        "the others has this figure among its own."
    )


def _stacks(
    name: str, title: str, axis: str, cells: Sequence[_Measured], bars: Sequence[_Bar], *, told: str
) -> Figure:
    """Return horizontal stacks, one or two in each row; ``axis`` is their unit in words.

    ``bars`` are the parts in the order they are stacked: a name, the group, of which two stand one
    above the other in each row, and a value for each cell.
    """
    rows = [cell.id for cell, _ in cells]
    labels = list(map(figure_text, rows))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": figure_text(part),
            "y": labels,
            "x": values,
            "offsetgroup": group,
            "marker": {
                "color": f"var(--series-{place % 8 + 1})",
                "pattern": _PATTERN | {"shape": _SHAPES[place % len(_SHAPES)]},
            },
            "hovertemplate": "%{y}: %{x:.4g}<extra>%{fullData.name}</extra>",
        }
        for place, (part, group, values) in enumerate(bars)
    ]
    ticks = {"tickvals": labels, "ticktext": [figure_text(shortened(row)) for row in rows]}
    layout = {
        "barmode": "stack",
        "bargap": 0.25,
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "type": "category", **ticks},
        "legend": {**_LEGEND, "traceorder": "normal"},
        "margin": {"l": 10, "r": 16, "t": 70, "b": 48},
    }
    values = zip(*(one for _, _, one in bars), strict=True)
    table = Table(
        f"{title}, in {axis}",
        ("cell", *(part for part, _, _ in bars)),
        [
            (row, *("" if value is None else number(value) for value in of_row))
            for row, of_row in zip(rows, values, strict=True)
        ],
    )
    height_px = 160 + len(rows) * len({one[1] for one in bars}) * _ROW_PX
    return Figure(name, title, {"data": data, "layout": layout}, told, table, height_px)
