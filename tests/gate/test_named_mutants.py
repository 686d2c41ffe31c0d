"""Small faults in the statistics, each of which once went unnoticed: plain references and edges."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.gate.scopes import CellLogs, Shift, shifts, typical
from pytest_gaitperf.measure.turns import centre
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    ratio_values,
    window_noise,
)

LOGS = st.floats(-3, 3)


def cell(model: str, sessions: range, now: float = 0.0, seed: int = 1) -> CellLogs:
    noise = np.random.default_rng(seed).normal(0, 0.01, 40)
    past = {f"s{i:02}": float(noise[i]) for i in sessions}
    return CellLogs(model, past, now, assumed=0.0001)


def of(found: list[Shift], *cells: int) -> list[Shift]:
    return [shift for shift in found if shift.cells == cells]


@given(st.lists(LOGS, min_size=1, max_size=9))
def test_the_centre_of_a_cell_is_the_mean_of_its_sessions(logs: list[float]) -> None:
    sessions = {str(index): log for index, log in enumerate(logs)}
    assert CellLogs("m", sessions, 9.0).centre == pytest.approx(statistics.fmean(logs), abs=1e-12)


def test_cells_are_compared_over_the_sessions_that_they_share() -> None:
    for shared in (0, 1, 3):
        first, second = range(6), range(6 - shared, 12 - shared)
        found = of(shifts([cell("a", first), cell("a", second, seed=2)], anchored=False), 0)
        # By itself where they share none: over all of its own.
        assert [shift.sessions for shift in found] == [shared or 6]
        assert [shift.error.seen.weight for shift in found] == [0.5 if shared else 1.0]


def test_models_are_compared_over_the_sessions_that_they_share() -> None:
    for shared in (1, 3):
        first, second = range(6), range(6 - shared, 12 - shared)
        run = [cell("a", first), cell("b", second, seed=2)]
        assert [shift.sessions for shift in of(shifts(run, anchored=False), 0)] == [shared]


def test_of_two_values_the_typical_is_the_mean_and_of_three_the_odd_one_is_drawn_in() -> None:
    table = np.array([[0.0, 0.1, -0.1], [0.0, 0.2, 9.0], [math.nan, 0.1, 0.3]])
    assert typical(table[:, 1:], 0.1).tolist() == pytest.approx([0.0, 4.6, 0.2])
    assert typical(table, 0.3).tolist() == pytest.approx([0.0, (0.0 + 0.2 + 0.5) / 3, 0.2])
    assert math.isnan(typical(np.full((1, 3), math.nan), 0.1)[0])


def test_one_cell_has_nothing_to_be_compared_with_and_two_have() -> None:
    (alone,) = shifts([cell("a", range(4))])
    assert alone.error.seen.weight == 1.0
    (beside,) = of(shifts([cell("a", range(4)), cell("a", range(4), seed=2)]), 0)
    assert beside.error.seen.weight == 0.5


def test_contrasts_without_any_variance_leave_nothing_to_chance() -> None:
    same = [CellLogs("a", dict.fromkeys("123", 0.0), 0.0) for _ in range(4)]
    assert all(shift.error.limit(0.01) == 0 for shift in shifts(same))


@given(st.lists(LOGS, min_size=1, max_size=40))
def test_the_centre_of_a_block_is_the_median_of_all_averages(ratios: list[float]) -> None:
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(ratios, 2)]
    assert centre(ratios) == pytest.approx(statistics.median(walsh), abs=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        *([math.sin(index * index) for index in range(count)] for count in (3, 4, 5, 12)),
        [float(index % 2) for index in range(60)],
        [float(index) for index in range(200)],
    ],
    ids=["three", "four", "five", "twelve", "alternating", "drifting"],
)
def test_the_noise_of_windows_is_that_of_the_formula(values: list[float]) -> None:
    count = len(values)
    mean = statistics.fmean(values)
    away = [value - mean for value in values]
    squares = math.fsum(one * one for one in away)
    rho = 0.6
    if count >= 5:
        lag = math.fsum(a * b for a, b in itertools.pairwise(away)) / squares
        rho = min(max((count * (count * lag + 1) / (count - 3) + 20 * 0.6) / (count + 20), 0), 0.9)

    def inflation(n: int) -> float:
        return 1 + 2 * math.fsum((1 - lag / n) * rho**lag for lag in range(1, n))

    noise = window_noise(values)
    assert noise.mean == pytest.approx(mean)
    assert noise.autocorrelation == pytest.approx(rho)
    variance = squares / count / max(1 - inflation(count) / count, 0.05)
    assert noise.variance == pytest.approx(variance)
    assert noise.windows == count
    for length in (1, 2, 7):
        error = math.sqrt(variance * inflation(length) / length)
        assert noise.standard_error(length) == pytest.approx(error)
    dof = (count - 1) * (1 - rho**2) / (1 + rho**2)
    assert noise.dof == pytest.approx(max(dof, 1.0))


def test_an_interval_is_symmetric_about_the_mean_and_t_times_its_error_wide() -> None:
    values = [1.0, 1.4, 0.9, 1.2, 1.3, 0.8]
    noise, (low, high) = window_noise(values), mean_interval(values, 0.9)
    assert (low + high) / 2 == pytest.approx(noise.mean)
    wide = stats.t.ppf(0.95, noise.dof) * noise.standard_error(6)
    assert (high - low) / 2 == pytest.approx(wide)


def test_three_windows_are_enough_for_an_interval() -> None:
    assert all(map(math.isfinite, mean_interval([1.0, 2.0, 4.0])))
    assert math.isfinite(log_spread([1.0, 2.0]))
    assert log_spread([1.0, math.e]) == pytest.approx(math.sqrt(0.5))


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.integers(0, 9)), min_size=1, max_size=12).filter(
        lambda windows: any(count for _, count in windows)
    )
)
def test_the_mean_of_ratio_values_is_the_ratio_of_the_sums(
    windows: list[tuple[float, int]],
) -> None:
    totals, counts = zip(*windows, strict=True)
    ratio = math.fsum(totals) / sum(counts)
    values = ratio_values(totals, counts)
    assert float(values.mean()) == pytest.approx(ratio)
    mean_count = statistics.fmean(counts)
    expected = [ratio + (t - ratio * n) / mean_count for t, n in windows]
    assert values.tolist() == pytest.approx(expected)


def test_a_window_of_nothing_has_no_logarithm() -> None:
    assert log_spread([0.0, 1.0, math.e]) == pytest.approx(math.sqrt(0.5))
