"""What was gathered under load -> a Measurement: estimates with intervals."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.host.watch import surroundings
from pytest_gaitperf.load.record import completed_between
from pytest_gaitperf.measure.gathered import joined
from pytest_gaitperf.measure.validity import (
    behind_schedule,
    client_load,
    late_sends,
    load_faults,
    not_in_flight,
    stall,
)
from pytest_gaitperf.measurement import Distribution, Measurement, Timeline
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.power.energy import integrate, pooled_budget, power_timeline, window_for
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    minimum_count,
    quantile_interval,
    ratio_values,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.power.energy import ErrorBudget

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]

QUANTILES = {
    metric.name: metric.quantile for metric in METRICS.values() if metric.quantile is not None
}

MOST_PARTS = 60
"""The most parts of a timeline."""

_LARGE_ENERGY_ERROR = 0.02
_FEWEST_ENERGY_WINDOWS = 4
_MOST_ENERGY_WINDOWS = 30


@dataclass(slots=True)
class Estimates:
    """The metrics of one measurement as they are found: see ``Measurement``."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, interval: tuple[float, float] | None = None) -> None:
        """Add a metric, with its interval where there is any."""
        low = high = None
        if interval is not None and all(map(math.isfinite, interval)):
            low, high = interval
        self.metrics[name] = Estimate(METRICS[name].unit, value, low, high)

    def add_percentiles(self, latencies_s: Values) -> None:
        """Add those percentiles of sorted latencies that enough requests stand behind."""
        for name, quantile in QUANTILES.items():
            interval = quantile_interval(latencies_s, quantile)
            if interval is not None:
                self.add(name, float(np.quantile(latencies_s, quantile)), interval)
                continue
            self.absent[name] = (
                f"{len(latencies_s)} requests, {minimum_count(quantile)} are needed: "
                "raise --gaitperf-budget"
            )


def evaluate(runs: Sequence[Gathered]) -> Measurement:
    """Turn what was gathered into estimates with intervals, and check that it may be trusted.

    ``runs`` has one or more lives of one cell. Throughput and energy are those of all their windows
    together; the latencies are those of the requests completed in them, pooled. The timelines show
    the first life.

    Raises MeasurementError: no request succeeded in the windows.
    """
    found, first, workload = Estimates(), runs[0], runs[0].workload
    records, span_s = [run.record for run in runs], sum(run.seconds for run in runs)
    latencies = joined([run.latencies() for run in runs])
    failures = sum(run.warm_up.failures + run.record.failures for run in runs)
    if not latencies.size:
        failed = sum(record.failures for record in records)
        given = dict.fromkeys(why for record in records for why in record.failure_reasons)
        reasons = "; ".join(given) or "the server completed none"
        raise MeasurementError(
            f"no request succeeded in the measured {span_s:.1f} s ({failed} failed): {reasons}"
        )
    done = np.concatenate([run.inferences(run.windows_ns) for run in runs])
    windows_s = np.concatenate([np.diff(run.windows_ns)[:, 0] for run in runs]) / 1e9
    inferences, rates = float(done.sum()), done / windows_s
    found.add("throughput", inferences / span_s, mean_interval(rates))
    _add_latencies(found, runs, latencies)
    requests = sum(record.requests for record in records)
    _add_cpu(found, runs, requests * workload.batch_size)
    rails_j = _add_energy(found, runs)
    throughput, latency_mean = found.metrics["throughput"], found.metrics["latency_mean"]
    behind = behind_schedule(workload, throughput.value, span_s)
    watched = [run.watched for run in runs if run.watched is not None]
    budget, power_line = _energy_budget(runs), None
    if first.power.trace is not None:
        with suppress(MeterError):  # why, the energy that is absent says
            power_line = power_timeline(first.power.trace, *first.span_ns)
    edges = first.edges_ns
    between = np.column_stack((edges[:-1], edges[1:]))
    return Measurement(
        metrics=found.metrics,
        lives=len(runs),
        spread=_spread(runs, found.metrics),
        windows=len(done),
        window_s=float(np.median(windows_s)),
        duration_s=span_s,
        requests=len(latencies),
        failures=failures,
        client_cpu_per_request_us=sum(one.client_cpu_ns for one in records) / 1e3 / requests,
        client_load=client_load(records),
        time_split_s=_time_split_s(runs, latency_mean.value),
        rails_j=rails_j,
        inferences=inferences,
        energy_failed=any(one.power.failed or (one.power.rails and not rails_j) for one in runs),
        energy_error=budget.relative if budget is not None else None,
        energy_note=_energy_note(budget),
        energy_rails=first.power.rails,
        energy_estimated=first.power.estimated,
        absent=found.absent,
        notes=tuple(
            dict.fromkeys([*([behind] if behind else []), *(n for run in runs for n in run.notes)])
        ),
        invalid="; ".join(_faults(runs, behind, found, latencies)) or None,
        late_sends=late_sends(workload, records),
        data=first.data,
        latencies=distribution(latencies),
        behind=behind,
        timeline=timeline_of(*first.record.times(), edges, first.inferences(between)),
        power=power_line,
        surroundings=surroundings(watched) if watched else None,
    )


