"""What makes a measured load unfit to be judged, and what its reader should know."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.text import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

    Values = npt.NDArray[np.float64]

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

STALL_S, STALL_MEDIANS, STALL_P90 = 0.5, 10.0, 5.0
"""A server that answers nothing for so long, in seconds, in median latencies and in 90th
percentiles, stood still."""

_BEHIND = 0.05
_BEHIND_REQUESTS = 4.0


def client_load(records: Sequence[LoadRecord]) -> float:
    """Return how busy the client was from the first send to the last answer, in cores."""
    busy_ns = sum(record.drained_ns - record.first_send_ns for record in records)
    return sum(record.client_cpu_ns for record in records) / max(busy_ns, 1)


def late_sends(workload: Workload, records: Sequence[LoadRecord]) -> int:
    """Return how many requests of an open loop were sent too late, 0 for a closed one."""
    limit_s = late_from_s(workload)
    delays = (np.frombuffer(record.delays_ns, dtype=np.int64) for record in records)
    return sum(int((one > limit_s * 1e9).sum()) for one in delays)


def late_from_s(workload: Workload) -> float:
    """Return from which delay on a request of an open loop is late; inf where none can be."""
    if not workload.sends_per_s or workload.at_once:
        return math.inf  # a request of a sequence waits for the one before
    of_gap_s = LATE_SHARE_OF_GAP / workload.sends_per_s
    return max(LATE_S, of_gap_s, LATE_SHARE_OF_DEADLINE * workload.deadline_s)


def load_faults(
    workload: Workload,
    warm_up: LoadRecord,
    records: Sequence[LoadRecord],
    booked: ModelStatistics,
    *,
    of: str = "",
    behind: bool = False,
) -> list[str]:
    """Say what makes a load unfit to be judged.

    ``booked`` is what the server counted over the warm-up and all ``records``, ``of`` names the
    model where there are two ("" or " of the candidate"). Where the server fell ``behind``,
    requests waited for it, not for the client.
    """
    found = []
    everything = [warm_up, *records]
    failures = sum(record.failures for record in everything)
    if failures:
        reasons = dict.fromkeys(why for record in everything for why in record.failure_reasons)
        found.append(f"{failures} requests{of} failed: {'; '.join(reasons)}")
    requests = sum(record.requests for record in everything)
    counted, expected = booked.inference_count, requests * workload.batch_size
    if booked.absent:
        counted = expected
    if counted > expected and not failures:
        found.append(
            f"another client uses the server: it counted {counted} inferences"
            f"{of or ' of this model'}, {expected} were ours; stop the other client"
        )
    if counted < expected:
        cached = booked.success_count >= requests  # which counts what came out of a cache too
        found.append(
            f"the server counted {counted} inferences{of}, {expected} were sent: "
            "its response cache answers: switch it off for this model"
            if cached
            else f"the server did not count all of {expected} inferences{of}: the model was loaded "
            "again meanwhile, or a proxy answers in the server's place: let nothing change the "
            "server during a run, and give its own address"
        )
    busy = client_load(records)
    if busy > SATURATED:
        found.append(
            f"the client was busy {busy:.0%} of the time: it, not the server, set the pace{of}; "
            "use fewer, larger requests"
        )
    late, sent = late_sends(workload, records), sum(len(record.delays_ns) for record in records)
    if not (found or behind):
        found += too_late(workload, late, sent, of)
    return found


def too_late(workload: Workload, late: int, sent: int, of: str = "") -> list[str]:
    """Say that the client did not keep an open loop's schedule: ``late`` of ``sent`` requests."""
    said = (
        f"the client sent {late} of {sent} requests{of} late: it could not keep the schedule "
        f"of {workload.sends_per_s:.4g} requests/s; lower the rate, or free the machine"
    )
    return [said] if late > MOST_LATE * sent else []


def send_error_p99_s(records: Sequence[LoadRecord]) -> float | None:
    """Return the p99 of how late an open loop's requests were sent (s), None for a closed one."""
    delays = np.concatenate([np.frombuffer(one.delays_ns, dtype=np.int64) for one in records])
    return float(np.quantile(delays, 0.99)) / 1e9 if delays.size else None


