"""What was gathered under load -> a Measurement: estimates with intervals."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.load.record import completed_between, completions, work_done
from pytest_gaitperf.measure.validity import (
    behind_schedule,
    client_load,
    late_sends,
    load_faults,
    not_in_flight,
)
from pytest_gaitperf.measurement import Distribution, Measurement, Timeline
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.power.energy import integrate, power_timeline, window_for
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    minimum_count,
    quantile_interval,
    ratio_values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.power.energy import ErrorBudget
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]

QUANTILES = {
    "latency_p50": 0.5,
    "latency_p90": 0.9,
    "latency_p95": 0.95,
    "latency_p99": 0.99,
    "latency_p999": 0.999,
}

MOST_PARTS = 60
"""The most parts of a timeline."""

_LARGE_ENERGY_ERROR = 0.02
_FEWEST_ENERGY_WINDOWS = 4
_MOST_ENERGY_WINDOWS = 30


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that was gathered about one cell under load, before it is evaluated.

    ``edges_ns`` (int64[windows + 1], monotonic clock) are the windows' edges. ``warm_up`` and
    ``record`` are the requests before and in the measured load. ``sent`` is the server's statistics
    over both, ``statistics`` over the measured load alone. ``server_cpu_s`` is the CPU time of the
    server over the measured load, None where ``server_cpu_absent`` says why.
    """

    workload: Workload
    edges_ns: Times
    warm_up: LoadRecord
    record: LoadRecord
    sent: ModelStatistics
    statistics: ModelStatistics
    server_cpu_s: float | None
    server_cpu_absent: str
    power: PowerReading
    throttled: str | None = None
    notes: tuple[str, ...] = ()
    data: str = ""

    @property
    def span_ns(self) -> tuple[int, int]:
        """The first and the last edge."""
        return int(self.edges_ns[0]), int(self.edges_ns[-1])

    def latencies(self) -> Values:
        """Return the latencies (s), sorted, of the requests completed within the edges."""
        return completed_between(*self.record.times(), *self.span_ns)

    def inferences(self, edges_ns: Times) -> Values:
        """Return the inferences done between consecutive edges.

        A request of a closed loop counts by the share of its time. That of an open loop counts
        where it completed: its time begins with the schedule, long before the server knows of it in
        a backlog.
        """
        starts, ends = self.record.times()
        closed = self.workload.concurrency
        requests = work_done(starts, ends, edges_ns) if closed else completions(ends, edges_ns)
        return requests * self.workload.batch_size


