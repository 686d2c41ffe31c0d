"""The figures of Embedded-Gait's two publications, of one's own runs, beside what was published.

The published numbers are those of its repository and texts: 42 to 188 subjects of 25 inferences a
second each and 6.31 to 9.71 mJ per inference on a Jetson Orin Nano and an AGX Orin (2025), up to
4.2 times faster with up to 5.4 times less energy than a baseline deployment (2022). Its meter reads
channel 1 of the sensor 1-0040: VDD_IN on the Orin Nano, VDD_GPU_SOC on the AGX Orin.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import geometric_mean
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.data import (
    ENERGY,
    LATENCY,
    Figure,
    Section,
    Table,
    display,
    figure_text,
    metrics,
    short,
    shortened,
)
from pytest_gaitperf.report.relative import COSTS, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_gaitperf.results import Cell, Run

    _Series = Mapping[str, Sequence[tuple[str, float]]]

RAILS = {"Jetson Orin Nano": "VDD_IN", "Jetson AGX Orin": "VDD_GPU_SOC"}
"""The rail that the published energy is of, by module."""

_BOARDS = "Jetson Orin Nano and AGX Orin, 2025"


@dataclass(frozen=True, slots=True)
class Published:
    """A published range, in the unit that is shown: drawn as two lines."""

    low: float
    high: float
    where: str


@dataclass(frozen=True, slots=True)
class Paper:
    """What one figure needs: the suite's file, pytest's options, and what draws it of a run.

    Without ``draw`` the page has the figure already, under the heading ``there``.
    """

    title: str
    suite: str
    options: tuple[str, ...] = ()
    draw: Callable[[Run], Sequence[Figure]] = lambda _run: ()
    there: str = ""


def section(name: str, run: Run) -> Section:
    """Return the part of the page of one paper's figure."""
    paper = PAPERS[name]
    module = run.profile.fields.get("module", "")
    said = [f"{paper.title}."]
    if module not in RAILS:
        said.append(
            f"Measured on {run.profile.id}, which is not a board of the publications: compare the "
            "shape, not the level."
        )
    if paper.there:
        said.append(f"The figure is under the heading {paper.there!r}.")
    rails = run.environment.power.total_rails
    if any(ENERGY in metrics(cell) for cell in run.cells):
        told = RAILS.get(module, "VDD_IN or VDD_GPU_SOC")
        agree = "the same" if tuple(rails) == (told,) else "not the same"
        ours = "an estimate" if run.environment.power.estimated else f"of {', '.join(rails)}"
        said.append(f"Energy is {ours}; published is that of {told}: {agree}.")
    elif run.environment.power.absent:
        said.append(f"There is no energy: {run.environment.power.absent}.")
    figures = paper.draw(run)
    if not figures and not paper.there:
        said.append("Nothing was measured that it shows.")
    return Section("paper", f"Paper: {name}", " ".join(said), figures)


def _energy(run: Run) -> Sequence[Figure]:
    return _of_metric(run, ENERGY, "energy-batch", "Energy over the batch size", lines=True)


def _subjects(run: Run) -> Sequence[Figure]:
    run = replace(run, cells=tuple(cell for cell in run.cells if cell.workload.search))
    return (
        *_of_metric(
            run,
            "subjects",
            "subjects",
            "Subjects served in real time",
            Published(42, 188, _BOARDS),
        ),
        *_of_metric(
            run,
            ENERGY,
            "subjects-energy",
            "Energy at the most subjects",
            Published(6.31, 9.71, _BOARDS),
        ),
    )


def _variants(run: Run) -> Sequence[Figure]:
    return tuple(
        figure
        for metric, name, title in (
            (LATENCY, "variants-latency", "Median latency by precision and pruning"),
            (ENERGY, "variants-energy", "Energy by precision and pruning"),
        )
        for figure in _of_metric(run, metric, name, title)
    )


