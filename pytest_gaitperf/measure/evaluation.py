"""What was gathered under load -> a Measurement: estimates with intervals."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.host.utilisation import utilisation
from pytest_gaitperf.host.watch import surroundings
from pytest_gaitperf.load.record import completed_between
from pytest_gaitperf.measure.estimates import (
    FIRST_ANSWERS,
    QUANTILES,
    Estimates,
    add_answers,
    add_cpu,
    add_energy,
    add_goodput,
    add_latencies,
    energy_budget,
    energy_note,
)
from pytest_gaitperf.measure.gathered import joined, undisturbed
from pytest_gaitperf.measure.mixes import neighbour_faults, neighbours_of, without_energy
from pytest_gaitperf.measure.parts import MOST_PARTS
from pytest_gaitperf.measure.validity import (
    behind_schedule,
    client_load,
    late_sends,
    load_faults,
    send_error_p99_s,
    stall,
    too_few_in_flight,
    unlike_little,
)
from pytest_gaitperf.measurement import Distribution, Kept, Measurement, Timeline
from pytest_gaitperf.power.energy import integrate, power_timeline
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    ratio_values,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measure.gathered import Gathered

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]


def evaluate(runs: Sequence[Gathered]) -> Measurement:
    """Turn what was gathered into estimates with intervals, and check that it may be trusted.

    ``runs`` has one or more lives of one cell. Those that others disturbed are left out, and said
    to be, where they are less than half. Throughput and energy are those of all windows together;
    the latencies are those of the requests completed in them, pooled. The timelines show the first
    life.

    Raises MeasurementError: no request succeeded in the windows.
    """
    watched = [run.watched for run in runs if run.watched is not None]
    numbered, notes = undisturbed(runs)
    runs = list(numbered.values())
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
    recorded = 0.0
    if workload.trace:
        # What is due differs from window to window by itself: what varies is the share of it done.
        counts = [run.due_and_done for run in runs]
        due, of_due = (np.concatenate(column) for column in zip(*counts, strict=True))
        recorded = float(due.sum())
        if recorded:  # else all that was done was due before
            rates = ratio_values(of_due, due) * recorded * workload.batch_size / span_s
    found.add("throughput", inferences / span_s, mean_interval(rates))
    add_latencies(found, runs, latencies)
    add_answers(found, runs, windows_s)
    add_goodput(found, runs, windows_s)
    requests = sum(record.requests for record in records)
    add_cpu(found, runs, requests * workload.batch_size)
    rails_j = add_energy(found, runs)
    neighbours = neighbours_of(runs)
    if neighbours:
        without_energy(found)
    throughput, latency_mean = found.metrics["throughput"], found.metrics["latency_mean"]
    behind = behind_schedule(workload, throughput.value, span_s, recorded)
    budget, power_line = energy_budget(runs), None
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
        energy_note=energy_note(budget),
        energy_rails=first.power.rails,
        energy_estimated=first.power.estimated,
        absent=found.absent,
        notes=tuple(
            dict.fromkeys(
                note
                for note in (
                    behind,
                    *(f"neighbour {one.name} {one.behind}" for one in neighbours if one.behind),
                    *notes,
                    *(note for run in runs for note in (*run.notes, run.power.note)),
                )
                if note
            )
        ),
        invalid="; ".join(_faults(numbered, behind, found, latencies, neighbours)) or None,
        late_sends=late_sends(workload, records),
        send_error_p99_s=send_error_p99_s(records),
        data=first.data,
        latencies=distribution(latencies),
        behind=behind,
        neighbours=neighbours,
        timeline=timeline_of(*first.record.times(), edges, first.inferences(between)),
        power=power_line,
        surroundings=surroundings(watched) if watched else None,
        utilisation=utilisation((run.looks, run.span_ns) for run in runs),
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
    within_s, good = run.workload.deadline_s, 0.0
    if within_s:
        good = float(run.inferences(run.windows_ns, within_s).sum())
        found["goodput"] = good / run.seconds
    if run.workload.streaming:
        found["answer_rate"] = float(run.answers(run.windows_ns).sum()) / run.seconds
        if (firsts := run.first_answers()).size:
            values = np.quantile(firsts, list(FIRST_ANSWERS.values()))
            found |= dict(zip(FIRST_ANSWERS, values.tolist(), strict=True))
    trace, rails = run.power.trace, run.power.rails
    if trace is not None:
        with suppress(MeterError):  # why, the energy that is absent says
            parts = [integrate(trace, int(low), int(high)) for low, high in run.stretches_ns]
            joules = sum(part.total_j(rails) for part in parts)
            found |= {"energy_per_inference": joules / done, "power_mean": joules / run.seconds}
            if within_s and joules > 0:
                found["goodput_per_joule"] = good / joules
    return found


def _faults(
    lives: Mapping[int, Gathered],
    behind: str | None,
    found: Estimates,
    latencies_s: Values,
    neighbours: Sequence[Kept] = (),
) -> list[str]:
    """Say what makes the lives unfit to be judged; of several, in which of them."""
    said = []
    throughput, latency_mean = found.metrics["throughput"], found.metrics["latency_mean"]
    for life, run in lives.items():
        load = run.workload
        faults = load_faults(load, run.warm_up, [run.record], run.sent, behind=behind is not None)
        if load.concurrency and not faults:
            # Each life has its own rate; Little's law holds of all together.
            rate = float(run.inferences(run.windows_ns).sum()) / run.seconds / load.batch_size
            fault = too_few_in_flight(load, run.in_flight, rate)
            fault = fault or unlike_little(load, throughput, latency_mean)
            faults += [fault] if fault else []
        stopped = run.watched.stopped if run.watched is not None else ()
        faults += [f"{who} was stopped meanwhile: measure again" for who in stopped]
        stalled = None if run.disturbed else stall(run.silence_s, latencies_s)
        faults += [why for why in (stalled, run.throttled) if why]
        faults += neighbour_faults(run, neighbours)
        faults = [run.disturbed, *faults] if run.disturbed else faults
        said += [fault if len(lives) == 1 else f"life {life}: {fault}" for fault in faults]
    return said


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
