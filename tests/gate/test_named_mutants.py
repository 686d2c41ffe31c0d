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

from pytest_gaitperf.gate.pairing import centre
from pytest_gaitperf.gate.scopes import CellLogs, Shift, shifts, typical
from pytest_gaitperf.metrics import ENOUGH_SESSIONS
from pytest_gaitperf.stats import (
    log_spread,
    mean_interval,
    ratio_values,
    window_noise,
)

LOGS = st.floats(-3, 3)


def cell(model: str, sessions: range, now: float = 0.0, seed: int = 1) -> CellLogs:
    noise = np.random.default_rng(seed).normal(0, 0.01, 40)
    return CellLogs(model, {f"s{i:02}": float(noise[i]) for i in sessions}, now)


def of(found: list[Shift], *cells: int) -> list[Shift]:
    return [shift for shift in found if shift.cells == cells]


@given(st.lists(LOGS, min_size=1, max_size=9))
def test_the_centre_of_a_cell_is_the_mean_of_its_sessions(logs: list[float]) -> None:
    sessions = {str(index): log for index, log in enumerate(logs)}
    assert CellLogs("m", sessions, 9.0).centre == pytest.approx(statistics.fmean(logs), abs=1e-12)


def test_a_cell_needs_exactly_enough_sessions() -> None:
    others = [cell("a", range(8), seed=seed) for seed in (2, 3)]
    for count in (ENOUGH_SESSIONS - 1, ENOUGH_SESSIONS, ENOUGH_SESSIONS + 1):
        found = of(shifts([cell("a", range(count)), *others]), 0)
        assert bool(found) == (count >= ENOUGH_SESSIONS)
        assert all(shift.sessions == count for shift in found)


def test_cells_are_compared_over_exactly_enough_shared_sessions() -> None:
    for shared in (ENOUGH_SESSIONS - 1, ENOUGH_SESSIONS):
        first, second = range(6), range(6 - shared, 12 - shared)
        found = of(shifts([cell("a", first), cell("a", second, seed=2)]), 0)
        assert bool(found) == (shared >= ENOUGH_SESSIONS), shared
        assert all(shift.sessions == shared for shift in found)


def test_models_are_compared_over_exactly_enough_shared_sessions() -> None:
    for shared in (ENOUGH_SESSIONS - 1, ENOUGH_SESSIONS):
        first, second = range(6), range(6 - shared, 12 - shared)
        run = [cell("a", first), cell("b", second, seed=2)]
        found = shifts(run)
        assert bool(of(found, 0)) == (shared >= ENOUGH_SESSIONS), shared


def test_two_sessions_are_not_enough_for_any_scope() -> None:
    assert shifts([cell(model, range(2), seed=seed) for seed, model in enumerate("aabb")]) == []


def test_the_better_half_of_three_pasts_is_compared_where_it_shares_enough() -> None:
    for shared, expected in ((2, []), (3, [((0, 1), 3)])):
        pasts = (range(8), range(8 - shared, 16 - shared), range(20, 28))
        run = [cell("a", past, seed=seed) for seed, past in enumerate(pasts, start=1)]
        whole = [shift for shift in shifts(run) if len(shift.cells) > 1]
        assert [(shift.cells, shift.sessions) for shift in whole] == expected


def test_of_two_values_the_typical_is_the_mean_and_of_three_the_odd_one_is_drawn_in() -> None:
    past = [[0.0, 0.1, -0.1], [0.1, 0.0, -0.1], [-0.1, 0.0, 0.1]]
    table = np.array([*past, [0.1, 0.2, 9.0]])
    assert typical(table[:, 1:]).tolist() == pytest.approx([0.0, -0.05, 0.05, 4.6])
    # Every past row has its median at 0 and 0.1 on both sides.
    reach = 2 * math.sqrt(0.02 / 3 * 3 / 2)
    assert typical(table)[-1] == pytest.approx((0.1 + 0.2 + 0.2 + reach) / 3)


def test_where_the_better_half_shares_too_few_sessions_the_longest_past_counts() -> None:
    pasts = (range(8), range(6, 14), range(8), range(12, 20))
    run = [cell("a", past, seed=seed) for seed, past in enumerate(pasts, start=1)]
    found = of(shifts(run), 0)
    assert [shift.sessions for shift in found] == [8]
    # The second shares two sessions with the first, the fourth none: only the third speaks.
    alone = of(shifts([run[0], run[2]]), 0)
    assert [shift.change for shift in found] == pytest.approx([shift.change for shift in alone])


def test_one_cell_has_nothing_to_be_compared_with_and_two_have() -> None:
    assert shifts([cell("a", range(8))]) == []
    assert len(of(shifts([cell("a", range(8)), cell("a", range(8), seed=2)]), 0)) == 1


def test_two_like_contrasts_learn_nothing_from_one_another_and_three_do() -> None:
    two = [cell("a", range(6), seed=seed) for seed in (1, 2)]
    for shift in (*of(shifts(two), 0), *of(shifts(two), 1)):
        assert shift.dof == 5
        contrast = np.diff([list(one.sessions.values()) for one in two], axis=0)
        assert shift.scale == pytest.approx(contrast.std(ddof=1) * math.sqrt(1 + 1 / 6))
    three = [*two, cell("a", range(6), seed=3)]
    assert all(shift.dof > 5 for shift in shifts(three) if len(shift.cells) == 1)


def test_contrasts_without_any_variance_learn_nothing() -> None:
    same = [CellLogs("a", dict.fromkeys("123", 0.0), 0.0) for _ in range(4)]
    assert all(shift.scale == 0 for shift in shifts(same))


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
