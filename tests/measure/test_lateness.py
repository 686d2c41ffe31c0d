"""Whether a load is served, from the times of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.measure.capacity import Lateness, Target, lateness

if TYPE_CHECKING:
    from collections.abc import Sequence

MS = 1_000_000
TARGET = Target(0.04, 99.0)


def seen(
    latencies_ms: Sequence[float],
    *,
    rate: float = 100.0,
    now_s: float | None = None,
    target: Target = TARGET,
) -> Lateness:
    """Look at a load whose k-th request, due at k / rate, took so long; inf is no answer at all."""
    due = np.rint(np.arange(len(latencies_ms)) * 1e9 / rate).astype(np.int64)
    latency = np.array(latencies_ms, dtype=float)
    now_ns = int((len(latency) / rate + 10.0 if now_s is None else now_s) * 1e9)
    ends = due + latency * MS
    answered = ends <= now_ns
    until = int(due[-1] + target.deadline_s * 1e9) if now_s is None else now_ns
    return lateness(
        due[answered],
        ends[answered].astype(np.int64),
        first_ns=0,
        now_ns=until,
        rate_per_s=rate,
        target=target,
    )


def test_a_request_is_late_beyond_the_deadline_or_without_an_answer() -> None:
    found = seen([10, 40, 41, np.inf, 10])
    assert (found.requests, found.late) == (5, 2)
    assert found.latency_s == pytest.approx(0.041, rel=0.05)


def test_what_may_still_be_in_time_does_not_count_yet() -> None:
    # At 0.1 s what was due after 0.06 s has not missed anything.
    found = seen([np.inf] * 20, now_s=0.1)
    assert (found.requests, found.late) == (7, 7)
    assert seen([10.0] * 20, now_s=0.03).requests == 0
    assert seen([10.0] * 20, now_s=0.03).decided(TARGET, 9.0, 1.0) is None


@given(st.lists(st.floats(0.1, 200.0), min_size=1, max_size=200), st.floats(10.0, 500.0))
def test_every_request_that_was_due_is_counted_once(latencies: list[float], rate: float) -> None:
    found = seen(latencies, rate=rate)
    assert found.requests == len(latencies)
    assert found.late == sum(round(latency * MS) > 40 * MS for latency in latencies)


def test_a_backlog_ends_the_trial_at_once_and_a_single_stall_does_not() -> None:
    overloaded = seen([10 + 3 * k for k in range(60)])
    assert overloaded.decided(TARGET, 0.6, 2.0) is False
    stalled = seen([10.0] * 40 + [100 - 10 * k for k in range(9)] + [10.0] * 11)
    assert stalled.late == 6
    assert stalled.decided(TARGET, 0.6, 2.0) is None


def test_no_late_request_is_served_after_the_shortest_trial_and_one_makes_it_longer() -> None:
    clean, doubtful = seen([10.0] * 100), seen([10.0] * 50 + [50.0] + [10.0] * 49)
    assert clean.decided(TARGET, 0.9, 1.0) is None
    assert clean.decided(TARGET, 1.0, 1.0) is True
    assert doubtful.decided(TARGET, 1.0, 1.0) is None
    assert doubtful.decided(TARGET, 3.0, 1.0) is True, "1 of 100 is what is allowed"
    assert seen([10.0] * 50 + [50.0] + [10.0] * 48).decided(TARGET, 3.0, 1.0) is False


def test_the_binomial_is_sure_before_the_longest_trial() -> None:
    # P(Binomial(700, 0.01) <= 2) = 0.03.
    latencies = [10.0] * 700
    latencies[100] = latencies[500] = 50.0
    assert seen(latencies).decided(TARGET, 1.0, 1.0) is True


def test_growing_delays_are_no_service_though_all_were_in_time() -> None:
    far = Target(1.0, 99.0)
    growing = seen([10 + 6 * k for k in range(100)], target=far)
    assert growing.late == 0
    assert growing.decided(far, 1.0, 1.0) is None
    assert growing.decided(far, 3.0, 1.0) is False
    scattered = seen([10.0 + 900 * (k % 7 == 0) for k in range(100)], target=far)
    assert scattered.decided(far, 1.0, 1.0) is True


def test_a_trial_lasts_for_requests_enough_and_for_many_deadlines() -> None:
    assert TARGET.shortest_s(1000.0) == 0.8
    assert TARGET.shortest_s(20.0) == 1.5
    assert Target(0.5, 99.0).shortest_s(1000.0) == 5.0
