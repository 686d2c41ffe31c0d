"""The paired comparison: exact small cases, symmetries, and error rates by simulation."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.gate.pairing import (
    DOUBT,
    Effect,
    compare,
    pairs_needed,
    plan,
    signed_rank_quantile,
)
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RATIOS = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=1, max_size=30)


def decided(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]],
    *,
    runs: int,
    maximum: int = 40,
    alpha: float = 0.01,
    tolerance: float = 0.02,
) -> dict[str | None, float]:
    """The share of runs that ended with each kind, stages and all."""
    rng = np.random.default_rng(20_26)
    stages = plan(maximum)
    counts: dict[str | None, float] = {"regressed": 0, "improved": 0, "pass": 0, None: 0}
    for _ in range(runs):
        ratios = draw(rng, maximum)
        effects = (compare(ratios[: k.pairs].tolist(), k.share, alpha, tolerance) for k in stages)
        counts[next((effect.kind.value for effect in effects if effect.kind), None)] += 1 / runs
    return counts


@pytest.mark.parametrize("pairs", [1, 2, 5, 9])
@pytest.mark.parametrize("level", [0.5, 0.1, 0.03, 0.002])
def test_the_quantile_is_that_of_all_signs_of_all_ranks(pairs: int, level: float) -> None:
    statistics = [
        sum(rank for rank, positive in enumerate(signs, 1) if positive)
        for signs in itertools.product((False, True), repeat=pairs)
    ]
    chance = [np.mean(np.array(statistics) <= k) for k in range(pairs * (pairs + 1) // 4 + 1)]
    expected = max((k for k, p in enumerate(chance) if p <= level), default=-1)
    assert signed_rank_quantile(pairs, level) == expected


def test_the_estimate_is_the_median_of_the_walsh_averages() -> None:
    # Averages of 1, 2, 6 with themselves and one another: 1, 1.5, 2, 3.5, 4, 6.
    assert compare([6.0, 1.0, 2.0], 1.0, 0.01, 0.05).change == pytest.approx(2.75)


def test_all_pairs_of_one_sign_decide_from_the_needed_number_on() -> None:
    needed = pairs_needed(0.001)
    assert needed == 10
    slower = [0.3 + 0.01 * index for index in range(needed)]
    assert compare(slower[:-1], 1.0, 0.001, 0.05).kind is None
    assert compare(slower, 1.0, 0.001, 0.05).kind is VerdictKind.REGRESSED


def test_exactly_the_tolerance_is_neither_beyond_it_nor_within() -> None:
    effect = compare([math.log(1.05)] * 40, 1.0, 0.01, 0.05)
    assert effect.kind is None
    assert effect.low == effect.high == effect.change


@given(RATIOS, st.floats(0.01, 1), st.floats(1e-4, 0.3), st.floats(0, 0.2))
def test_swapping_the_models_turns_every_sign(
    ratios: list[float], share: float, alpha: float, tolerance: float
) -> None:
    one = compare(ratios, share, alpha, tolerance)
    other = compare([-ratio for ratio in ratios], share, alpha, tolerance)
    assert (other.change, other.low, other.high) == (-one.change, -one.high, -one.low)
    swapped = {
        VerdictKind.REGRESSED: VerdictKind.IMPROVED,
        VerdictKind.IMPROVED: VerdictKind.REGRESSED,
    }
    if one.kind in swapped:
        assert other.kind is swapped[one.kind]
    else:
        assert other.kind not in swapped


@given(RATIOS, st.randoms(use_true_random=False), st.floats(0.01, 1))
def test_the_order_of_the_pairs_does_not_matter(
    ratios: list[float], random: object, share: float
) -> None:
    shuffled = list(ratios)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # Hypothesis' own Random
    assert compare(shuffled, share, 0.01, 0.05) == compare(ratios, share, 0.01, 0.05)


@given(RATIOS, st.floats(0, 1))
def test_a_slower_candidate_never_looks_better(ratios: list[float], slower: float) -> None:
    def rank(effect: Effect) -> int:
        order = [VerdictKind.IMPROVED, VerdictKind.PASS, None, VerdictKind.REGRESSED]
        return order.index(effect.kind)

    before = compare(ratios, 1.0, 0.05, 0.05)
    after = compare([ratio + slower for ratio in ratios], 1.0, 0.05, 0.05)
    assert after.change >= before.change
    assert after.low >= before.low
    # Between improved and pass an improvement may be open: that is no regression either.
    assert rank(after) >= rank(before) or (before.kind is None and before.change < 0)


@pytest.mark.parametrize("ratios", [[], [0.1, math.nan], [math.inf]])
def test_no_pairs_and_values_that_are_no_numbers_are_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        compare(ratios, 1.0, 0.01, 0.05)


@given(st.integers(1, 500))
def test_the_stages_reach_the_last_pair_and_spend_the_whole_level(maximum: int) -> None:
    stages = plan(maximum)
    counts = [stage.pairs for stage in stages]
    assert counts == sorted(set(counts))
    assert counts[-1] == maximum
    assert all(stage.share > 0 for stage in stages)
    assert math.fsum(stage.share for stage in stages) == pytest.approx(1)
    # What the driver counts on when it plans the fewest pairs.
    assert stages[-1].share > 0.5


def drifting(rng: np.random.Generator, pairs: int) -> NDArray[np.float64]:
    """Equal models in a coin's order: drift, autocorrelation 0.6 and disturbances."""
    noise = rng.standard_t(2, 2 * pairs) * 0.05
    for index in range(1, len(noise)):
        noise[index] += 0.6 * noise[index - 1]
    windows = (noise + np.linspace(0, 1, 2 * pairs)).reshape(pairs, 2)
    ratios: NDArray[np.float64] = (windows[:, 1] - windows[:, 0]) * rng.choice((-1, 1), pairs)
    return ratios


def test_equal_models_are_rarely_red_whatever_the_machine_does() -> None:
    # A tolerance of nothing leaves it to alpha alone.
    found = decided(drifting, runs=2000, maximum=60, alpha=0.05, tolerance=0.0)
    # 5 % are promised over all stages together; 2000 runs tell it to within 1 %.
    assert 0.01 < found["regressed"] <= 0.06
    assert 0.01 < found["improved"] <= 0.06


def test_a_change_of_just_the_tolerance_is_rarely_red_and_rarely_passes() -> None:
    def at_the_tolerance(rng: np.random.Generator, pairs: int) -> NDArray[np.float64]:
        return math.log(1.02) + 0.03 * rng.standard_normal(pairs)

    found = decided(at_the_tolerance, runs=1000)
    assert found["regressed"] <= DOUBT + 0.02
    assert found["pass"] <= DOUBT + 0.02


@pytest.mark.parametrize("comparisons", [1, 48])
def test_five_percent_are_found_in_forty_pairs_of_five_percent_noise(comparisons: int) -> None:
    def slower(rng: np.random.Generator, pairs: int) -> NDArray[np.float64]:
        return math.log(1.05) + 0.05 * rng.standard_normal(pairs)

    assert decided(slower, runs=600, alpha=0.01 / comparisons)["regressed"] >= 0.9


def test_disturbed_pairs_cost_little_power() -> None:
    def slower(rng: np.random.Generator, pairs: int) -> NDArray[np.float64]:
        disturbed = rng.random(pairs) < 0.1
        noise: NDArray[np.float64] = np.where(disturbed, 1.0, 0.05) * rng.standard_normal(pairs)
        return math.log(1.1) + noise

    assert decided(slower, runs=300)["regressed"] >= 0.99