def _spread(runs: Sequence[Gathered], metrics: Iterable[str]) -> dict[str, float]:
    """Return the SD of the logs of the lives' own values, by metric; none of a single life.

    A percentile is that of a life's own requests, however few: as noisy as they make it.
    """
    lives = [_values(run) for run in runs] if len(runs) > 1 else []
    known = [name for name in metrics if lives and all(name in values for values in lives)]
    spreads = {name: log_spread([values[name] for values in lives]) for name in known}
    return {name: spread for name, spread in spreads.items() if math.isfinite(spread)}


def _values(run: Gathered) -> dict[str, float]:
    """Return what one life by itself comes to, by metric; nothing where no request succeeded."""
    latencies_s, done = run.latencies(), float(run.inferences(run.windows_ns).sum())
    if not latencies_s.size or not done:
        return {}
    percentiles = np.quantile(latencies_s, list(QUANTILES.values()))
    found = {
        "throughput": done / run.seconds,
        "latency_mean": float(latencies_s.mean()),
        **dict(zip(QUANTILES, percentiles.tolist(), strict=True)),
    }
    if run.server_cpu_ns is not None:
        found["server_cpu_per_inference"] = float(run.server_cpu_ns.sum()) / 1e9 / done
    elif run.server_cpu_s is not None:
        inferences = run.record.requests * run.workload.batch_size
        found["server_cpu_per_inference"] = run.server_cpu_s / inferences
    trace, rails = run.power.trace, run.power.rails
    if trace is not None:
        with suppress(MeterError):  # why, the energy that is absent says
            parts = [integrate(trace, int(low), int(high)) for low, high in run.stretches_ns]
            joules = sum(part.total_j(rails) for part in parts)
            found |= {"energy_per_inference": joules / done, "power_mean": joules / run.seconds}
    return found


def _faults(
    runs: Sequence[Gathered], behind: str | None, found: Estimates, latencies_s: Values
) -> list[str]:
    """Say what makes the lives unfit to be judged; of several, in which of them."""
    said = []
    throughput, latency_mean = found.metrics["throughput"], found.metrics["latency_mean"]
    for life, run in enumerate(runs, 1):
        faults = load_faults(
            run.workload,
            run.warm_up,
            [run.record],
            run.sent,
            behind=behind is not None,
        )
        if run.workload.concurrency and not faults:
            fault = not_in_flight(run.workload, run.in_flight, throughput, latency_mean)
            faults += [fault] if fault else []
        stopped = run.watched.stopped if run.watched is not None else ()
        faults += [f"{who} was stopped meanwhile: measure again" for who in stopped]
        stalled = None if run.disturbed else stall(run.silence_s, latencies_s)
        faults += [why for why in (stalled, run.throttled) if why]
        faults = [run.disturbed, *faults] if run.disturbed else faults
        said += [fault if len(runs) == 1 else f"life {life}: {fault}" for fault in faults]
    return said


def _add_latencies(found: Estimates, runs: Sequence[Gathered], latencies_s: Values) -> None:
    sums, counts = [], []
    for run in runs:
        times = run.record.times()
        for low, high in run.windows_ns:  # one at a time: together they are all requests again
            inside = completed_between(*times, int(low), int(high))
            sums.append(float(inside.sum()))
            counts.append(len(inside))
    interval = mean_interval(ratio_values(sums, counts))
    found.add("latency_mean", float(latencies_s.mean()), interval)
    found.add_percentiles(latencies_s)


def _add_cpu(found: Estimates, runs: Sequence[Gathered], inferences: int) -> None:
    """Add the server's CPU time per inference: over the windows, else over the whole loads."""
    name, spent_s = "server_cpu_per_inference", 0.0
    for run in runs:
        if run.server_cpu_s is None:
            found.absent[name] = run.server_cpu_absent
            return
        spent_s += run.server_cpu_s
    windows_ns = [run.server_cpu_ns for run in runs if run.server_cpu_ns is not None]
    if len(windows_ns) < len(runs):
        found.add(name, spent_s / inferences)
        return
    spent = np.concatenate(windows_ns) / 1e9
    done = np.concatenate([run.inferences(run.windows_ns) for run in runs])
    each_s = float(spent.sum() / done.sum())
    found.add(name, each_s, mean_interval(ratio_values(spent, done)))


