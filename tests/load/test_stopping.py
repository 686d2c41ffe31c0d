from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.load.record import MINIMUM_WINDOWS, LoadRecord, Precision
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady, stops_at

SECOND = 10**9


def precision(
    *,
    window_s: float = 0.25,
    lag_s: float = 0.02,
    target: float = 0.02,
    minimum_span_s: float = 0.0,
    limit_s: float = 20.0,
    hard_limit_s: float = 40.0,
    seen: list[tuple[float, float | None]] | None = None,
    open_loop: bool = False,
    wanted_requests: tuple[int, ...] = (),
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
        open_loop=open_loop,
        wanted_requests=wanted_requests,
    )


def test_a_steady_load_needs_the_fewest_windows() -> None:
    seen: list[tuple[float, float | None]] = []
    rule = precision(seen=seen)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 6 * 0.25 + 0.05)
    assert rule.reached
    edges = START_NS + SECOND + np.arange(7) * SECOND // 4
    np.testing.assert_array_equal(rule.windows_ns, np.column_stack((edges[:-1], edges[1:])))
    assert seen[0] == (0.0, None)
    throughput, half_width = seen[-1]
    assert throughput == pytest.approx(2 * 4 / 0.01)
    assert half_width == pytest.approx(0.0, abs=1e-9)


def test_a_meter_asks_for_a_longer_span() -> None:
    rule = precision(minimum_span_s=5.1)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 21 * 0.25 + 0.05)
    assert len(rule.windows_ns) == 21


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
    assert len(rule.windows_ns) >= 2 * MINIMUM_WINDOWS
    half_widths = [width for _, width in seen if width is not None]
    assert half_widths[-1] <= 0.02 < half_widths[0]


def test_a_load_too_noisy_for_the_budget_stops_at_it() -> None:
    rule = precision(target=0.0001, limit_s=4.0)
    assert stops_at(rule, noisy(2)) == pytest.approx(1 + 4.0)
    assert not rule.reached
    assert len(rule.windows_ns) == 15


def test_a_model_too_slow_for_six_windows_is_given_the_hard_limit() -> None:
    slow = steady(4, 4.0, 100)
    enough = precision(window_s=2.0, lag_s=6.0, limit_s=5.0, hard_limit_s=60.0)
    assert stops_at(enough, slow, tick_s=2.0) == pytest.approx(20.0)
    assert len(enough.windows_ns) == 6
    short = precision(window_s=2.0, lag_s=6.0, limit_s=5.0, hard_limit_s=9.0)
    assert stops_at(short, slow, tick_s=2.0) == pytest.approx(10.0)
    assert len(short.windows_ns) == 1


def test_a_server_that_completes_nothing_is_given_the_hard_limit() -> None:
    rule = precision(limit_s=5.0, hard_limit_s=9.0)
    assert stops_at(rule, LoadRecord(first_send_ns=START_NS)) == pytest.approx(10.0)
    assert not rule.reached


@pytest.mark.slow
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


# Requests for a percentile


def test_a_percentile_that_fits_the_budget_is_waited_for() -> None:
    # 100 requests/s: 662 of them are there after 6.75 s.
    fits = precision(wanted_requests=(662,), limit_s=8.0)
    assert stops_at(fits, steady(1, 0.01, 30)) == pytest.approx(1 + 6.75 + 0.05)
    assert fits.reached
    too_many = precision(wanted_requests=(662,), limit_s=6.0)
    assert stops_at(too_many, steady(1, 0.01, 30)) == pytest.approx(1 + 6 * 0.25 + 0.05)


def test_a_percentile_that_the_noise_needs_longer_for_costs_nothing_more() -> None:
    waited = precision(target=0.01, wanted_requests=(662,))
    alone = precision(target=0.01)
    assert stops_at(waited, noisy(3)) == stops_at(alone, noisy(3))


def test_the_median_is_waited_for_beyond_the_budget() -> None:
    # Windows of half a latency: six of them hold three requests.
    rule = precision(window_s=0.5, lag_s=1.5, limit_s=4.0, hard_limit_s=20.0)
    assert stops_at(rule, steady(1, 1.0, 40), tick_s=0.5) == pytest.approx(1 + 11.0 + 1.5)


# Disturbed windows


