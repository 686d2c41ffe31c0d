"""How small a change is found, against formulae and simulations whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.gate.prediction import predict, upper_quantile
from pytest_gaitperf.gate.sensitivity import (
    LEVEL,
    MEASURED_S,
    RESOLVED_POWER,
    Hurdle,
    Resolution,
    resolution,
    smallest_detectable,
)
from pytest_gaitperf.stats import window_noise

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


@pytest.mark.parametrize("tolerance", [0.0, 0.15])
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


# What a machine resolves

SIGMA, PAIRS, WINDOW_S = 0.05, 40, 0.25
LATER = round(MEASURED_S / WINDOW_S)
MACHINES = 300


def ar1(rng: np.random.Generator, rho: float, count: int, rows: int = MACHINES) -> Array:
    """Log seconds per request of windows with this autocorrelation, SD ``SIGMA``."""
    logs = np.empty((rows, count))
    logs[:, 0] = rng.normal(0, SIGMA, rows)
    steps = rng.normal(0, SIGMA * math.sqrt(1 - rho**2), (rows, count))
    for i in range(1, count):
        logs[:, i] = rho * logs[:, i - 1] + steps[:, i]
    return logs


def stated(rng: np.random.Generator, rho: float, pairs: int = PAIRS) -> list[Resolution]:
    """What the doctor says of so many machines."""
    coins = rng.integers(0, 2, (MACHINES, pairs)) == 1
    windows = np.exp(ar1(rng, rho, 2 * pairs))
    return [
        resolution(row.tolist(), coin.tolist(), WINDOW_S)
        for row, coin in zip(windows, coins, strict=True)
    ]


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.8])
def test_the_stated_figures_are_near_the_true_ones(rho: float) -> None:
    rng = np.random.default_rng(7)
    apart = ar1(rng, rho, LATER, 4000).mean(axis=1) - ar1(rng, rho, LATER, 4000).mean(axis=1)
    windows = ar1(rng, rho, LATER, 4000)
    signs = rng.choice([-1, 1], (4000, LATER // 2))
    in_turns = ((windows[:, 1::2] - windows[:, ::2]) * signs).mean(axis=1)
    # The size that exceeds the level's limit with the wanted power, from the true distribution.
    true = [
        math.expm1(np.quantile(d, 1 - LEVEL) + np.quantile(d, RESOLVED_POWER))
        for d in (apart, in_turns)
    ]
    found = stated(rng, rho)
    medians = [np.median([one.apart for one in found]), np.median([one.in_turns for one in found])]
    assert medians[0] == pytest.approx(true[0], rel=0.25)
    assert medians[1] == pytest.approx(true[1], rel=0.1)
    spread = np.array([(one.apart / true[0], one.in_turns / true[1]) for one in found])
    # Of a single look of 20 s: nine in ten within a factor of two.
    assert (np.quantile(spread, 0.05, axis=0) > 0.5).all()
    assert (np.quantile(spread, 0.95, axis=0) < 2).all()


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_a_slowdown_of_the_stated_size_is_found_about_four_times_in_five(rho: float) -> None:
    rng = np.random.default_rng(8)
    found, false = 0, 0
    before, after = ar1(rng, rho, LATER), ar1(rng, rho, LATER)
    for one, old, new in zip(stated(rng, rho), before, after, strict=True):
        errors = [window_noise(side) for side in (old, new)]
        error = math.hypot(*(side.standard_error(side.windows) for side in errors))
        limit = upper_quantile(LEVEL, sum(side.dof for side in errors)) * error
        change = errors[1].mean - errors[0].mean
        found += change + math.log1p(one.apart) > limit
        false += change > limit
    assert 0.68 < found / MACHINES < 0.93
    assert false / MACHINES < 0.09


def test_longer_measurements_resolve_less_by_the_root_of_the_time() -> None:
    one, *_ = stated(np.random.default_rng(9), 0.3)
    assert one.seconds_for(one.apart) == pytest.approx(MEASURED_S)
    assert one.seconds_for(math.expm1(math.log1p(one.apart) / 2)) == pytest.approx(4 * MEASURED_S)


def test_a_machine_without_noise_resolves_anything() -> None:
    still = resolution([0.02] * 12, [True, False] * 3, 1.0)
    assert (still.apart, still.in_turns) == (0.0, 0.0)
    assert still.seconds_for(0.05) == 0.0


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="10 windows are not 6 pairs"):
        resolution([0.02] * 10, [True] * 5, 1.0)
