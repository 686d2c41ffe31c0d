"""The Pareto frontier of a run's cells, and its best cells under a latency bound."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.measure.comparison import RESOLUTION
from pytest_gaitperf.metrics import METRICS, Direction, Estimate
from pytest_gaitperf.results import Frontier, LimitState
from pytest_gaitperf.text import count, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.config.policy import Bound
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell, Run

LATENCY, ENERGY, THROUGHPUT, ACCURACY = (
    "latency_p50",
    "energy_per_inference",
    "throughput",
    "accuracy",
)
OUTPUT_ERROR = "output_error"
_MOST_LINES = 6


class Cost(NamedTuple):
    """One objective of one cell, less being better: the value and its confidence interval."""

    low: float
    value: float
    high: float


def cost(estimate: Estimate, direction: Direction) -> Cost:
    """Return an estimate as a cost: negated where more is better, exact without an interval."""
    value = estimate.value
    low = value if estimate.low is None else min(estimate.low, value)
    high = value if estimate.high is None else max(estimate.high, value)
    if direction is Direction.HIGHER_IS_BETTER:
        return Cost(-high, -value, -low)
    return Cost(low, value, high)


def pareto(cells: Sequence[Sequence[Cost]]) -> list[int]:
    """Return the indices of the cells that no other dominates, in the order given.

    Each cell has the same objectives, at most three, in the same order. One dominates another if
    its value is at least as good in every objective, and its whole interval better in at least one:
    a cell that is better only within overlapping intervals dominates none, and two equal cells are
    both kept. Only comparisons are made: units and scales, as on a log axis, change nothing.
    """
    padded = [(*costs, *[Cost(0.0, 0.0, 0.0)] * (3 - len(costs))) for costs in cells]
    dominated = {index for sure in range(3) for index in _beaten(padded, sure)}
    return [index for index in range(len(cells)) if index not in dominated]


def _beaten(cells: Sequence[Sequence[Cost]], sure: int) -> Iterator[int]:
    """Yield the cells that another surely beats in one objective of three, no worse in the rest.

    Sorted by that objective, the cells that beat the next one are those before it. Of their values
    in the other two, only the staircase of the best is kept.
    """
    first, second = (place for place in range(3) if place != sure)
    beating = sorted(cells, key=lambda one: one[sure].high)
    steps: list[tuple[float, float]] = []  # the first rises, the second falls
    taken = 0
    for index in sorted(range(len(cells)), key=lambda one: cells[one][sure].low):
        one = cells[index]
        while beating[taken][sure].high < one[sure].low:
            _add_step(steps, (beating[taken][first].value, beating[taken][second].value))
            taken += 1
        place = bisect_right(steps, (one[first].value, math.inf))
        if place and steps[place - 1][1] <= one[second].value:
            yield index


def _add_step(steps: list[tuple[float, float]], new: tuple[float, float]) -> None:
    """Add a point to a staircase unless one of it is as good, and drop those that it makes idle."""
    place = bisect_right(steps, (new[0], math.inf))
    if place and steps[place - 1][1] <= new[1]:
        return
    place = bisect_left(steps, (new[0], -math.inf))
    end = place
    while end < len(steps) and steps[end][1] >= new[1]:
        end += 1
    steps[place:end] = [new]


def energy_counts(cells: Iterable[Cell], *, estimates: bool) -> bool:
    """Return whether energy is an objective: not where some is estimated, unless that may be."""
    measured = [cell.measurement for cell in cells if cell.measurement is not None]
    return estimates or not any(one.energy_estimated for one in measured)


def frontier(
    cells: Sequence[Cell],
    accuracy: Mapping[str, float],
    bound: Bound | None,
    *,
    energy_counts: bool,
) -> Frontier | None:
    """Compare the valid cells; None where there are fewer than two.

    By median latency, energy per inference (throughput where ``energy_counts`` is False or no cell
    has energy) and accuracy (0 to 1) where ``accuracy`` has any models, or the run measured it of
    all; else by the error of their outputs, where that is known of all. The best are chosen among
    those within the ``bound``.
    """
    valid = [
        (cell, cell.measurement)
        for cell in cells
        if cell.measurement is not None
        and cell.unmeasured is None
        and not (cell.workload.alone or cell.workload.beside)
    ]
    third, accuracy = (ACCURACY, accuracy) if accuracy else _measured(cells)
    energy = energy_counts and any(ENERGY in one.metrics for _, one in valid)
    objectives = (LATENCY, ENERGY if energy else THROUGHPUT, *((third,) if accuracy else ()))
    left_out: dict[str, str] = {}
    compared: dict[str, tuple[Measurement, list[Cost]]] = {}
    for cell, found in valid:
        missing = next((name for name in objectives[:2] if name not in found.metrics), None)
        if missing is not None:
            left_out[cell.id] = f"its {METRICS[missing].title} is not known"
        elif accuracy and cell.workload.model not in accuracy:
            left_out[cell.id] = f"the accuracy of {cell.workload.model} is not known"
        else:
            costs = [cost(found.metrics[name], METRICS[name].direction) for name in objectives[:2]]
            if accuracy:
                known = Estimate("", accuracy[cell.workload.model])
                higher, lower = Direction.HIGHER_IS_BETTER, Direction.LOWER_IS_BETTER
                costs.append(cost(known, higher if third == ACCURACY else lower))
            compared[cell.id] = found, costs
    if len(compared) < 2:
        return None
    names = list(compared)
    members = [names[index] for index in pareto([costs for _, costs in compared.values()])]
    members.sort(key=lambda name: compared[name][0].metrics[LATENCY].value)
    best: dict[str, str | None] = {}
    unknown = 0
    if bound is not None:
        models = {cell.id: cell.workload.model for cell, _ in valid}
        checks = {
            name: bound.check(found.metrics.get(bound.metric))
            for name, (found, _) in compared.items()
            if not bound.accuracy
            or (third == ACCURACY and accuracy.get(models[name], 0.0) >= bound.accuracy)
        }
        unknown = sum(check.state is LimitState.UNMEASURED for check in checks.values())
        for metric in (THROUGHPUT, *((ENERGY,) if energy else ())):
            sign = METRICS[metric].worse_sign
            under = {
                name: sign * compared[name][0].metrics[metric].value
                for name, check in checks.items()
                if check.state is LimitState.MET
                and check.certain
                and metric in compared[name][0].metrics
            }
            best[metric] = min(under, key=lambda name: under[name], default=None)
    return Frontier(
        objectives=objectives,
        cells=tuple(members),
        compared=len(compared),
        left_out=left_out,
        accuracy=dict(accuracy),
        latency_bound=None if bound is None else str(bound),
        best=best,
        unknown=unknown,
    )


def _measured(cells: Sequence[Cell]) -> tuple[str, Mapping[str, float]]:
    """Return the share of right labels of each model, else its error beside a reference.

    A reference has the least error that there is. None where it is not known of all models.
    """
    models = {cell.workload.model for cell in cells if not cell.workload.alone}
    found = {
        cell.workload.model: cell.measurement.accuracy
        for cell in cells
        if cell.measurement is not None
        and cell.measurement.accuracy is not None
        and cell.unmeasured is None
    }
    right = {model: one.score for model, one in found.items() if one.score is not None}
    if models and models <= right.keys():
        return ACCURACY, right
    of_references = {one.reference.rpartition("@")[0] for one in found.values()}
    errors = dict.fromkeys(of_references & models, RESOLUTION)
    errors |= {model: one.error for model, one in found.items() if one.error is not None}
    return OUTPUT_ERROR, errors if models <= errors.keys() else {}


def frontier_lines(run: Run) -> list[str]:
    """Return the lines under the table: six at most, none unless asked or of several models."""
    found = run.frontier
    models = {cell.workload.model for cell in run.cells}
    if found is None or not (found.accuracy or found.latency_bound or len(models) > 1):
        return []
    cells = {
        cell.id: (cell.workload.model, cell.measurement.metrics)
        for cell in run.cells
        if cell.measurement is not None
    }
    below = _best_lines(found, {name: metrics for name, (_, metrics) in cells.items()})
    if found.left_out:
        cell, why = next(iter(found.left_out.items()))
        more = f", and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
        below.append(f"not compared: {cell}{more}: {why}")
    rows = _spread(found.cells, _MOST_LINES - 1 - len(below))
    titles = [name if name == ACCURACY else METRICS[name].title for name in found.objectives]
    among = ", among them" if len(rows) < len(found.cells) else ""
    width = max(map(len, rows), default=0)
    of = f"{len(found.cells)} of {count(found.compared, 'cell')}"
    lines = [f"frontier over {', '.join(titles)}: {of}{among}:"]
    for name in rows:
        model, metrics = cells.get(name, ("", {}))
        values = [
            f"{found.accuracy.get(model, 0.0):.1%}"
            if objective == ACCURACY
            else shown(objective, found.accuracy.get(model))
            if objective == OUTPUT_ERROR
            else shown(objective, metrics[objective].value if objective in metrics else None)
            for objective in found.objectives
        ]
        lines.append("  ".join([f"  {name:{width}}", *(f"{value:>12}" for value in values)]))
    return lines + below


def _spread(members: Sequence[str], most: int) -> list[str]:
    """Return so many of the members, evenly from the first to the last."""
    if len(members) <= most:
        return list(members)
    step = (len(members) - 1) / (most - 1)
    return [members[round(index * step)] for index in range(most)]


def _best_lines(found: Frontier, metrics: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    if found.latency_bound is None:
        return []
    unknown = f" (p99 not known in {count(found.unknown, 'cell')})" if found.unknown else ""
    said = [
        f"{'most' if name == THROUGHPUT else 'least'} {METRICS[name].title}: {cell}, "
        f"{shown(name, metrics[cell][name].value)}"
        for name, cell in found.best.items()
        if cell is not None and name in metrics.get(cell, {})
    ]
    return [
        f"with {found.latency_bound}: {'; '.join(said) or 'no cell is surely under it'}{unknown}"
    ]
