"""What a sustained load came to, or has come to so far: a Measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.host.utilisation import utilisation
from pytest_gaitperf.host.watch import surroundings
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.estimates import QUANTILES, Estimates
from pytest_gaitperf.measure.parts import Latencies
from pytest_gaitperf.measure.validity import (
    behind_schedule,
    client_load,
    load_faults,
    too_few_in_flight,
    too_late,
)
from pytest_gaitperf.measurement import Measurement, Sustained, Utilisation
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.power.energy import pooled_budget
from pytest_gaitperf.power.metering import rails_left_out
from pytest_gaitperf.stats import Interval, mean_interval, minimum_count, quantile_interval
from pytest_gaitperf.text import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.host.utilisation import Look
    from pytest_gaitperf.host.watch import Watched
    from pytest_gaitperf.measure.parts import Parts, Rate
    from pytest_gaitperf.power.energy import ErrorBudget
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

_P99, _LAST = 0.99, "sustained_latency_p99"
_MOST_HELD = 3


@dataclass(slots=True, kw_only=True)
class Held:
    """All there is of a load so far.

    ``held_back`` has when and by what the device was slowed. ``looks`` has some of how busy the
    machine was. ``no_power`` says why there are no joules, ``lost`` why the load ended before its
    time, ``faults`` what makes it unfit to be judged. ``server_cpu_s`` is over the parts and a
    little more, in which ``requests`` were answered. ``sent`` is the server's count, None where it
    could not be asked.
    """

    workload: Workload
    parts: Parts
    warm_up: LoadRecord
    data: str
    meter: Meter | None
    no_power: str
    record: LoadRecord = field(default_factory=LoadRecord)
    held_back: Sequence[tuple[int, str]] = ()
    looks: list[Look] = field(default_factory=list)
    hottest_c: dict[str, float] = field(default_factory=dict)
    budgets: list[ErrorBudget] = field(default_factory=list)
    watched: Watched | None = None
    sent: ModelStatistics | None = None
    server_cpu_s: float | None = None
    server_cpu_absent: str = ""
    power_failed: bool = False
    lost: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate_sustained(held: Held) -> Measurement:
    """Turn what there is of a load, one part at least, into a measurement.

    One that is neither whole nor plainly lost is invalid, and does not say what was sustained.
    """
    parts, workload = held.parts, held.workload
    span_s = sum(part.seconds for part in parts.done)
    inferences = sum(part.inferences for part in parts.done)
    latencies, found = Latencies.of(parts.done), Estimates()
    rates = [part.rate for part in parts.done]
    found.add("throughput", inferences / span_s, mean_interval(rates))
    if latencies:
        found.add("latency_mean", parts.busy_s / len(latencies))
    _add_percentiles(found, latencies, QUANTILES)
    _add_cpu(found, held)
    rails_j = _add_energy(found, held, span_s, inferences)
    whole = parts.complete or bool(held.lost)
    behind = None
    if (last := parts.last_rate) is not None:
        last_s = sum(part.seconds for part in parts.last)
        behind = behind_schedule(workload, last[0], last_s, 0.0)
    faults = list(_faults(held, span_s, whole=whole, behind=behind is not None))
    said = _add_sustained(found, held) if whole else f"it was kept up for {time_text(span_s)} only"
    if said:
        found.absent |= dict.fromkeys(
            (name for name in QUANTITIES["sustained"] if name not in found.metrics), said
        )
    sustained = _sustained(held)
    requests, meter = held.record.requests, held.meter
    client_s = held.record.client_cpu_ns / 1e9
    return Measurement(
        metrics=found.metrics,
        absent=found.absent,
        windows=len(parts.done),
        window_s=parts.done[0].seconds,
        duration_s=span_s,
        requests=len(latencies),
        inferences=inferences,
        failures=held.warm_up.failures + held.record.failures,
        late_sends=parts.late,
        send_error_p99_s=parts.delays.quantile(_P99),
        client_cpu_per_request_us=client_s / max(requests, 1) * 1e6,
        client_load=client_load([held.record]) if held.record.drained_ns else 0.0,
        data=held.data,
        rails_j=rails_j,
        energy_rails=() if meter is None else tuple(meter.total_rails),
        energy_estimated=meter is not None and meter.estimated,
        energy_failed=held.power_failed,
        energy_error=pooled_budget(held.budgets).relative if held.budgets and rails_j else None,
        invalid="; ".join(faults) or None,
        behind=behind,
        notes=tuple(
            dict.fromkeys(filter(None, (behind, *_notes(held, sustained, rails_j), *held.notes)))
        ),
        surroundings=surroundings([held.watched]) if held.watched is not None else None,
        utilisation=_utilisation(held),
        sustained=sustained,
    )


def _add_percentiles(
    found: Estimates, latencies: Latencies, quantiles: dict[str, float], where: str = ""
) -> None:
    for name, quantile in quantiles.items():
        interval, value = quantile_interval(latencies, quantile), latencies.quantile(quantile)
        if interval is not None and value is not None:
            found.add(name, value, interval)
        else:
            found.absent[name] = (
                f"{len(latencies)} requests{where}, {minimum_count(quantile)} are needed: sustain "
                "the load for longer"
            )


def _add_cpu(found: Estimates, held: Held) -> None:
    name = "server_cpu_per_inference"
    if held.server_cpu_s is None or not held.record.requests:
        found.absent[name] = held.server_cpu_absent or "the load did not come to its end"
        return
    found.add(name, held.server_cpu_s / (held.record.requests * held.workload.batch_size))


def _add_energy(found: Estimates, held: Held, span_s: float, inferences: float) -> dict[str, float]:
    """Add power and energy where every part has its joules; return those of each rail."""
    joules = [part.joules for part in held.parts.done if part.joules is not None]
    if held.meter is None or len(joules) < len(held.parts.done):
        why = held.no_power or "the load ended before the meter had seen all of it"
        found.absent |= dict.fromkeys(("energy_per_inference", "power_mean"), why)
        return {}
    totals = [sum(one[rail] for rail in held.meter.total_rails) for one in joules]
    watts = [j / part.seconds for j, part in zip(totals, held.parts.done, strict=True)]
    found.add("power_mean", sum(totals) / span_s, mean_interval(watts))
    if inferences:
        found.add("energy_per_inference", sum(totals) / inferences)
    # A rail that one part lacks has no joules.
    common = [rail for rail in joules[0] if all(rail in one for one in joules)]
    return {rail: sum(one[rail] for one in joules) for rail in common}


def _add_sustained(found: Estimates, held: Held) -> str:
    """Add what was sustained; return why some of it is not known, "" where all is."""
    parts, poisson = held.parts, held.workload.arrival == "poisson"
    first, last = parts.first_rate, parts.last_rate
    _add_percentiles(found, Latencies.of(parts.calm_end), {_LAST: _P99}, " at the end")
    if last is None:
        return "others disturbed more than half of the end"
    found.add("sustained_throughput", *last)
    if first is None or not first[0]:
        return "others disturbed more than half of the beginning"
    if poisson:
        return "Poisson arrivals differ by chance from minute to minute: the rest tells"
    found.add("sustained_ratio", last[0] / first[0], _ratio_interval(first, last))
    return ""


def _ratio_interval(first: Rate, last: Rate) -> Interval | None:
    """Return the interval of the ratio of two rates: the half-widths add up by squares."""
    if not last[0]:
        return None
    halves = [(high - low) / 2 / mean for mean, (low, high) in (first, last)]
    half, ratio = math.hypot(*halves), last[0] / first[0]
    return Interval(ratio * math.exp(-half), ratio * math.exp(half)) if half < math.inf else None


def _faults(held: Held, span_s: float, *, whole: bool, behind: bool) -> Iterator[str]:
    """Say what makes the load unfit to be judged."""
    parts, workload = held.parts, held.workload
    faults = list(held.faults)
    if held.sent is not None:
        faults += load_faults(workload, held.warm_up, [held.record], held.sent)
        if not (faults or behind):
            faults += too_late(workload, parts.late, parts.sent)
    if not whole:
        yield _ended(held, faults)
    else:
        yield from faults
    fault = held.watched.fault if held.watched is not None else None
    if 2 * sum(part.disturbed for part in parts.done) > len(parts.done):
        yield fault or "others disturbed most of it"
    elif whole and parts.last_rate is None:
        yield f"most of the end was disturbed: {fault}"
    elif whole and parts.first_rate is None:
        yield f"most of the beginning was disturbed: {fault}"
    stopped = held.watched.stopped if held.watched is not None else ()
    yield from (f"{who} was stopped meanwhile: measure again" for who in stopped)
    rate = sum(part.inferences for part in parts.done) / workload.batch_size / span_s
    if parts.complete and (why := too_few_in_flight(workload, parts.busy_s / span_s, rate)):
        yield why


def _notes(held: Held, seen: Sustained, rails_j: dict[str, float]) -> Iterator[str]:
    if held.meter is not None and rails_j:
        yield rails_left_out(held.meter, rails_j)
    if seen.ended:
        yield seen.ended
    disturbed = sum(seen.disturbed)
    if disturbed and held.watched is not None:
        by = ", ".join(surroundings([held.watched]).culprits)
        counted = f"{disturbed} of {len(seen.disturbed)} parts were disturbed"
        yield f"{counted}" + (f" ({by})" if by else "")
    if seen.throttled_after_s is not None:
        yield f"throttled after {time_text(seen.throttled_after_s)}: {seen.throttled_by}"


def _sustained(held: Held) -> Sustained:
    parts, done = held.parts, held.parts.done
    rails = () if held.meter is None else held.meter.total_rails
    edges = [done[0].start_ns, *(part.end_ns for part in done)]
    inside = [(at, what) for at, what in held.held_back if edges[0] <= at <= edges[-1]]
    named = dict.fromkeys(what for _, what in inside)
    return Sustained(
        asked_s=parts.seconds,
        edges_s=tuple((edge - edges[0]) / 1e9 for edge in edges),
        throughput=tuple(part.rate for part in done),
        latency_p50_s=tuple(part.latencies.quantile(0.5) for part in done),
        latency_p99_s=tuple(part.latencies.quantile(_P99) for part in done),
        watts=tuple(
            None if part.joules is None else sum(part.joules[rail] for rail in rails) / part.seconds
            for part in done
        ),
        temperature_c=tuple(part.temperature_c for part in done),
        clock_hz=tuple(part.clock_hz for part in done),
        disturbed=tuple(part.disturbed for part in done),
        throttled=tuple(part.throttled for part in done),
        throttled_after_s=(inside[0][0] - edges[0]) / 1e9 if inside else None,
        throttled_by="; ".join(list(named)[:_MOST_HELD]),
        requests=len(Latencies.of(parts.calm_end)),
        ended="" if parts.complete else _ended(held, [held.lost] if held.lost else held.faults),
    )


def _ended(held: Held, why: Sequence[str]) -> str:
    seconds = sum(part.seconds for part in held.parts.done)
    lasted = f"it ended after {time_text(seconds)} of {time_text(held.parts.seconds)}"
    return f"{lasted}: {'; '.join(why)}"


def _utilisation(held: Held) -> Utilisation | None:
    span = held.parts.start_ns, held.parts.done[-1].end_ns
    found = utilisation([(held.looks, span)])
    if found is None:
        return None
    return msgspec.structs.replace(found, temperatures_c=dict(held.hottest_c))