@dataclass(slots=True)
class Estimates:
    """The metrics of one measurement as they are found: see ``Measurement``."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    spread_windows: dict[str, int] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float,
        interval: tuple[float, float] | None = None,
        windows: Sequence[float] | Values = (),
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

    def add_percentiles(self, latencies_s: Values, medians_s: Sequence[float] = ()) -> None:
        """Add those percentiles of sorted latencies that enough requests stand behind.

        The windows' medians stand for the noise of each: a window has too few requests for its own
        p99.
        """
        for name, quantile in QUANTILES.items():
            interval = quantile_interval(latencies_s, quantile)
            if interval is not None:
                self.add(name, float(np.quantile(latencies_s, quantile)), interval, medians_s)
                continue
            self.absent[name] = (
                f"{len(latencies_s)} requests, {minimum_count(quantile)} are needed: "
                "raise --gaitperf-budget"
            )


def evaluate(run: Gathered) -> Measurement:
    """Turn what was gathered into estimates with intervals, and check that it may be trusted.

    Throughput and energy are those of the span between the first and the last edge; the latencies
    are those of the requests completed in it.

    Raises MeasurementError: no request succeeded in the measured span.
    """
    found, workload, record, edges = Estimates(), run.workload, run.record, run.edges_ns
    latencies, done = run.latencies(), run.inferences(edges)
    span_s, window_s = float(edges[-1] - edges[0]) / 1e9, float(edges[1] - edges[0]) / 1e9
    if not latencies.size:
        reasons = "; ".join(record.failure_reasons) or "the server completed none"
        raise MeasurementError(
            f"no request succeeded in the measured {span_s:.1f} s ({record.failures} failed): "
            f"{reasons}"
        )
    rates = done / window_s
    found.add("throughput", float(done.sum()) / span_s, mean_interval(rates), rates)
    _add_latencies(found, run, latencies)
    if run.server_cpu_s is None:
        found.absent["server_cpu_per_inference"] = run.server_cpu_absent
    else:
        inferences = record.requests * workload.batch_size
        found.add("server_cpu_per_inference", run.server_cpu_s / inferences)
    rails_j = _add_energy(found, run)
    throughput, latency_mean = found.metrics["throughput"], found.metrics["latency_mean"]
    behind = behind_schedule(workload, throughput.value, span_s)
    faults = load_faults(
        workload,
        run.warm_up,
        [record],
        run.sent,
        behind=behind is not None,
    )
    if workload.concurrency and not faults:
        fault = not_in_flight(workload, record, run.span_ns, throughput, latency_mean)
        faults += [fault] if fault else []
    faults += [run.throttled] if run.throttled else []
    budget, power_line = run.power.budget, None
    if run.power.trace is not None:
        with suppress(MeterError):  # why, the energy that is absent says
            power_line = power_timeline(run.power.trace, *run.span_ns)
    return Measurement(
        metrics=found.metrics,
        spread=found.spread,
        spread_windows=found.spread_windows,
        windows=len(edges) - 1,
        window_s=window_s,
        duration_s=span_s,
        requests=len(latencies),
        failures=run.warm_up.failures + record.failures,
        client_cpu_per_request_us=record.client_cpu_ns / 1e3 / record.requests,
        client_load=client_load([record]),
        time_split_s=_time_split_s(run, latency_mean.value),
        rails_j=rails_j,
        inferences=float(done.sum()),
        energy_failed=bool(run.power.failed or (run.power.rails and not rails_j)),
        energy_error=budget.relative if budget is not None else None,
        energy_note=_energy_note(budget),
        energy_rails=run.power.rails,
        energy_estimated=run.power.estimated,
        absent=found.absent,
        notes=run.notes if behind is None else (behind, *run.notes),
        invalid="; ".join(faults) or None,
        late_sends=late_sends(workload, [record]),
        data=run.data,
        latencies=distribution(latencies),
        behind=behind,
        timeline=timeline_of(*record.times(), edges, done),
        power=power_line,
    )


def _add_latencies(found: Estimates, run: Gathered, latencies_s: Values) -> None:
    sums, counts, medians = [], [], []
    starts, ends = run.record.times()
    for low, high in pairwise(run.edges_ns):  # one at a time: together they are all requests again
        inside = completed_between(starts, ends, int(low), int(high))
        sums.append(float(inside.sum()))
        counts.append(len(inside))
        if inside.size:
            medians.append(float(np.median(inside)))
    interval = mean_interval(ratio_values(sums, counts))
    found.add("latency_mean", float(latencies_s.mean()), interval, medians)
    found.add_percentiles(latencies_s, medians)


def _add_energy(found: Estimates, run: Gathered) -> dict[str, float]:
    """Add energy and power over the measured span; return the joules of every rail."""
    power, (first, last) = run.power, run.span_ns

    def absent(why: str) -> dict[str, float]:
        found.absent |= dict.fromkeys(("energy_per_inference", "power_mean"), why)
        return {}

    if power.trace is None:
        return absent(power.absent)
    span_s = (last - first) / 1e9
    count = int(min(span_s / max(power.minimum_window_s, 1e-3), _MOST_ENERGY_WINDOWS))
    if count < _FEWEST_ENERGY_WINDOWS:
        needed_s = _FEWEST_ENERGY_WINDOWS * power.minimum_window_s
        return absent(
            f"{span_s:.1f} s were measured, the meter needs {needed_s:.1f} s: "
            "raise --gaitperf-budget"
        )
    edges = np.linspace(first, last, count + 1).astype(np.int64)
    done = run.inferences(edges)
    try:
        whole = integrate(power.trace, first, last)
        parts = [
            integrate(power.trace, int(low), int(high)).total_j(power.rails)
            for low, high in pairwise(edges)
        ]
    except MeterError as error:
        return absent(str(error))
    joules, total_j = np.array(parts), whole.total_j(power.rails)
    each_j, watts = joules / np.maximum(done, 1e-9), joules / (np.diff(edges) / 1e9)
    inferences = float(done.sum())
    found.add("energy_per_inference", total_j / inferences, mean_interval(each_j), each_j)
    found.add("power_mean", total_j / span_s, mean_interval(watts), watts)
    if power.gpu_rails:
        found.add("gpu_energy_per_inference", whole.total_j(power.gpu_rails) / inferences)
    return dict(whole.joules)


def _energy_note(budget: ErrorBudget | None) -> str | None:
    """Say how long a window would have to be, where the meter leaves a large error."""
    if budget is None or budget.relative <= _LARGE_ENERGY_ERROR:
        return None
    enough_s = window_for(budget, _LARGE_ENERGY_ERROR)
    longer = f"; {enough_s:.0f} s would give {_LARGE_ENERGY_ERROR:.0%}: raise --gaitperf-budget"
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


def timeline_of(starts_ns: Times, ends_ns: Times, edges_ns: Times, done: Values) -> Timeline:
    """Sum up the requests of the windows; ``done`` has the inferences of each.

    ``ends_ns`` must not decrease.
    """
    windows = len(edges_ns) - 1
    parts = min(windows, MOST_PARTS)
    firsts = np.arange(parts + 1) * windows // parts
    edges = edges_ns[firsts]
    medians = []
    for low, high in pairwise(edges):
        latencies = completed_between(starts_ns, ends_ns, int(low), int(high))
        medians.append(float(np.median(latencies)) if latencies.size else None)
    sums = np.add.reduceat(done, firsts[:-1])
    return Timeline(
        edges_s=tuple(((edges - edges[0]) / 1e9).tolist()),
        throughput=tuple((sums / np.diff(edges) * 1e9).tolist()),
        latency_p50_s=tuple(medians),
    )


def distribution(latencies_s: Values) -> Distribution:
    """Sum up latencies, at least one; the standard deviation of a single one is 0."""
    percentiles = np.percentile(latencies_s, np.arange(101))
    low, high = percentiles[25], percentiles[75]
    fence = 1.5 * (high - low)
    inside = latencies_s[(latencies_s >= low - fence) & (latencies_s <= high + fence)]
    sd_s = float(latencies_s.std(ddof=1)) if latencies_s.size > 1 else 0.0
    return Distribution(
        percentiles_s=tuple(float(value) for value in percentiles),
        sd_s=sd_s,
        sd_outliers=int((np.abs(latencies_s - latencies_s.mean()) > sd_s).sum()),
        tukey_outliers=int(latencies_s.size - inside.size),
        tukey_low_s=float(inside.min()),
        tukey_high_s=float(inside.max()),
    )