def test_a_disturbed_window_is_replaced() -> None:
    # The third to the fifth window are disturbed: nine are needed for six.
    asked: list[int] = []

    def undisturbed(start_ns: int, _end_ns: int) -> bool:
        asked.append(start_ns)
        return not 3 <= len(asked) <= 5

    rule = replace(precision(), undisturbed=undisturbed)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 9 * 0.25 + 0.05)
    assert rule.reached
    assert rule.enough
    starts = START_NS + SECOND + np.array([0, 1, 5, 6, 7, 8]) * SECOND // 4
    np.testing.assert_array_equal(rule.windows_ns, np.column_stack((starts, starts + SECOND // 4)))
    assert len(asked) == len(set(asked)) == 9, "each once"


def test_a_disturbed_window_does_not_count_towards_the_interval() -> None:
    latencies = np.full((4, 3000), 0.01)
    latencies[:, 120:300] = 0.05  # from the second on slower, for about nine seconds
    rule = replace(precision(), undisturbed=lambda start, _end: start >= START_NS + 11 * SECOND)
    stops_at(rule, closed_loop(latencies))
    assert rule.reached
    assert rule.windows_ns[0, 0] >= START_NS + 11 * SECOND


def test_a_machine_that_is_never_quiet_is_given_the_budget_and_no_more() -> None:
    rule = replace(precision(limit_s=5.0, hard_limit_s=20.0), undisturbed=lambda *_: False)
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 5.0)
    assert not rule.reached
    assert not rule.enough
    assert len(rule.windows_ns) == 19, "all of them, to show what was seen"


def test_a_disturbance_that_passes_is_given_the_hard_limit() -> None:
    # Two windows of three are undisturbed: six of them come after 2 s, and 1.5 s are to be taken.
    rule = replace(
        precision(limit_s=1.5, hard_limit_s=20.0),
        undisturbed=lambda start, _end: (start - START_NS) * 4 // SECOND % 3 != 0,
    )
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 8 * 0.25 + 0.05)
    assert len(rule.windows_ns) == 6


def test_a_window_waits_until_it_is_known_whether_it_was_disturbed() -> None:
    known = [None, None, True]
    rule = replace(precision(), undisturbed=lambda *_: known.pop(0) if known[1:] else known[0])
    assert stops_at(rule, steady(4, 0.01, 30)) == pytest.approx(1 + 6 * 0.25 + 0.05)
    assert len(rule.windows_ns) == 6


# Open loop


def test_an_open_loop_stops_by_its_mean_latency() -> None:
    seen: list[tuple[float, float | None]] = []
    rule = precision(open_loop=True, seen=seen)
    # The rate is constant to the nanosecond, the latencies are not.
    latencies = np.random.default_rng(1).gamma(1 / 0.09, 0.01 * 0.09, 3000)
    record = open_loop(np.arange(3000) / 100, latencies)
    assert stops_at(rule, record) > 3
    assert rule.reached
    throughput, half_width = seen[-1]
    assert throughput == pytest.approx(2 * 100, rel=0.02)
    assert half_width is not None
    steady_rule = precision(open_loop=True)
    evenly = open_loop(np.arange(3000) / 100, np.full(3000, 0.01))
    assert stops_at(steady_rule, evenly) == pytest.approx(1 + 6 * 0.25 + 0.05)


def test_a_server_that_falls_behind_never_reaches_the_precision() -> None:
    rule = precision(open_loop=True, limit_s=6.0)
    sent = np.arange(3000) / 100
    record = open_loop(sent, 0.01 + 0.2 * sent)
    assert stops_at(rule, record) == pytest.approx(1 + 6.0)
    assert not rule.reached


def test_windows_without_a_completion_are_part_of_an_open_loop() -> None:
    rule = precision(open_loop=True, hard_limit_s=60.0)
    record = open_loop(np.arange(100) / 1.0, np.full(100, 0.01))
    assert stops_at(rule, record) == pytest.approx(1 + 10.25 + 0.05)
    assert rule.reached


@pytest.mark.slow
def test_the_interval_of_the_mean_latency_covers_the_truth_when_it_stops() -> None:
    hits = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        sent = np.cumsum(generator.exponential(0.01, 1500))
        record = open_loop(sent, generator.gamma(1 / 0.09, 0.01 * 0.09, 1500))
        rule = precision(open_loop=True, target=0.03)
        stops_at(rule, record, tick_s=0.25)
        starts, ends = record.times()
        inside = (ends > rule.windows_ns[0, 0]) & (ends <= rule.windows_ns[-1, 1])
        hits.append(abs((ends - starts)[inside].mean() / 1e7 - 1) <= 0.03)
    assert np.mean(hits) >= 0.9
