"""What makes a measured cell unfit to be judged, and what its reader should know; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import mean_in_flight

if TYPE_CHECKING:
    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.metrics import Estimate

SATURATED = 0.95
"""Share of one core at which the client, not the server, is taken to set the pace."""

IDLE_SLOTS = 0.1
"""Share of the request slots that may stand empty, on average, before the load is not what was
asked for; also how far Little's law may be off, beyond noise."""

LATE_S = 1e-3
LATE_SHARE_OF_GAP = 0.1
LATE_SHARE_OF_DEADLINE = 0.1
"""A send is late by more than 1 ms, or a tenth of the time between sends where that is longer: what
a general-purpose kernel's timers may be off without changing what the server sees. Where there is a
deadline, so little of it does not change who meets it, and a tenth of it is allowed."""

MOST_LATE = 0.1
"""Share of late sends above which the client has not kept the schedule: below it, even the 90th
percentile is the server's own."""

_BEHIND = 0.05
_BEHIND_REQUESTS = 4.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was estimated for the span from ``first_ns`` to ``last_ns``."""

    throughput: Estimate
    latency_mean: Estimate
    first_ns: int
    last_ns: int


def behind(run: Gathered, seen: Seen) -> str | None:
    """Say that the server did not keep an open loop's rate, None where it did.

    More than 5 % of the requests that were due in the span, and more than four (of Poisson arrivals
    more than three standard deviations), have not completed in it. That is a result, not a fault: a
    model that became too slow must be red.
    """
    rate = run.workload.sends_per_s
    if not rate:
        return None
    span_s = (seen.last_ns - seen.first_ns) / 1e9
    completed = seen.throughput.value / run.workload.batch_size
    due = rate * span_s
    chance = 3 * math.sqrt(due) if run.workload.arrival == "poisson" else 0.0
    if due - completed * span_s <= max(_BEHIND * due, _BEHIND_REQUESTS, chance):
        return None
    return f"completed {completed:.3g} of {rate:.3g} requests/s: the backlog grew"


def late_sends(run: Gathered) -> int:
    """Return how many requests of an open loop were sent too late, 0 for a closed one."""
    delays = np.frombuffer(run.record.delays_ns, dtype=np.int64)
    if not delays.size:
        return 0
    workload = run.workload
    of_gap_s = LATE_SHARE_OF_GAP / workload.sends_per_s
    limit_s = max(LATE_S, of_gap_s, LATE_SHARE_OF_DEADLINE * workload.deadline_s)
    return int((delays > limit_s * 1e9).sum())


def faults(run: Gathered, client_load: float, seen: Seen) -> list[str]:
    """Say what makes the run unfit to be judged; ``client_load`` is in cores."""
    found = []
    failures = run.warm_up.failures + run.record.failures
    if failures:
        reasons = [*run.warm_up.failure_reasons, *run.record.failure_reasons]
        found.append(f"{failures} requests failed: {'; '.join(dict.fromkeys(reasons))}")
    expected = (run.warm_up.requests + run.record.requests) * run.workload.batch_size
    counted = run.sent.inference_count
    if counted > expected and not failures:
        found.append(
            f"another client uses the server: it counted {counted} inferences of this model, "
            f"{expected} were ours; stop the other client"
        )
    if counted < expected:
        found.append(
            f"the server counted {counted} inferences, {expected} were sent: a cache or a proxy "
            "answers in its place"
        )
    if client_load > SATURATED:
        found.append(
            f"the client was busy {client_load:.0%} of the time: it, not the server, set the pace; "
            "use fewer, larger requests"
        )
    elif not failures:
        check = _not_in_flight if run.workload.concurrency else _not_on_schedule
        found += check(run, seen)
    if run.throttled:
        found.append(run.throttled)
    return found


def _not_in_flight(run: Gathered, seen: Seen) -> list[str]:
    asked = run.workload.concurrency
    starts, ends = run.record.times()
    in_flight = mean_in_flight(starts, ends, seen.first_ns, seen.last_ns)
    if in_flight < (1 - IDLE_SLOTS) * asked:
        where = "connections are closed after each response, or the client was held up"
        return [f"only {in_flight:.2f} of {asked} requests were in flight on average: {where}"]
    # Little: the mean number in flight is the rate times the mean time in flight.
    half_widths = [seen.throughput.relative_half_width, seen.latency_mean.relative_half_width]
    noise = sum(math.inf if width is None else width for width in half_widths)
    product = seen.throughput.value / run.workload.batch_size * seen.latency_mean.value
    if abs(product / asked - 1) <= IDLE_SLOTS + noise:
        return []
    advice = "Little's law does not hold, so the load was not steady: raise --gaitperf-budget"
    return [f"throughput x mean latency is {product:.2f}, and {asked} were in flight: {advice}"]


def _not_on_schedule(run: Gathered, seen: Seen) -> list[str]:
    late, sent = late_sends(run), len(run.record.delays_ns)
    # Where the server fell behind, requests waited for it, not for the client.
    if late <= MOST_LATE * sent or behind(run, seen) is not None:
        return []
    rate = f"{run.workload.sends_per_s:.4g} requests/s"
    advice = f"it could not keep the schedule of {rate}; lower the rate, or free the machine"
    return [f"the client sent {late} of {sent} requests late: {advice}"]
