"""What a turn and a block tell, from records whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.measure.turns import (
    LongTurn,
    Visit,
    block_values,
    joules_and_requests,
    seconds_per_request,
    settled_latencies,
)
from pytest_gaitperf.power.metering import PowerReading
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.triton.models import ModelStatistics
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady

if TYPE_CHECKING:
    from pytest_gaitperf.load.loops import Load

NOTHING = ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)


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


def test_joules_and_requests_are_those_between_the_two_ends_of_a_long_turn() -> None:
    record = steady(2, 0.1, 2.0)
    start, end = START_NS + 5 * 10**8, START_NS + 15 * 10**8
    times = np.linspace(START_NS, START_NS + 2 * 10**9, 50).astype(np.int64)
    values = np.tile([10.0, 3.0], (50, 1))
    power = PowerReading(Trace(("IN", "GPU"), times, values, "power"), rails=("IN",))
    (found,) = joules_and_requests([LongTurn(record, start, end)], power, closed=True)
    assert found == pytest.approx((10.0, 20.0))


def test_the_requests_of_an_open_loop_are_those_that_completed_however_many_wait() -> None:
    # 100 a second are sent, and 50 answered: the backlog grows.
    number = np.arange(400)
    record = open_loop(number / 100, 0.02 * (number + 1) - number / 100)
    start, end = START_NS + 10**9, START_NS + 2 * 10**9
    times = np.linspace(START_NS, START_NS + 3 * 10**9, 50).astype(np.int64)
    power = PowerReading(Trace(("IN",), times, np.full((50, 1), 10.0), "power"), rails=("IN",))
    (found,) = joules_and_requests([LongTurn(record, start, end)], power, closed=False)
    assert found == pytest.approx((10.0, 50.0))


# A block


def visit(latency_s: float, turns: int = 5, cpu_s: float | None = None) -> Visit:
    """Turns of 5 requests one after another."""
    load: Load = None  # type: ignore[assignment] # nothing is sent any more
    found = Visit(load, NOTHING, cpu_s=cpu_s)
    found.turns = [steady(1, latency_s, 5 * latency_s) for _ in range(turns)]
    return found


def test_a_block_has_the_ratio_and_the_level_of_every_cost_that_is_known() -> None:
    candidate, reference = visit(0.011, cpu_s=0.3), visit(0.01, cpu_s=0.2)
    reference.energy = [(2.0, 10.0)]
    values = block_values(candidate, reference)
    assert set(values) == {"throughput", "latency_p50", "server_cpu_per_inference"}
    ratio, level = values["latency_p50"]
    assert ratio == pytest.approx(math.log(1.1))
    assert (math.exp(level + ratio / 2), math.exp(level - ratio / 2)) == pytest.approx(
        (0.011, 0.01)
    )
    assert values["server_cpu_per_inference"][0] == pytest.approx(math.log(1.5))
    candidate.energy = [(3.0, 10.0)]
    ratio, level = block_values(candidate, reference)["energy_per_inference"]
    assert math.exp(level - ratio / 2) == pytest.approx(0.2)


def test_a_disturbed_couple_of_turns_is_not_the_blocks() -> None:
    candidate, reference = visit(0.01), visit(0.01)
    candidate.turns[2] = steady(1, 0.5, 2.5)
    assert block_values(candidate, reference)["throughput"][0] == pytest.approx(0.0, abs=1e-6)