def _ratios(run: Run) -> Sequence[Figure]:
    found = []
    for column, published in (
        ("faster", Published(1.0, 4.2, "at most, 2022")),
        ("less_energy", Published(1.0, 5.4, "at most, 2022")),
    ):
        known = ratios(run, column)
        models: dict[str, list[float]] = {}
        for cell in run.cells:
            if cell.id in known:
                models.setdefault(cell.workload.model, []).append(known[cell.id])
        if models:
            means = [(model, short(geometric_mean(each), 3)) for model, each in models.items()]
            words = COSTS[column][1]
            title = f"Times {words} than {run.relative_to}"
            found.append(_figure(f"ratios-{column}", title, {words: means}, "times", published))
    return tuple(found)


PAPERS: Mapping[str, Paper] = {
    "sweep": Paper(
        "Throughput, latency and energy over batch size and concurrency, 9 x 9",
        "test_grid.py",
        there="Batch size and concurrency",
    ),
    "energy": Paper(
        "Energy per inference over the batch size, 8 requests in flight",
        "test_grid.py",
        draw=_energy,
    ),
    "subjects": Paper(
        "How many subjects each model serves in real time, and for how many millijoules",
        "test_subjects.py",
        draw=_subjects,
    ),
    "variants": Paper(
        "Precision, batch size and pruning",
        "test_grid.py",
        draw=_variants,
    ),
    "pareto": Paper(
        "The cells that no other beats in latency, energy and accuracy",
        "test_grid.py",
        there="The Pareto set",
    ),
    "ratios": Paper(
        "How many times faster, with how many times less energy, than one deployment",
        "test_grid.py",
        ("--gaitperf-relative-to=3D_fp32_0_batchd",),
        draw=_ratios,
    ),
}
"""The figures by the name that ``gaitperf paper`` takes."""


def _of_metric(
    run: Run,
    metric: str,
    name: str,
    title: str,
    published: Published | None = None,
    *,
    lines: bool = False,
) -> Sequence[Figure]:
    """Return a figure of one metric: bars by model and load, or lines over the batch size."""
    cells = [cell for cell in run.cells if cell.unmeasured is None and metric in metrics(cell)]
    if not cells:
        return ()
    series: dict[str, list[tuple[str, float]]] = {}
    for cell in cells:
        model, load = cell.workload.model, cell.workload.load
        place = (model, str(cell.workload.batch_size)) if lines else (load, model)
        value = float(display(metric, metrics(cell)[metric].value))
        series.setdefault(place[0], []).append((place[1], value))
    unit = METRICS[metric].display_unit + _estimate(cells, metric)
    return (_figure(name, title, series, unit, published, lines=lines),)


def _estimate(cells: Sequence[Cell], metric: str) -> str:
    estimated = any(cell.measurement and cell.measurement.estimates(metric) for cell in cells)
    return " (estimate)" if estimated else ""


def _figure(
    name: str,
    title: str,
    series: _Series,
    unit: str,
    published: Published | None = None,
    *,
    lines: bool = False,
) -> Figure:
    traces = [
        {
            "type": "scatter" if lines else "bar",
            "mode": "lines+markers",
            "name": figure_text(shortened(label)),
            "x": [figure_text(shortened(x)) for x, _ in points],
            "y": [y for _, y in points],
            "marker": {"color": f"var(--series-{place % 8 + 1})"},
            "line": {"color": f"var(--series-{place % 8 + 1})", "width": 2},
        }
        for place, (label, points) in enumerate(series.items())
    ]
    if not lines:
        for trace in traces:
            del trace["mode"], trace["line"]
    rows = [[x, label, f"{y:g}"] for label, points in series.items() for x, y in points]
    told = f"Ours by {'batch size' if lines else 'model'}, in {unit}."
    layout: dict[str, object] = {
        "barmode": "group",
        "xaxis": {"title": {"text": "batch size" if lines else ""}, "type": "category"},
        "yaxis": {"title": {"text": unit}, "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 60, "r": 20, "t": 40, "b": 90},
    }
    if published is not None:
        told += f" Dashed: published, {published.low:g} to {published.high:g} ({published.where})."
        rows.append(["published", published.where, f"{published.low:g} to {published.high:g}"])
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": level,
                "y1": level,
                "line": {"color": "var(--ink)", "dash": "dash", "width": 1.5},
            }
            for level in (published.low, published.high)
        ]
    return Figure(
        f"paper-{name}",
        title,
        {"data": traces, "layout": layout},
        told,
        Table(title, ("model" if not lines else "batch size", "series", unit), rows),
    )
