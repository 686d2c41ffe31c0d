"""How small a change is found, against formulae and simulations whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.gate.prediction import (
    Hurdle,
    predict,
    smallest_detectable,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

heights = st.floats(min_value=0, max_value=2)
scales = st.floats(min_value=1e-4, max_value=1)
dofs = st.one_of(st.floats(min_value=1, max_value=200), st.just(math.inf))
hurdles = st.builds(Hurdle, heights, scales, dofs)


@given(hurdles, st.floats(min_value=0.6, max_value=0.99))
def test_of_one_hurdle_it_lies_a_quantile_of_the_noise_beyond(hurdle: Hurdle, power: float) -> None:
    expected = hurdle.height + stats.t.ppf(power, hurdle.dof) * hurdle.scale
    assert smallest_detectable([hurdle], power) == pytest.approx(expected, rel=1e-5)


@given(st.lists(hurdles, min_size=1, max_size=3), hurdles, st.floats(min_value=1, max_value=3))
def test_more_higher_or_noisier_hurdles_need_no_smaller_change(
    given_hurdles: list[Hurdle], another: Hurdle, factor: float
) -> None:
    change = smallest_detectable(given_hurdles)
    slack = 1e-8
    assert change >= max(hurdle.height for hurdle in given_hurdles)
    assert smallest_detectable([*given_hurdles, another]) >= change - slack
    first, *others = given_hurdles
    higher = first._replace(height=first.height * factor)
    assert smallest_detectable([higher, *others]) >= change - slack
    noisier = first._replace(scale=first.scale * factor)
    assert smallest_detectable([noisier, *others]) >= change - slack
    assert smallest_detectable(list(reversed(given_hurdles))) == pytest.approx(change, abs=1e-6)


def test_at_the_ends() -> None:
    assert smallest_detectable([Hurdle(0.05, 0.0, 4.0)]) == 0.05
    assert smallest_detectable([Hurdle(0.05, 0.0, 4.0), Hurdle(0.0, 0.01, 4.0)]) == pytest.approx(
        0.05
    )
    assert smallest_detectable([Hurdle(-1.0, 0.0, 4.0)]) == 0.0
    assert smallest_detectable([Hurdle(math.inf, 0.1, 4.0)]) == math.inf
    assert smallest_detectable([Hurdle(0.05, math.inf, 4.0), Hurdle(0.1, 0.1, 4.0)]) == math.inf


@pytest.mark.parametrize("tolerance", [pytest.param(0.0, marks=pytest.mark.slow), 0.15])
def test_the_change_that_a_baseline_names_is_found_nine_times_in_ten(tolerance: float) -> None:
    # The baseline's own limit and own scale decide; the truth, an SD of 5 %, is not told.
    random = np.random.default_rng(1)
    found = 0
    for _ in range(4000):
        sessions = random.normal(3.0, 0.05, size=6)
        prediction = predict(list(sessions))
        height = max(prediction.limit(0.001), tolerance)
        change = smallest_detectable([Hurdle(height, prediction.scale, prediction.dof)])
        found += random.normal(3.0 + change, 0.05) - prediction.centre > height
    assert found / 4000 == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_of_two_hurdles_both_are_cleared_nine_times_in_ten_whatever_joins_them(
    correlation: float,
) -> None:
    change = smallest_detectable([Hurdle(0.1, 0.03, math.inf), Hurdle(0.09, 0.05, math.inf)])
    random = np.random.default_rng(2)
    covariance = [[1, correlation], [correlation, 1]]
    errors = random.multivariate_normal([0, 0], covariance, size=40_000) * [0.03, 0.05]
    cleared = float(((change + errors) > [0.1, 0.09]).all(axis=1).mean())
    assert 0.895 < cleared < 0.935
