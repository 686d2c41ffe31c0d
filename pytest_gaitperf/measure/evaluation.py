"""What a run gathered -> a Measurement: estimates with intervals; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.load.record import completed_between, completions, work_done
from pytest_gaitperf.measure.timeline import distribution, timeline_of
from pytest_gaitperf.measure.validity import Seen, behind, faults, late_sends
from pytest_gaitperf.measurement import Measurement, PowerTimeline
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.power.budget import window_for
from pytest_gaitperf.power.course import power_course
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    minimum_count,
    quantile_interval,
    ratio_values,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.power.budget import ErrorBudget

QUANTILES = {
    "latency_p50": 0.5,
    "latency_p90": 0.9,
    "latency_p95": 0.95,
    "latency_p99": 0.99,
    "latency_p999": 0.999,
}

LARGE_ENERGY_ERROR = 0.02
"""The relative error of a cell's joules from which on the table says so."""

_FEWEST_ENERGY_WINDOWS = 4
_MOST_ENERGY_WINDOWS = 30


@dataclass(slots=True)
class _Findings:
    """What gathers while a run is evaluated."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    spread_windows: dict[str, int] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float,
        interval: tuple[float, float] | None = None,
        windows: Sequence[float] | npt.NDArray[np.float64] = (),
    ) -> None:
        """Add a metric, with its interval and the values of its windows where there are any."""
        low = high = None
        if interval is not None and all(map(math.isfinite, interval)):
            low, high = interval
        self.metrics[name] = Estimate(METRICS[name].unit, value, low, high)
        spread = log_spread(windows)
        if math.isfinite(spread):
            self.spread[name] = spread
            self.spread_windows[name] = len(windows)


def evaluate(run: Gathered) -> Measurement:
    """Turn what a run gathered into estimates with intervals, and check that it may be trusted.

    Throughput and energy are those of the span between the first and the last edge; the latencies
    are those of the requests completed in it. Pure: the same run always gives the same measurement.

    Raises
    ------
    MeasurementError
        No request succeeded in the measured span.
    """
    found = _Findings()
    starts, ends = run.record.times()
    edges = run.edges_ns
    first_ns, last_ns = int(edges[0]), int(edges[-1])
    latencies = completed_between(starts, ends, first_ns, last_ns)
    span_s = float(edges[-1] - edges[0]) / 1e9
    window_s = float(edges[1] - edges[0]) / 1e9
    if not latencies.size:
        reasons = "; ".join(run.record.failure_reasons) or "the server completed none"
        raise MeasurementError(
            f"no request succeeded in the measured {span_s:.1f} s ({run.record.failures} failed): "
            f"{reasons}"
        )
    done = _done(run, starts, ends, edges)
    rates = done / window_s
    found.add("throughput", float(done.sum()) / span_s, mean_interval(rates), rates)
    _add_latencies(found, latencies, starts, ends, edges)
    inferences = run.record.requests * run.workload.batch_size
    if run.server_cpu_s is None:
        found.absent["server_cpu_per_inference"] = run.server_cpu_absent
    else:
        found.add("server_cpu_per_inference", run.server_cpu_s / inferences)
    rails_j = _add_energy(found, run, starts, ends)
    seen = Seen(found.metrics["throughput"], found.metrics["latency_mean"], first_ns, last_ns)
    fell_behind = behind(run, seen)
    busy_s = (run.record.drained_ns - run.record.first_send_ns) / 1e9
    client_s = run.record.client_cpu_ns / 1e9
    budget = run.power.budget
    return Measurement(
        metrics=found.metrics,
        spread=found.spread,
        spread_windows=found.spread_windows,
        windows=len(edges) - 1,
        window_s=window_s,
        duration_s=span_s,
        requests=len(latencies),
        failures=run.warm_up.failures + run.record.failures,
        client_cpu_per_request_us=client_s / run.record.requests * 1e6,
        client_load=client_s / busy_s,
        time_split_s=_time_split_s(run, found.metrics["latency_mean"].value),
        rails_j=dict(rails_j),
        inferences=float(done.sum()),
        energy_failed=bool(run.power.failed or (run.power.rails and not rails_j)),
        energy_error=budget.relative if budget is not None else None,
        energy_note=_energy_note(budget),
        energy_rails=run.power.rails,
        energy_estimated=run.power.estimated,
        absent=found.absent,
        notes=run.notes if fell_behind is None else (fell_behind, *run.notes),
        invalid="; ".join(faults(run, client_s / busy_s, seen)) or None,
        late_sends=late_sends(run),
        data=run.data,
        latencies=distribution(latencies),
        behind=fell_behind,
        timeline=timeline_of(starts, ends, edges, done),
        power=_power_course(run),
    )


def _done(
    run: Gathered,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the inferences done between consecutive edges.

    A request of a closed loop counts by the share of its time. That of an open loop counts where it
    completed: its time begins with the schedule, long before the server knows of it in a backlog.
    """
    closed = run.workload.concurrency
    requests = work_done(starts, ends, edges) if closed else completions(ends, edges)
    return requests * run.workload.batch_size