def _add_energy(found: Estimates, runs: Sequence[Gathered]) -> dict[str, float]:
    """Add energy and power over the windows; return the joules of every rail."""

    def absent(why: str) -> dict[str, float]:
        found.absent |= dict.fromkeys(("energy_per_inference", "power_mean"), why)
        return {}

    rails_j: Counter[str] = Counter()
    joules: list[float] = []
    done: list[Values] = []
    parts_s: list[Values] = []
    span_s = sum(run.seconds for run in runs)
    inferences = sum(float(run.inferences(run.windows_ns).sum()) for run in runs)
    for run in runs:
        power, trace = run.power, run.power.trace
        if trace is None:
            return absent(power.absent)
        parts = _parts(run.stretches_ns, power.minimum_window_s, span_s / _MOST_ENERGY_WINDOWS)
        try:
            for low, high in run.stretches_ns:
                rails_j.update(integrate(trace, int(low), int(high)).joules)
            joules += [
                integrate(trace, int(low), int(high)).total_j(power.rails) for low, high in parts
            ]
        except MeterError as error:
            return absent(str(error))
        done.append(run.inferences(parts))
        parts_s.append(np.diff(parts)[:, 0] / 1e9)
    if len(joules) < _FEWEST_ENERGY_WINDOWS:
        needed_s = _FEWEST_ENERGY_WINDOWS * runs[0].power.minimum_window_s
        pieces = sum(len(run.stretches_ns) for run in runs)
        in_pieces = f" in {pieces} pieces" if pieces > len(runs) else ""
        return absent(
            f"{span_s:.1f} s were measured{in_pieces}, the meter needs {needed_s:.1f} s: "
            "raise --gaitperf-budget"
        )
    each_j = np.array(joules) / np.maximum(np.concatenate(done), 1e-9)
    watts = np.array(joules) / np.concatenate(parts_s)
    total_j = sum(rails_j[rail] for rail in runs[0].power.rails)
    found.add("energy_per_inference", total_j / inferences, mean_interval(each_j))
    found.add("power_mean", total_j / span_s, mean_interval(watts))
    if gpu_rails := runs[0].power.gpu_rails:
        gpu_j = sum(rails_j[rail] for rail in gpu_rails)
        found.add("gpu_energy_per_inference", gpu_j / inferences)
    return dict(rails_j)


def _parts(stretches_ns: Times, shortest_s: float, wanted_s: float) -> Times:
    """Cut stretches into equal parts of about ``wanted_s``, none below ``shortest_s``; as rows."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    for low, high in stretches_ns:
        # A thousandth of a part more: the quotient of what was divided before may lack a hair.
        count = int(float(high - low) / 1e9 / max(shortest_s, wanted_s, 1e-3) + 1e-3)
        if count or float(high - low) / 1e9 >= shortest_s:
            edges = np.linspace(low, high, max(count, 1) + 1).astype(np.int64)
            parts.append(np.column_stack((edges[:-1], edges[1:])))
    return np.concatenate(parts)


def _energy_budget(runs: Sequence[Gathered]) -> ErrorBudget | None:
    budgets = [
        run.power.budget.cut(run.seconds, len(run.stretches_ns))
        for run in runs
        if run.power.budget is not None
    ]
    return pooled_budget(budgets) if budgets else None


def _energy_note(budget: ErrorBudget | None) -> str | None:
    """Say how long a window would have to be, where the meter leaves a large error."""
    if budget is None or budget.relative <= _LARGE_ENERGY_ERROR:
        return None
    enough_s = window_for(budget, _LARGE_ENERGY_ERROR)
    longer = f"; {enough_s:.0f} s would give {_LARGE_ENERGY_ERROR:.0%}: raise --gaitperf-budget"
    return budget.describe() + (longer if math.isfinite(enough_s) else "")


def _time_split_s(runs: Sequence[Gathered], mean_latency_s: float) -> dict[str, float]:
    """Where a request's time went, in the order of time; what nobody accounts for is network."""
    records, statistics = [run.record for run in runs], runs[0].statistics
    for run in runs[1:]:
        statistics = statistics.plus(run.statistics)
    if statistics.success_count <= 0:
        return {}
    requests = sum(record.requests for record in records)
    delays = np.concatenate([np.frombuffer(one.delays_ns, dtype=np.int64) for one in records])
    ahead = {"schedule": float(delays.mean()) / 1e9} if delays.size else {}
    ahead["client_send"] = sum(record.send_ns for record in records) / requests / 1e9
    receive_ns = sum(record.receive_ns for record in records)
    receiving = {"client_receive": receive_ns / requests / 1e9}
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
