"""How small a change is found, against formulae and simulations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.gate.prediction import (
    Hurdle,
    Prediction,
    Seen,
    predict,
    smallest_detectable,
    successive_dof,
    successive_variance,
)


def hurdle(height: float, scale: float, dof: float = 1e6) -> Hurdle:
    error = Prediction(np.array([scale]), np.ones(1), dof, Seen(1.0))
    return Hurdle(height, error)


scales = st.floats(min_value=1e-4, max_value=1)
hurdles = st.builds(
    hurdle, st.floats(min_value=0, max_value=2), scales, st.floats(min_value=1, max_value=200)
)


@given(hurdles, st.floats(min_value=0.6, max_value=0.99))
def test_of_one_hurdle_it_lies_a_quantile_of_the_noise_beyond(one: Hurdle, power: float) -> None:
    expected = one.height + stats.t.ppf(power, one.error.dof) * one.error.scales[0]
    assert smallest_detectable([one], power) == pytest.approx(expected, rel=1e-3)


@given(st.lists(hurdles, min_size=1, max_size=3), hurdles, st.floats(min_value=1, max_value=3))
def test_more_or_higher_hurdles_need_no_smaller_change(
    given_hurdles: list[Hurdle], another: Hurdle, factor: float
) -> None:
    change = smallest_detectable(given_hurdles)
    slack = 1e-3 * (1 + change)
    assert change >= max(one.height for one in given_hurdles)
    assert smallest_detectable([*given_hurdles, another]) >= change - slack
    first, *others = given_hurdles
    higher = first._replace(height=first.height * factor)
    assert smallest_detectable([higher, *others]) >= change - slack


def test_at_the_ends() -> None:
    assert smallest_detectable([hurdle(0.05, 0.0)]) == 0.05
    assert smallest_detectable([hurdle(-1.0, 0.0)]) == 0.0


@pytest.mark.parametrize("tolerance", [pytest.param(0.0, marks=pytest.mark.slow), 0.15])
def test_the_change_that_a_baseline_names_is_found_nine_times_in_ten(tolerance: float) -> None:
    # The baseline's own limit decides; the truth, an SD of 5 %, is what is assumed.
    random = np.random.default_rng(1)
    found = 0
    for _ in range(1000):
        sessions = random.normal(3.0, 0.05, size=6)
        known = successive_variance(sessions), successive_dof(6), 1 + 1 / 6
        (error,) = predict([Seen(0.05**2, *known)])
        height = max(error.limit(0.001), tolerance)
        change = smallest_detectable([Hurdle(height, error)])
        found += random.normal(3.0 + change, 0.05) - sessions.mean() > height
    # On average over the SDs that the prior allows; 0.05 is at the upper end of these.
    assert 0.83 < found / 1000 < 0.95


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_of_two_hurdles_both_are_cleared_nine_times_in_ten_whatever_joins_them(
    correlation: float,
) -> None:
    change = smallest_detectable([hurdle(0.1, 0.03), hurdle(0.09, 0.05)])
    random = np.random.default_rng(2)
    covariance = [[1, correlation], [correlation, 1]]
    errors = random.multivariate_normal([0, 0], covariance, size=40_000) * [0.03, 0.05]
    cleared = float(((change + errors) > [0.1, 0.09]).all(axis=1).mean())
    assert 0.895 < cleared < 0.935
    assert math.isfinite(change)
