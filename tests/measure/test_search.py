"""The search, on oracles and on simulated servers of known capacity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.measure.capacity import RESOLUTION, Ask, search
from pytest_gaitperf.measurement import Capacity, Trial
from tests.measure.simulated import SimulatedServer, searched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def trial_of(ask: Ask, *, served: bool) -> Trial:
    return Trial(
        subjects=ask.subjects,
        served=served,
        seconds=1.0,
        requests=100,
        late=0 if served else 50,
        latency_s=0.02,
        measured=ask.measured,
    )


def answered(guess: float, serves: Callable[[Ask], bool | None]) -> tuple[Capacity, list[Ask]]:
    """Search where an oracle says what is served, and None when time is short."""
    steps = search(guess)
    asked = [next(steps)]
    while True:
        served = serves(asked[-1])
        try:
            asked.append(steps.send(None if served is None else trial_of(asked[-1], served=served)))
        except StopIteration as end:
            answer: Capacity = end.value
            return answer, asked


@given(st.floats(1.2, 5000.0), st.floats(0.1, 10.0))
def test_an_exact_server_is_found_within_the_resolution(capacity: float, off: float) -> None:
    answer, asked = answered(capacity * off, lambda ask: ask.subjects <= capacity)
    assert answer.settled
    assert answer.subjects == pytest.approx(capacity, rel=RESOLUTION)
    assert answer.high is not None
    assert answer.low <= answer.subjects <= answer.high
    assert answer.too_much is not None
    assert answer.too_much.subjects > capacity
    assert len(asked) <= 18
    measured = [trial for trial in answer.trials if trial.measured]
    assert [trial.subjects for trial in measured if trial.served] == [answer.at]
    assert answer.at <= capacity


@given(st.floats(0.0, 0.999), st.floats(0.1, 10.0))
def test_a_server_of_less_than_one_subject_is_asked_for_one_twice(
    capacity: float, guess: float
) -> None:
    answer, asked = answered(guess, lambda ask: ask.subjects <= capacity)
    assert answer.subjects == 0
    assert [ask.subjects for ask in asked][-2:] == [1.0, 1.0]
    assert min(ask.subjects for ask in asked) == 1.0


@given(st.floats(1.5, 500.0), st.floats(0.5, 2.0), st.integers(0, 12))
def test_a_single_wrong_trial_does_not_make_the_answer(
    capacity: float, off: float, wrong: int
) -> None:
    count = iter(range(1000))

    def oracle(ask: Ask) -> bool:
        truth = ask.subjects <= capacity
        return not truth if next(count) == wrong else truth

    answer, _ = answered(capacity * off, oracle)
    assert answer.subjects == pytest.approx(capacity, rel=1.3 * RESOLUTION)


def test_an_answer_that_does_not_hold_when_measured_moves_down() -> None:
    holds, _ = answered(10.0, lambda ask: ask.subjects <= 10.0)
    answer, _ = answered(10.0, lambda ask: ask.subjects <= (9.0 if ask.measured else 10.0))
    assert answer.subjects < holds.subjects
    assert 0.0 < answer.at <= 9.0


def test_without_time_a_load_below_is_measured_and_the_answer_not_called_settled() -> None:
    count = iter(range(100))

    def oracle(ask: Ask) -> bool | None:
        return None if next(count) >= 2 and not ask.measured else ask.subjects <= 10.0

    answer, asked = answered(8.0, oracle)
    assert asked[-1].measured
    assert not answer.settled
    assert answer.at == asked[-1].subjects < 10.0


def test_without_any_time_there_is_no_answer() -> None:
    answer, _ = answered(8.0, lambda _ask: None)
    assert (answer.subjects, answer.trials) == (0.0, ())
    assert answer.high is None


def test_the_answer_says_whole_subjects_and_what_broke() -> None:
    answer, _ = answered(1.7, lambda ask: ask.subjects <= 1.75)
    assert answer.text == (
        f"1 subject (capacity {answer.subjects:.3g}, {answer.low:.3g} .. {answer.high:.3g})"
    )
    served, broke = answer.lines(99.0)
    assert " served: p99 20 ms, 0 of 100 requests late" in served
    assert " not served: p99 20 ms, 50 of 100 requests late" in broke


SERVERS: Mapping[str, SimulatedServer] = {
    "exact": SimulatedServer(0.010),
    "fast": SimulatedServer(0.002, scatter=0.1),
    "slow": SimulatedServer(0.020, scatter=0.05),
    "noisy": SimulatedServer(0.010, scatter=0.15),
    "four instances": SimulatedServer(0.020, instances=4, scatter=0.1),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "exact" else pytest.mark.slow) for name in SERVERS],
)
def test_nineteen_of_twenty_searches_find_a_simulated_server_s_capacity(name: str) -> None:
    server = SERVERS[name]
    capacity, searches = server.capacity(), 12
    found = []
    for seed in range(searches):
        guess = capacity * math.exp(np.random.default_rng(seed).uniform(-0.5, 0.5))
        again = SimulatedServer(server.service_s, server.instances, server.scatter, seed=seed)
        found.append(searched(again, guess))
    right = [abs(math.log(one.subjects / capacity)) <= 0.05 for one in found]
    assert sum(right) >= 0.95 * searches
    assert np.mean([len(one.trials) for one in found]) <= 11
    assert sum(one.settled for one in found) >= 0.9 * searches
    assert np.mean([one.low <= capacity <= (one.high or 0.0) for one in found]) >= 0.8


def test_a_server_that_drifts_is_found_where_it_is() -> None:
    # Its pace changes by 3 % (SD): so does the answer, whatever the search.
    server = SimulatedServer(0.010, scatter=0.05, drift=0.03)
    steady = SimulatedServer(0.010, scatter=0.05).capacity()
    found = [
        searched(SimulatedServer(0.010, scatter=0.05, drift=0.03, seed=seed), 3.5).subjects
        for seed in range(15)
    ]
    assert server.capacity() < np.median(found) * 1.02
    assert all(abs(math.log(one / steady)) < 0.12 for one in found)
