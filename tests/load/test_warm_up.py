"""When a model counts as warm, by simulations whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord, WarmUp, steady_latency_s
from tests.load.synthetic import START_NS, closed_loop, open_loop, seen_at, steady, stops_at

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 10**9


def changing(
    latency_s: Callable[[float], float], seed: int | None = None, duration_s: float = 8.0
) -> LoadRecord:
    """One slot; with a seed, latencies scatter by 15 % with an autocorrelation of 0.6."""
    generator = np.random.default_rng(seed)
    elapsed, noise, latencies = 0.0, 0.0, []
    while elapsed < duration_s:
        noise = 0.6 * noise + 0.8 * float(generator.standard_normal())
        scatter = np.exp(0.15 * noise) if seed is not None else 1.0
        latencies.append(latency_s(elapsed) * scatter)
        elapsed += latencies[-1]
    return closed_loop(np.array([latencies]))


def test_a_steady_model_is_warm_after_half_a_second() -> None:
    assert stops_at(WarmUp(4, 5.0), steady(4, 0.01, 10), 0.1) == pytest.approx(0.5)


def test_a_steady_noisy_model_is_not_waited_for_to_the_limit() -> None:
    stops = []
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal((4, 800))
        for index in range(1, 800):
            noise[:, index] = 0.6 * noise[:, index - 1] + 0.8 * noise[:, index]
        stops.append(stops_at(WarmUp(4, 5.0), closed_loop(0.01 * np.exp(0.15 * noise)), 0.1))
    assert np.median(stops) < 2.0
    # One slot tells a quarter of that; it has the limit.
    alone = [stops_at(WarmUp(1, 5.0), changing(lambda _: 0.01, seed), 0.1) for seed in range(5)]
    assert max(alone) < 5.2


@pytest.mark.parametrize("seed", [None, *range(8)])
def test_a_slow_ramp_is_not_taken_for_steady(seed: int | None) -> None:
    # From 60 to 10 ms within 2 s.
    record = changing(lambda at: 0.06 - 0.025 * min(at, 2.0), seed)
    assert stops_at(WarmUp(1, 5.0), record, 0.1) > 1.8


@pytest.mark.parametrize("seed", [None, *range(8)])
def test_an_exponential_settling_is_waited_for(seed: int | None) -> None:
    # From 60 to 10 ms with a time constant of half a second.
    record = changing(lambda at: 0.01 + 0.05 * np.exp(-at / 0.5), seed)
    stopped_s = stops_at(WarmUp(1, 5.0), record, 0.1)
    # What is left at the end of the warm-up, when the measurement begins, is small.
    assert 0.05 * np.exp(-stopped_s / 0.5) < 0.002
    latency_s = steady_latency_s(seen_at(record, START_NS + round(stopped_s * SECOND)))
    assert latency_s == pytest.approx(0.01, rel=0.25)


def test_a_cold_first_request_is_not_waited_for_twice() -> None:
    record = changing(lambda at: 3.0 if at == 0 else 0.01)
    assert 3.0 < stops_at(WarmUp(1, 5.0), record, 0.1) < 4.1


def test_a_slow_model_is_warm_after_three_rounds_and_four_looks() -> None:
    assert stops_at(WarmUp(4, 60.0), steady(4, 2.0, 20), 0.1) == pytest.approx(6.3)


def test_a_model_that_never_stands_still_is_taken_at_the_limit() -> None:
    growing = closed_loop(0.005 * 1.02 ** np.arange(200)[np.newaxis])
    assert stops_at(WarmUp(1, 3.0), growing, 0.1) == pytest.approx(3.1)


def test_a_model_slower_than_the_limit_gets_its_first_request_done() -> None:
    assert stops_at(WarmUp(1, 3.0), steady(1, 7.0, 70), 0.1) == pytest.approx(10.0)


def test_a_first_inference_longer_than_the_limit_is_not_the_models_latency() -> None:
    for slots in (1, 4):
        latencies = np.full((slots, 400), 0.01)
        latencies[:, 0] = 3.0
        record = closed_loop(latencies)
        stopped_s = stops_at(WarmUp(slots, 1.5), record, 0.1)
        latency_s = steady_latency_s(seen_at(record, START_NS + round(stopped_s * SECOND)))
        assert latency_s == pytest.approx(0.01)


def test_what_a_closed_loop_is_answered_after_the_stop_is_the_models_latency() -> None:
    record = closed_loop(np.array([[7.0, 4.0]]))
    record.stopped_ns = START_NS + 10 * SECOND  # three seconds after the first round
    assert steady_latency_s(record) == pytest.approx(4.0)


def test_a_warm_up_in_which_all_fails_ends_with_the_reason() -> None:
    record = LoadRecord(failures=3, failure_reasons=["HTTP 500: no"], first_send_ns=START_NS)
    warm_up = WarmUp(1, 3.0)
    assert warm_up(record, START_NS + 2 * SECOND)
    with pytest.raises(MeasurementError, match=r"all 3 requests of the first 3.0 s.*HTTP 500: no"):
        warm_up(record, START_NS + 3 * SECOND)


def test_the_backlog_answered_after_the_stop_is_not_the_models_latency() -> None:
    sent = np.arange(100) / 100
    record = open_loop(sent, 0.01 + 4 * sent)  # every fifth is answered in time
    record.stopped_ns = START_NS + SECOND
    seen = (np.arange(21) / 100)[10:20]
    assert steady_latency_s(record) == pytest.approx((0.01 + 4 * seen).mean(), rel=0.05)
