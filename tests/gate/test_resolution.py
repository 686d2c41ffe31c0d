"""What a machine resolves, against simulated machines whose noise is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.gate.prediction import upper_quantile
from pytest_gaitperf.gate.resolution import LEVEL, MEASURED_S, POWER, Resolution, resolution
from pytest_gaitperf.stats import window_noise

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

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
        math.expm1(np.quantile(d, 1 - LEVEL) + np.quantile(d, POWER)) for d in (apart, in_turns)
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
