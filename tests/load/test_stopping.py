from __future__ import annotations

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.stopping import MINIMUM_WINDOWS, Precision, WarmUp, steady_latency_s
from tests.load.synthetic import START_NS, closed_loop, seen_at, steady

SECOND = 10**9


def stops_at(observer: WarmUp | Precision, record: LoadRecord, tick_s: float = 0.05) -> float:
    """Return when the observer ends the load (s); the record must last until then."""
    for tick in range(1, 100_000):
        now_ns = START_NS + round(tick * tick_s * SECOND)
        if not observer(seen_at(record, now_ns), now_ns):
            return tick * tick_s
    raise AssertionError("it never stopped")


# Warm-up


def test_a_steady_model_is_warm_after_half_a_second() -> None:
    assert stops_at(WarmUp(4, 5.0), steady(4, 0.01, 10)) == pytest.approx(0.5)


def test_a_slow_model_is_warm_after_three_rounds() -> None:
    assert stops_at(WarmUp(4, 60.0), steady(4, 2.0, 20)) == pytest.approx(6.0)


def test_a_model_that_gets_faster_is_waited_for() -> None:
    # Latency falls from 60 ms towards 10 ms, with a time constant of half a second.
    elapsed, latencies = 0.0, []
    while elapsed < 20:
        latencies.append(0.01 + 0.05 * np.exp(-elapsed / 0.5))
        elapsed += latencies[-1]
    record = closed_loop(np.array([latencies]))
    stopped_s = stops_at(WarmUp(1, 20.0), record)
    assert 1 < stopped_s < 5
    latency_s = steady_latency_s(seen_at(record, START_NS + round(stopped_s * SECOND)))
    assert latency_s == pytest.approx(0.01, rel=0.1)


def test_a_model_that_never_stands_still_is_taken_at_the_limit() -> None:
    growing = closed_loop(0.005 * 1.02 ** np.arange(200)[np.newaxis])
    assert stops_at(WarmUp(1, 3.0), growing) == pytest.approx(3.0)


def test_a_model_slower_than_the_limit_gets_its_first_request_done() -> None:
    assert stops_at(WarmUp(1, 3.0), steady(1, 7.0, 70)) == pytest.approx(7.0)


def test_a_warm_up_in_which_all_fails_ends_with_the_reason() -> None:
    record = LoadRecord(failures=3, failure_reasons=["HTTP 500: no"], first_send_ns=START_NS)
    warm_up = WarmUp(1, 3.0)
    assert warm_up(record, START_NS + 2 * SECOND)
    with pytest.raises(MeasurementError, match=r"all 3 requests of the first 3.0 s.*HTTP 500: no"):
        warm_up(record, START_NS + 3 * SECOND)


# Precision


def precision(
    *,
    window_s: float = 0.25,
    lag_s: float = 0.02,
    target: float = 0.02,
    minimum_span_s: float = 0.0,
    limit_s: float = 20.0,
    hard_limit_s: float = 40.0,
    seen: list[tuple[float, float | None]] | None = None,
) -> Precision:
    def progress(throughput: float, half_width: float | None) -> None:
        if seen is not None:
            seen.append((throughput, half_width))

    return Precision(
        start_ns=START_NS + SECOND,
        window_s=window_s,
        lag_s=lag_s,
        precision=target,
        minimum_span_s=minimum_span_s,
        limit_s=limit_s,
        hard_limit_s=hard_limit_s,
        batch_size=2,
        progress=progress,
    )


def test_a_steady_load_needs_the_fewest_windows() -> None:
    seen: list[tuple[float, float | None]] = []
    rule = precision(seen=seen)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 6 * 0.25 + 0.05)
    assert rule.reached
    expected = START_NS + SECOND + np.arange(7) * SECOND // 4
    np.testing.assert_array_equal(rule.edges_ns, expected)
    assert seen[0] == (0.0, None)
    throughput, half_width = seen[-1]
    assert throughput == pytest.approx(2 * 4 / 0.01)
    assert half_width == pytest.approx(0.0, abs=1e-9)


def test_a_meter_asks_for_a_longer_span() -> None:
    rule = precision(minimum_span_s=5.1)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 21 * 0.25 + 0.05)
    assert len(rule.edges_ns) == 22


def test_a_slow_request_counts_in_the_windows_it_spans_not_where_it_ends() -> None:
    # Windows of half a latency: without the lag each of them would look emptier than it was.
    seen: list[tuple[float, float | None]] = []
    rule = precision(window_s=0.5, lag_s=1.5, seen=seen)
    stops_at(rule, steady(2, 1.0, 30))
    throughput, half_width = seen[-1]
    assert throughput == pytest.approx(2 * 2 / 1.0)
    assert half_width == pytest.approx(0.0, abs=1e-9)
    assert rule.reached


def noisy(seed: int, concurrency: int = 4, duration_s: float = 30.0) -> LoadRecord:
    """Latencies of 10 ms on average, with a standard deviation of 30 %."""
    shape = (concurrency, round(duration_s / 0.01))
    return closed_loop(np.random.default_rng(seed).gamma(1 / 0.09, 0.01 * 0.09, shape))


def test_a_noisy_load_takes_longer_and_reaches_the_precision() -> None:
    seen: list[tuple[float, float | None]] = []
    rule = precision(target=0.02, seen=seen)
    assert stops_at(rule, noisy(1)) > 3
    assert rule.reached
    assert len(rule.edges_ns) > 2 * MINIMUM_WINDOWS
    half_widths = [width for _, width in seen if width is not None]
    assert half_widths[-1] <= 0.02 < half_widths[0]


def test_a_load_too_noisy_for_the_budget_stops_at_it() -> None:
    rule = precision(target=0.0001, limit_s=4.0)
    assert stops_at(rule, noisy(2)) == pytest.approx(1 + 4.0)
    assert not rule.reached
    assert len(rule.edges_ns) - 1 == 15


def test_a_model_too_slow_for_six_windows_is_given_the_hard_limit() -> None:
    slow = steady(1, 4.0, 100)
    enough = precision(window_s=2.0, lag_s=6.0, limit_s=5.0, hard_limit_s=60.0)
    assert stops_at(enough, slow, tick_s=2.0) == pytest.approx(20.0)
    assert len(enough.edges_ns) == 7
    short = precision(window_s=2.0, lag_s=6.0, limit_s=5.0, hard_limit_s=9.0)
    assert stops_at(short, slow, tick_s=2.0) == pytest.approx(10.0)
    assert len(short.edges_ns) == 2


def test_a_server_that_completes_nothing_is_no_precision() -> None:
    rule = precision(limit_s=5.0)
    assert stops_at(rule, LoadRecord(first_send_ns=START_NS)) == pytest.approx(6.0)
    assert not rule.reached


def test_stopping_at_the_asked_precision_keeps_the_coverage() -> None:
    # Looking after every window and stopping at the first narrow interval favours intervals that
    # are narrow by chance. With 4 slots and 10 ms, the truth is 400 requests/s.
    hits = []
    for seed in range(150):
        seen: list[tuple[float, float | None]] = []
        stops_at(precision(target=0.03, seen=seen), noisy(seed, duration_s=12), tick_s=0.25)
        throughput, half_width = seen[-1]
        assert half_width is not None
        hits.append(abs(throughput / (2 * 400) - 1) <= half_width)
    assert np.mean(hits) >= 0.9
