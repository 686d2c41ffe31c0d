"""The benchmark's simulated runs are what they are called."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.gate_simulation import (
    HEAVY,
    LIVES,
    MIXED,
    NOISY,
    NOISY_APART,
    ONE_HIDDEN,
    ONE_NOISY,
    QUIET,
    QUIET_APART,
    SHAKY,
    SMALL,
    Machine,
    draw,
    draw_pairs,
    mean_of_windows_sd,
    slowdown,
)

RNG_SEED = 4


@pytest.mark.parametrize(
    ("machine", "sd"),
    [
        (QUIET, 0.03),
        (QUIET_APART, 0.03),
        (HEAVY, 0.03),
        (NOISY, 0.14),
        (NOISY_APART, 0.14),
        (MIXED, math.sqrt(0.02**2 + 0.01**2 + 0.025**2)),
        (SHAKY, math.sqrt(0.02**2 + 0.01**2 + 0.025**2)),
    ],
)
def test_sessions_differ_as_the_machine_says(machine: Machine, sd: float) -> None:
    runs = draw(machine, 5, 120, np.random.default_rng(RNG_SEED))
    assert runs.past.shape == (120, 5, 3, 4, 9, 3, 4)
    assert float(runs.past.mean((-1, -2)).std()) == pytest.approx(sd, rel=0.08)
    assert float(runs.now.mean((-1, -2)).std()) == pytest.approx(sd, rel=0.08)


def test_windows_are_autocorrelated_and_their_mean_is_as_inexact_as_the_formula_says() -> None:
    within = mean_of_windows_sd(0.15) / math.sqrt(LIVES)
    machine = Machine("windows only", 0.0, 0.0, within, 0.0, 0.15)
    windows = draw(machine, 5, 50, np.random.default_rng(RNG_SEED)).past
    assert machine.lasting == 0
    assert float(windows.std()) == pytest.approx(0.15, rel=0.02)
    lag_1 = float((windows[..., 1:] * windows[..., :-1]).mean() / (windows**2).mean())
    assert lag_1 == pytest.approx(0.6, abs=0.02)
    assert float(windows.mean(-1).std()) == pytest.approx(mean_of_windows_sd(0.15), rel=0.02)


def test_a_remeasurement_shares_all_of_the_session_but_its_windows() -> None:
    runs = draw(MIXED, 5, 100, np.random.default_rng(RNG_SEED))
    difference = (runs.again - runs.now).mean((-1, -2))
    within = MIXED.life**2 + mean_of_windows_sd(MIXED.window) ** 2
    expected = math.sqrt(2 * within / LIVES)
    assert float(difference.std()) == pytest.approx(expected, rel=0.03)


def test_only_this_session_is_slower_and_only_where_it_is_said() -> None:
    machine = Machine("still", 0.0, 0.0, 0.0, 0.0, 0.0)
    runs = draw(machine, 5, 2, np.random.default_rng(RNG_SEED), slowdown("model", 0.1))
    assert not runs.past.any()
    for measured in (runs.now, runs.again):
        assert measured[:, 0, 0] == pytest.approx(math.log(1.1))
        measured[:, 0, 0] = 0
        assert not measured.any()
    runs = draw(machine, 5, 2, np.random.default_rng(RNG_SEED), slowdown("cell", 0.1))
    assert np.count_nonzero(runs.now.mean((-1, -2))) == 2  # one cell of each run


@pytest.mark.parametrize("sd", [0.05, 0.13])
def test_pairs_have_their_sd_and_their_change(sd: float) -> None:
    old, new = draw_pairs(np.random.default_rng(RNG_SEED), (500,), 40, sd, np.full(500, 0.1))
    ratios = new - old
    assert ratios.shape == (500, 40)
    assert float(ratios.std()) == pytest.approx(sd, rel=0.03)
    assert float(ratios.mean()) == pytest.approx(math.log(1.1), abs=4 * sd / math.sqrt(20_000))
    # The coin leaves no trace of the drift in the order of the pairs.
    centred = ratios - math.log(1.1)
    assert abs(float((centred[:, 1:] * centred[:, :-1]).mean())) < 0.03 * sd**2


def test_the_noisy_cell_is_noisy_in_its_sessions_and_where_it_shows_in_its_lives() -> None:
    for machine in (ONE_NOISY, ONE_HIDDEN):
        past = draw(machine, 5, 120, np.random.default_rng(RNG_SEED), shape=SMALL).past
        level, lives = past.mean((-1, -2)), past.mean(-1).std(-1)
        assert float(level[:, :, :, 0, 0].std()) > 3 * float(level[:, :, :, 1, 0].std())
        ratio = float(lives[:, :, :, 0, 0].mean()) / float(lives[:, :, :, 1, 0].mean())
        assert ratio == pytest.approx(14 / 3 if machine.seen else 1.0, rel=0.1)
