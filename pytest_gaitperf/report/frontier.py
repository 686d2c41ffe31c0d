"""The frontier of a run, and its best cells under a latency bound: for the table and the JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, Direction, Estimate
from pytest_gaitperf.report.pareto import Cost, cost, frontier
from pytest_gaitperf.report.text import count, scaled
from pytest_gaitperf.results import LimitState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.config.policy import Limit
    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.measurement import Measurement

LATENCY, ENERGY, THROUGHPUT, ACCURACY = (
    "latency_p50",
    "energy_per_inference",
    "throughput",
    "accuracy",
)
_MOST_LINES = 6


@dataclass(frozen=True, slots=True)
class Frontier:
    """What a run's cells are compared by, and what came of it.

    ``objectives`` are names of metrics, and ``accuracy``. ``members`` are the measurements on the
    frontier, by rising latency, out of ``compared`` ones; ``left_out`` says why other cells could
    not be compared, by id. ``best`` has the best cell under the latency bound by metric, None where
    no cell is surely under it; ``unknown`` counts the cells whose p99 is not known.
    """

    objectives: tuple[str, ...]
    members: tuple[Measurement, ...]
    compared: int
    left_out: Mapping[str, str]
    bound: Limit | None
    best: Mapping[str, Measurement | None]
    unknown: int


def frontier_of(session: Session) -> Frontier | None:
    """Compare the run's valid cells; None where there are fewer than two.

    By median latency, energy per inference (without a meter: throughput) and, where the user gave
    a table, accuracy.
    """
    accuracy = session.accuracy
    measured = [result.measurement for result in session.results.values()]
    valid = [item for item in measured if item is not None and not item.invalid]
    energy = any(ENERGY in item.metrics and session.counts_as_energy(item) for item in valid)
    objectives = (LATENCY, ENERGY if energy else THROUGHPUT, *((ACCURACY,) if accuracy else ()))
    left_out: dict[str, str] = {}
    compared: list[Measurement] = []
    for item in valid:
        missing = next((name for name in objectives[:2] if name not in item.metrics), None)
        if missing is not None:
            left_out[item.workload.id] = f"its {METRICS[missing].title} is not known"
        elif accuracy and item.workload.model not in accuracy:
            left_out[item.workload.id] = f"the accuracy of {item.workload.model} is not known"
        else:
            compared.append(item)
    if len(compared) < 2:
        return None
    costs = [_costs(item, objectives, accuracy) for item in compared]
    members = sorted(
        (compared[index] for index in frontier(costs)), key=lambda item: item.metrics[LATENCY].value
    )
    bound = session.settings.latency_bound
    under, unknown = _under(compared, bound)
    best = {}
    if bound is not None:
        best = {name: _best(under, name) for name in (THROUGHPUT, *((ENERGY,) if energy else ()))}
    return Frontier(objectives, tuple(members), len(compared), left_out, bound, best, unknown)


def _best(cells: Sequence[Measurement], metric: str) -> Measurement | None:
    sign = METRICS[metric].worse_sign
    return min(cells, key=lambda item: sign * item.metrics[metric].value, default=None)


def _costs(
    item: Measurement, objectives: Sequence[str], accuracy: Mapping[str, float]
) -> list[Cost]:
    costs = [
        cost(item.metrics[name], METRICS[name].direction) for name in objectives if name in METRICS
    ]
    if ACCURACY in objectives:
        known = Estimate("", accuracy[item.workload.model])
        costs.append(cost(known, Direction.HIGHER_IS_BETTER))
    return costs


def _under(cells: Sequence[Measurement], bound: Limit | None) -> tuple[list[Measurement], int]:
    """Return the cells whose whole interval is under the bound, and how many know no p99."""
    if bound is None:
        return [], 0
    checks = [(item, bound.check(item.metrics.get(bound.metric))) for item in cells]
    under = [item for item, check in checks if check.state is LimitState.MET and check.sure]
    return under, sum(check.state is LimitState.UNMEASURED for _, check in checks)


def frontier_lines(session: Session) -> list[str]:
    """Return the lines under the table: six at most, none unless asked or of several models."""
    settings = session.settings
    models = {workload.model for workload in session.results}
    if settings.accuracy is None and settings.latency_bound is None and len(models) < 2:
        return []
    found = frontier_of(session)
    if found is None:
        return []
    below = _best_lines(found)
    if found.left_out:
        cell, why = next(iter(found.left_out.items()))
        more = f", and {count(len(found.left_out) - 1, 'more')}" if len(found.left_out) > 1 else ""
        below.append(f"not compared: {cell}{more}: {why}")
    rows = _spread(found.members, _MOST_LINES - 1 - len(below))
    titles = [name if name == ACCURACY else METRICS[name].title for name in found.objectives]
    among = ", among them" if len(rows) < len(found.members) else ""
    width = max(len(item.workload.id) for item in rows)
    of = f"{len(found.members)} of {count(found.compared, 'cell')}"
    lines = [f"frontier over {', '.join(titles)}: {of}{among}:"]
    for item in rows:
        values = [
            f"{session.accuracy[item.workload.model]:.1%}"
            if name == ACCURACY
            else f"{scaled(name, item.metrics[name].value)} {METRICS[name].display_unit}"
            for name in found.objectives
        ]
        lines.append("  ".join([f"  {item.workload.id:{width}}", *(f"{v:>12}" for v in values)]))
    return lines + below


def _spread(members: Sequence[Measurement], most: int) -> list[Measurement]:
    """Return so many of the members, evenly from the first to the last."""
    if len(members) <= most:
        return list(members)
    step = (len(members) - 1) / (most - 1)
    return [members[round(index * step)] for index in range(most)]


def _best_lines(found: Frontier) -> list[str]:
    if found.bound is None:
        return []
    unknown = f" (p99 not known in {count(found.unknown, 'cell')})" if found.unknown else ""
    said = [
        f"{'most' if name == THROUGHPUT else 'least'} {METRICS[name].title}: {item.workload.id}, "
        f"{scaled(name, item.metrics[name].value)} {METRICS[name].display_unit}"
        for name, item in found.best.items()
        if item is not None
    ]
    return [f"with {found.bound}: {'; '.join(said) or 'no cell is surely under it'}{unknown}"]