def _add_latencies(
    found: _Findings,
    latencies_s: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
) -> None:
    # The windows' medians stand for the noise of every percentile: a window has too few requests
    # for its own p99.
    sums, counts, per_window = [], [], []
    for low, high in pairwise(edges):  # one at a time: together they are all requests once more
        inside = completed_between(starts, ends, int(low), int(high))
        sums.append(float(inside.sum()))
        counts.append(len(inside))
        if inside.size:
            per_window.append(float(np.median(inside)))
    values = ratio_values(sums, counts)
    found.add("latency_mean", float(latencies_s.mean()), mean_interval(values), per_window)
    for name, quantile in QUANTILES.items():
        interval = quantile_interval(latencies_s, quantile)
        if interval is None:
            found.absent[name] = (
                f"{len(latencies_s)} requests, {minimum_count(quantile)} are needed: "
                "raise --gaitperf-budget"
            )
            continue
        found.add(name, float(np.quantile(latencies_s, quantile)), interval, per_window)


def _add_energy(
    found: _Findings,
    run: Gathered,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> Mapping[str, float]:
    """Add energy and power over the measured span; return the joules of every rail."""
    names = ("energy_per_inference", "power_mean")
    power, first, last = run.power, int(run.edges_ns[0]), int(run.edges_ns[-1])
    if power.trace is None:
        found.absent |= dict.fromkeys(names, power.absent)
        return {}
    span_s = (last - first) / 1e9
    count = int(min(span_s / max(power.minimum_window_s, 1e-3), _MOST_ENERGY_WINDOWS))
    if count < _FEWEST_ENERGY_WINDOWS:
        needed = _FEWEST_ENERGY_WINDOWS * power.minimum_window_s
        short = (
            f"{span_s:.1f} s were measured, the meter needs {needed:.1f} s: raise --gaitperf-budget"
        )
        found.absent |= dict.fromkeys(names, short)
        return {}
    edges = np.linspace(first, last, count + 1).astype(np.int64)
    done = _done(run, starts, ends, edges)
    try:
        whole = integrate(power.trace, first, last)
        parts = [
            integrate(power.trace, int(low), int(high)).total_j(power.rails)
            for low, high in pairwise(edges)
        ]
    except MeterError as error:
        found.absent |= dict.fromkeys(names, str(error))
        return {}
    joules = np.array(parts)
    per_inference = joules / np.maximum(done, 1e-9)
    watts = joules / (np.diff(edges) / 1e9)
    total_j = whole.total_j(power.rails)
    found.add(
        "energy_per_inference",
        total_j / float(done.sum()),
        mean_interval(per_inference),
        per_inference,
    )
    found.add("power_mean", total_j / span_s, mean_interval(watts), watts)
    if power.gpu_rails:
        gpu_j = whole.total_j(power.gpu_rails)
        found.add("gpu_energy_per_inference", gpu_j / float(done.sum()))
    return whole.joules


def _power_course(run: Gathered) -> PowerTimeline | None:
    """Return the power over the measured span, None where no trace covers it."""
    if run.power.trace is None:
        return None
    try:
        return power_course(run.power.trace, int(run.edges_ns[0]), int(run.edges_ns[-1]))
    except MeterError:
        return None  # why, the energy that is absent says


def _energy_note(budget: ErrorBudget | None) -> str | None:
    """Say how long a window would have to be, where the meter leaves a large error."""
    if budget is None or budget.relative <= LARGE_ENERGY_ERROR:
        return None
    enough_s = window_for(budget, LARGE_ENERGY_ERROR)
    longer = f"; {enough_s:.0f} s would give {LARGE_ENERGY_ERROR:.0%}: raise --gaitperf-budget"
    return budget.describe() + (longer if math.isfinite(enough_s) else "")


def _time_split_s(run: Gathered, mean_latency_s: float) -> dict[str, float]:
    """Where a request's time went, in the order of time; what nobody accounts for is network."""
    statistics, record = run.statistics, run.record
    if statistics.success_count <= 0:
        return {}
    delays = np.frombuffer(record.delays_ns, dtype=np.int64)
    ahead = {"schedule": float(delays.mean()) / 1e9} if delays.size else {}
    ahead["client_send"] = record.send_ns / record.requests / 1e9
    receiving = {"client_receive": record.receive_ns / record.requests / 1e9}
    within = statistics.parts_s() | receiving
    known = sum(ahead.values()) + sum(within.values())
    return ahead | {"network": max(mean_latency_s - known, 0.0)} | within
