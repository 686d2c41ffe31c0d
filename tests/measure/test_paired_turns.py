"""What one turn tells, from records whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_gaitperf.measure.turns import (
    LongTurn,
    joules_and_requests,
    percentile_ratios,
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