def behind_schedule(
    workload: Workload, throughput: float, span_s: float, recorded: float
) -> str | None:
    """Say that the server did not keep an open loop's rate, None where it did.

    More than 5 % of the requests that were due in the span, and more than four (of Poisson arrivals
    more than three standard deviations), have not completed in it. That is a result, not a fault: a
    model that became too slow must be red. ``throughput`` is in inferences/s, ``recorded`` how many
    requests of a trace were due in the span.
    """
    rate, completed = workload.sends_per_s, throughput / workload.batch_size
    if not rate:
        return None
    due = recorded if workload.trace else rate * span_s
    chance = 3 * math.sqrt(due) if workload.arrival == "poisson" else 0.0
    if due - completed * span_s <= max(_BEHIND * due, _BEHIND_REQUESTS, chance):
        return None
    return f"completed {brief(completed)} of {brief(due / span_s)} requests/s: the backlog grew"


def fell_behind(workload: Workload, records: Sequence[LoadRecord]) -> bool:
    """Return whether the server did not keep an open loop's rate in turns, idle before each.

    It did not where what was in flight at the last send took longer from there than the turn's
    first request did, by more than 5 % of the time of sending; of all turns together.
    """
    answered = [record for record in records if workload.sends_per_s and record.requests]
    first_ns = sum(record.ends_ns[0] - record.starts_ns[0] for record in answered)
    drains_ns = sum(record.drained_ns - record.stopped_ns for record in answered)
    sending_ns = sum(record.stopped_ns - record.first_send_ns for record in answered)
    return drains_ns - first_ns > _BEHIND * sending_ns


def stall(silence_s: float, latencies_s: Values) -> str | None:
    """Say that the server stood still: nothing came for far longer than requests take, else None.

    ``silence_s`` is the longest time without an answer that was due, ``latencies_s`` are sorted. A
    slow model is silent for one latency, one that answers in bursts too; one with a long tail is
    known by its 90th percentile, unless fewer than one request in ten belong to it: those may take
    ten times the median.
    """
    median_s, p90_s = np.quantile(latencies_s, [0.5, 0.9])
    if silence_s <= max(STALL_S, STALL_MEDIANS * median_s, STALL_P90 * p90_s):
        return None
    return (
        f"no answer for {silence_s:.1f} s, {silence_s / median_s:.0f} times the median latency: "
        "the server stood still; find out why, and measure again"
    )


def unlike_little(workload: Workload, throughput: Estimate, latency_mean: Estimate) -> str | None:
    """Say that rate and latency do not fit the requests in flight in a closed loop, else None."""
    asked, rate = workload.concurrency, throughput.value / workload.batch_size
    # Little: the mean number of clients is the rate times the mean time of a request and a thought.
    half_widths = [throughput.relative_half_width, latency_mean.relative_half_width]
    noise = sum(math.inf if width is None else width for width in half_widths)
    product = rate * (latency_mean.value + workload.think_s)
    if abs(product / asked - 1) <= IDLE_SLOTS + noise:
        return None
    advice = "Little's law does not hold, so the load was not steady: raise --gaitperf-budget"
    thinking = " (and think time)" if workload.think_s else ""
    return (
        f"throughput x mean latency{thinking} is {product:.2f}, and {asked} were in flight: "
        f"{advice}"
    )


def too_few_in_flight(workload: Workload, in_flight: float, rate: float) -> str | None:
    """Say that fewer requests of a closed loop were in flight than slots did not think, else None.

    ``rate`` is in requests/s: so often a slot began to think.
    """
    asked = workload.concurrency - rate * workload.think_s
    if in_flight + rate * workload.think_s >= (1 - IDLE_SLOTS) * workload.concurrency:
        return None
    where = "connections are closed after each response, or the client was held up"
    return f"only {in_flight:.2f} of {asked:.3g} requests were in flight on average: {where}"
