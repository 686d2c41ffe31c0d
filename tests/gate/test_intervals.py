from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.stats import (
    Interval,
    log_spread,
    mean_interval,
    minimum_count,
    quantile_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

windows = st.lists(st.floats(0.01, 1e4), min_size=3, max_size=40)


def autocorrelated(runs: int, count: int, rho: float, seed: int) -> NDArray[np.float64]:
    """Stationary AR(1) windows, shape (runs, count), mean 0, SD 1."""
    noise = np.random.default_rng(seed).standard_normal((runs, count))
    values = noise.copy()
    for i in range(1, count):
        values[:, i] = rho * values[:, i - 1] + math.sqrt(1 - rho**2) * noise[:, i]
    return values


@pytest.mark.parametrize("count", [6, 8, 10, 15, 30, 60])
@pytest.mark.parametrize(("rho", "least", "most"), [(0.0, 0.95, 1.0), (0.6, 0.905, 0.97)])
def test_coverage_of_the_mean(count: int, rho: float, least: float, most: float) -> None:
    runs = autocorrelated(1500, count, rho, seed=count)
    hits = [low <= 0 <= high for low, high in map(mean_interval, runs)]
    assert least <= float(np.mean(hits)) <= most


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_coverage_follows_the_confidence(confidence: float) -> None:
    runs = autocorrelated(1500, 30, 0.6, seed=5)
    hits = [low <= 0 <= high for low, high in (mean_interval(run, confidence) for run in runs)]
    assert abs(float(np.mean(hits)) - confidence) < 0.035


def test_autocorrelation_widens_the_interval() -> None:
    drifting = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9] * 3
    drifting.sort()
    mixed = np.random.default_rng(1).permutation(drifting)
    assert np.diff(mean_interval(drifting)) > 1.5 * np.diff(mean_interval(mixed))


@given(windows, st.floats(1e-3, 1e3))
def test_mean_interval_follows_the_unit(values: list[float], scale: float) -> None:
    low, high = mean_interval(values)
    scaled = mean_interval([value * scale for value in values])
    # Equal values have an interval of rounding errors: they scale to within the value's own ulps.
    slack = 1e-6 * (high - low) + 1e-6 * max(values)
    assert scaled.low / scale == pytest.approx(low, rel=1e-6, abs=slack)
    assert scaled.high / scale == pytest.approx(high, rel=1e-6, abs=slack)


@given(windows)
def test_mean_interval_holds_the_mean(values: list[float]) -> None:
    low, high = mean_interval(values)
    assert low - 1e-9 * max(values) <= np.mean(values) <= high + 1e-9 * max(values)


def test_mean_interval_of_equal_values_is_a_point() -> None:
    assert mean_interval([2.0] * 8) == Interval(2.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_too_few_windows_tell_nothing(values: list[float]) -> None:
    assert mean_interval(values) == Interval(-math.inf, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mean_interval_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, 2.0, bad, 3.0])


@pytest.mark.parametrize(
    ("q", "count"), [(0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636), (0.1, 64)]
)
def test_minimum_counts_at_99_percent(q: float, count: int) -> None:
    assert minimum_count(q, 0.99) == count
    beyond = min(q, 1 - q)
    assert stats.binom.cdf(1, count, beyond) <= 0.01 < stats.binom.cdf(1, count - 1, beyond)


@pytest.mark.parametrize(("q", "confidence"), [(0.0, 0.9), (1.0, 0.9), (0.9, 0.0), (0.9, 1.0)])
def test_minimum_count_refuses_what_is_no_probability(q: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="within"):
        minimum_count(q, confidence)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_quantile_interval_is_the_tightest_exact_one(q: float, confidence: float) -> None:
    fewest = minimum_count(q, 0.99)
    tail = (1 - confidence) / 2
    for count in (fewest, fewest + 1, 3 * fewest):
        interval = quantile_interval(range(1, count + 1), q, confidence)
        assert interval is not None
        lower, upper = round(interval.low), round(interval.high)
        assert stats.binom.cdf(lower - 1, count, q) <= tail < stats.binom.cdf(lower, count, q)
        assert stats.binom.sf(upper - 1, count, q) <= tail < stats.binom.sf(upper - 2, count, q)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_no_quantile_interval_below_the_minimum(q: float, confidence: float) -> None:
    assert quantile_interval(range(minimum_count(q, 0.99) - 1), q, confidence) is None
    assert quantile_interval([], q, confidence) is None


def test_a_higher_confidence_than_the_gates_needs_more_values() -> None:
    fewest = minimum_count(0.9, 0.999)
    assert fewest > minimum_count(0.9, 0.99)
    assert quantile_interval(range(fewest - 1), 0.9, 0.999) is None
    assert quantile_interval(range(fewest), 0.9, 0.999) is not None


@pytest.mark.parametrize(("q", "count"), [(0.5, 40), (0.9, 64), (0.95, 200), (0.99, 700)])
def test_coverage_of_a_quantile(q: float, count: int) -> None:
    runs = np.sort(np.random.default_rng(count).exponential(size=(3000, count)), axis=1)
    truth = -math.log1p(-q)
    ranks = quantile_interval(range(count), q)
    assert ranks is not None
    low, high = runs[:, int(ranks.low)], runs[:, int(ranks.high)]
    assert float(np.mean((low <= truth) & (truth <= high))) >= 0.94
    first = quantile_interval(runs[0], q)
    assert first == Interval(float(low[0]), float(high[0]))


def test_log_spread_is_the_relative_sd_of_small_noise() -> None:
    values = 40 * (1 + 0.02 * np.random.default_rng(3).standard_normal(4000))
    assert log_spread(values) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 0.0], [3.0, math.nan, -1.0, math.inf]])
def test_log_spread_of_fewer_than_two_values_is_unknown(values: list[float]) -> None:
    assert math.isnan(log_spread(values))


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=30), st.floats(1e-3, 1e3))
def test_log_spread_ignores_unit_order_and_inversion(values: list[float], scale: float) -> None:
    spread = log_spread(values)
    close = pytest.approx(spread, rel=1e-6, abs=1e-12)
    assert log_spread([scale * value for value in reversed(values)]) == close
    assert log_spread([1 / value for value in values]) == close
