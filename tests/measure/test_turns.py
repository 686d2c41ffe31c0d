"""When pairs are analysed, and what one turn tells, from records whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_gaitperf.gate.pairing import pairs_needed
from pytest_gaitperf.measure.turns import (
    LongTurn,
    joules_and_requests,
    percentile_ratios,
    schedule,
    seconds_per_request,
    settled_latencies,
)
from pytest_gaitperf.power.metering import PowerReading
from pytest_gaitperf.power.trace import Trace
from tests.load.synthetic import START_NS, closed_loop, steady


def test_the_time_of_a_turn_is_shared_by_its_requests() -> None:
    assert seconds_per_request(steady(4, 0.1, 1.0)) == pytest.approx(0.1 / 4)


def test_requests_that_met_an_empty_queue_are_left_out() -> None:
    # Four slots on a server that takes one at a time: the first four wait less.
    first = np.array([[0.1], [0.2], [0.3], [0.4]])
    record = closed_loop(np.concatenate([first, np.full((4, 2), 0.4)], axis=1))
    assert settled_latencies(record) == pytest.approx([0.4] * 8)


def test_a_turn_of_first_requests_only_has_their_latencies() -> None:
    assert settled_latencies(steady(1, 0.1, 0.1)) == pytest.approx([0.1])
    assert len(settled_latencies(closed_loop(np.array([[0.1], [0.2]])))) == 2


def test_a_percentile_is_compared_in_groups_of_enough_requests() -> None:
    slow, fast = [np.full(3, 0.2)] * 5, [np.full(4, 0.1)] * 5
    # Three requests in each pair of the slower side, six wanted: two groups, and a pair left over.
    assert percentile_ratios(slow, fast, 0.99, 6) == pytest.approx([math.log(2)] * 2)
    assert percentile_ratios(fast, slow, 0.99, 6) == pytest.approx([-math.log(2)] * 2)
    assert percentile_ratios(slow, fast, 0.99, 16) == []


def test_joules_and_requests_are_those_between_the_two_ends_of_a_long_turn() -> None:
    record = steady(2, 0.1, 2.0)
    start, end = START_NS + 5 * 10**8, START_NS + 15 * 10**8
    times = np.linspace(START_NS, START_NS + 2 * 10**9, 50).astype(np.int64)
    values = np.tile([10.0, 3.0], (50, 1))
    power = PowerReading(Trace(("IN", "GPU"), times, values, "power"), rails=("IN",))
    (found,) = joules_and_requests([LongTurn(record, start, end)], power)
    assert found == pytest.approx((10.0, 20.0))


# The schedule


def test_stages_are_due_at_their_share_of_the_time() -> None:
    planned = schedule(0.01, pair_s=0.5, left_s=20.0, most_s=60.0)
    assert planned.stages[-1].pairs == 40
    first, last = planned.stages[0], planned.stages[-1]
    due = 20.0 * first.pairs / 40
    assert planned.goes_on(first, 99, due - 0.01)
    assert not planned.goes_on(first, 99, due)
    assert planned.goes_on(last, 99, 19.9)
    assert not planned.goes_on(last, 99, 20.0)
    assert planned.too_few(40, 20.0) is None


def test_slow_pairs_get_the_time_that_a_decision_needs_and_no_more() -> None:
    alpha = 2.0**-9
    needed = pairs_needed(alpha / 2)
    assert needed == 10
    planned = schedule(alpha, pair_s=3.0, left_s=20.0, most_s=60.0)
    assert planned.seconds == 30.0
    last = planned.stages[-1]
    assert planned.goes_on(last, needed - 1, 59.0)
    assert not planned.goes_on(last, needed - 1, 60.0)
    assert not planned.goes_on(last, needed, 30.0)


def test_the_budget_that_would_do_is_told() -> None:
    planned = schedule(2.0**-9, pair_s=9.0, left_s=20.0, most_s=60.0)
    assert planned.seconds == 60.0
    said = planned.too_few(6, 60.0)
    assert said is not None
    assert "6 pairs of 10.0 s fit the budget, and 10 are needed" in said
    assert said.endswith("--gaitperf-budget=34 or more")


@pytest.mark.parametrize("left_s", [0.0, 1e-3])
def test_without_time_nothing_is_planned_beyond_the_most(left_s: float) -> None:
    planned = schedule(0.01, pair_s=1.0, left_s=left_s, most_s=left_s)
    assert not planned.goes_on(planned.stages[-1], 0, left_s)
