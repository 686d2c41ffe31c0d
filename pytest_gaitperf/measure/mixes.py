"""A cell beside neighbours: what each of these did, what it may be held to, what it lost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.estimates import Estimates, add_latencies
from pytest_gaitperf.measure.gathered import joined
from pytest_gaitperf.measure.validity import (
    SATURATED,
    behind_schedule,
    client_load,
    late_sends,
    load_faults,
    stall,
)
from pytest_gaitperf.measurement import FEWEST_OF_P99, Kept
from pytest_gaitperf.metrics import METRICS, Estimate, of_energy
from pytest_gaitperf.stats import log_spread, quantile_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_gaitperf.measure.estimates import Values
    from pytest_gaitperf.measure.gathered import Gathered

_EXPECTED = 2.0
"""Requests that must be due in the windows before it is odd that none was answered."""

NO_ENERGY = (
    "the joules beside neighbours are those of all models together: power_mean is that of the whole"
)


def neighbours_of(runs: Sequence[Gathered]) -> tuple[Kept, ...]:
    """Return what each neighbour did in the windows of all lives together."""
    found = []
    for number, load in enumerate(runs[0].workload.beside):
        lives = [_as_measured(run, number) for run in runs]
        latencies, span_s = (
            joined([life.latencies() for life in lives]),
            sum(r.seconds for r in runs),
        )
        done = sum(float(life.inferences(life.windows_ns).sum()) for life in lives) / span_s
        records = [life.record for life in lives]
        found.append(
            Kept(
                name=load.name,
                request_rate=load.request_rate,
                kept=done / load.batch_size,
                requests=len(latencies),
                latency_p50=_quantile(latencies, 0.5, 1),
                latency_p99=_quantile(latencies, 0.99, FEWEST_OF_P99),
                behind=behind_schedule(load, done, span_s, 0.0),
                failures=sum(record.failures for record in records),
                late_sends=late_sends(load, records),
            )
        )
    return tuple(found)


def neighbour_faults(run: Gathered, found: Sequence[Kept]) -> Iterator[str]:
    """Say what of a neighbour makes a life unfit to be judged."""
    busy = sum(client_load([load.record]) for load in run.neighbours)
    if len(found) > 1 and busy > SATURATED:  # one process loads them all
        yield (
            f"the client of the neighbours was busy {busy:.0%} of the time: it, not the server, "
            "set their pace; lower their rates"
        )
    for number, (load, kept) in enumerate(zip(run.neighbours, found, strict=True)):
        of = f" of neighbour {kept.name}"
        life = _as_measured(run, number)
        yield from load_faults(
            load.workload,
            LoadRecord(),
            [load.record],
            load.sent,
            of=of,
            behind=kept.behind is not None,
        )
        latencies = life.latencies()
        if latencies.size and (why := stall(life.silence_s, latencies)):
            yield f"{why} ({of.removeprefix(' of ')})"
        elif not latencies.size and load.workload.request_rate * run.seconds > _EXPECTED:
            yield f"no request{of} was answered in the measured {run.seconds:.1f} s"


def without_energy(found: Estimates) -> None:
    """Leave the joules of one inference out: nobody can tell them from the neighbours'."""
    for name in METRICS:
        if of_energy(name) and name != "power_mean" and found.metrics.pop(name, None) is not None:
            found.absent[name] = NO_ENERGY


def slowdown(
    beside: Mapping[int, Gathered], alone: Mapping[int, Gathered]
) -> tuple[Estimate, float | None] | None:
    """Return the mean latency beside neighbours over that alone, and the spread over the lives.

    The mean, since a neighbour that is seldom at work leaves the median as it was. Both are by the
    number of the life: only lives count that have both, and were left alone by others. None
    without any.
    """
    lives = [
        number
        for number, run in beside.items()
        if number in alone and run.disturbed is None and alone[number].disturbed is None
    ]
    sides = [[one[number] for number in lives] for one in (beside, alone)]
    if not lives or not all(run.latencies().size for side in sides for run in side):
        return None
    means, halves = [], []
    for side in sides:
        found, each = Estimates(), [run.latencies() for run in side]
        add_latencies(found, side, joined(each))
        means.append(np.array([latencies.mean() for latencies in each]))
        halves.append(found.metrics["latency_mean"].relative_half_width)
    ratios = means[0] / means[1]
    value, low, high = math.exp(float(np.log(ratios).mean())), None, None
    if halves[0] is not None and halves[1] is not None:
        half = math.hypot(halves[0], halves[1])
        low, high = value * math.exp(-half), value * math.exp(half)
    spread = log_spread(ratios.tolist()) if len(lives) > 1 else math.nan
    estimate = Estimate(METRICS["slowdown"].unit, value, low, high)
    return estimate, spread if math.isfinite(spread) else None


def _as_measured(run: Gathered, number: int) -> Gathered:
    """Return a neighbour's load as if it was the measured one: the windows are the cell's."""
    load = run.neighbours[number]
    return replace(run, workload=load.workload, record=load.record, neighbours=())


def _quantile(latencies_s: Values, quantile: float, fewest: int) -> Estimate | None:
    if len(latencies_s) < fewest:
        return None
    interval = quantile_interval(latencies_s, quantile) or (None, None)
    return Estimate("s", float(np.quantile(latencies_s, quantile)), *interval)
