"""The comparison in blocks: exact small cases, symmetries, and error rates by simulation."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.gate_under_test import in_blocks
from pytest_gaitperf.gate.pairing import (
    DOUBT,
    FEWEST_BLOCKS,
    FEWEST_FRESH,
    LIFE_SD,
    BlockTest,
    compare,
    plan,
    priors,
)
from pytest_gaitperf.measure.turns import centre
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

RATIOS = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=1, max_size=30)
BLOCKS = 40


def kinds_of(
    draw: Draw, *, runs: int, blocks: int = BLOCKS, alpha: float = 0.01, tolerance: float = 0.02
) -> dict[str | None, float]:
    """The share of runs that ended with each kind, looks, confirmation and all."""
    rng = np.random.default_rng(20_26)
    counts: dict[str | None, float] = {"regressed": 0, "improved": 0, "pass": 0, None: 0}
    for _ in range(runs):
        decided = in_blocks(draw(rng, blocks).tolist(), alpha, tolerance).decided
        kind = None if decided is None or decided.kind is None else decided.kind.value
        counts[kind] += 1 / runs
    return counts


# One look


def test_an_odd_life_at_each_end_does_not_count() -> None:
    rng = np.random.default_rng(3)
    usual = 0.05 + 0.01 * rng.standard_normal(19)
    odd = usual.copy()
    odd[[4, 11]] = -0.7, 0.6
    whole, beside = (compare(values.tolist(), 0.5, 0.01, 0.02) for values in (usual, odd))
    ends = np.sort(usual)[3:-3]
    assert whole.change == pytest.approx(ends.mean())
    assert beside.change == pytest.approx(whole.change, abs=0.003)
    assert beside.high - beside.low < 2 * (whole.high - whole.low)
    assert beside.kind is VerdictKind.REGRESSED
    # Of seven blocks, each counts.
    assert compare(odd[:7].tolist(), 0.5, 0.01, 0.02).change == pytest.approx(odd[:7].mean())


@pytest.mark.parametrize("odd", [0.0, 0.15])
def test_equal_models_whose_lives_are_odd_now_and_then_are_not_red(odd: float) -> None:
    def draw(rng: np.random.Generator, blocks: int) -> NDArray[np.float64]:
        sd = np.where(rng.random(blocks) < odd, 0.35, 0.015)
        return np.asarray(sd * rng.standard_normal(blocks))

    found = kinds_of(draw, runs=300, blocks=30, tolerance=0.002)
    assert found["regressed"] + found["improved"] <= 0.01


def test_the_limits_are_students() -> None:
    values = [0.01, 0.04, 0.03, 0.06, 0.02]
    found = compare(values, 0.5, 0.01, 0.05)
    reach = stats.t.isf(DOUBT * 0.5, 4) * stdev(values) / math.sqrt(5)
    assert found.change == pytest.approx(mean(values))
    assert (found.low, found.high) == pytest.approx((found.change - reach, found.change + reach))


def test_one_block_has_no_limits() -> None:
    found = compare([0.5], 1.0, 0.01, 0.05)
    assert (found.low, found.high, found.kind) == (-math.inf, math.inf, None)


def test_blocks_of_one_life_show_only_what_lives_do_not() -> None:
    same = [0.1, 0.1001, 0.0999, 0.1, 0.1]
    assert compare(same, 1.0, 0.01, 0.05).kind is VerdictKind.REGRESSED
    assert compare(same, 1.0, 0.01, 0.05, life_sd=LIFE_SD[False]).kind is None
    # One block is one life, and a model three times as slow is slower in any.
    found = compare([math.log(3)], 1.0, 0.01, 0.05, life_sd=LIFE_SD[False])
    assert found.kind is VerdictKind.REGRESSED
    reach = stats.norm.isf(DOUBT) * LIFE_SD[False]
    assert found.low == pytest.approx(math.log(3) - reach)


def test_exactly_the_tolerance_is_neither_beyond_it_nor_within() -> None:
    effect = compare([math.log(1.05)] * 40, 1.0, 0.01, 0.05)
    assert effect.kind is None
    assert effect.low == pytest.approx(effect.high)


@given(RATIOS, st.floats(0.01, 1), st.floats(1e-4, 0.3), st.floats(0, 0.2))
def test_swapping_the_models_turns_every_sign(
    ratios: list[float], share: float, alpha: float, tolerance: float
) -> None:
    one = compare(ratios, share, alpha, tolerance)
    other = compare([-ratio for ratio in ratios], share, alpha, tolerance)
    turned = (-one.change, -one.high, -one.low)
    assert (other.change, other.low, other.high) == pytest.approx(turned)
    swapped = {
        VerdictKind.REGRESSED: VerdictKind.IMPROVED,
        VerdictKind.IMPROVED: VerdictKind.REGRESSED,
    }
    if one.kind in swapped:
        assert other.kind is swapped[one.kind]
    else:
        assert other.kind not in swapped


@pytest.mark.parametrize("ratios", [[], [0.1, math.nan], [math.inf]])
def test_no_blocks_and_values_that_are_no_numbers_are_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        compare(ratios, 1.0, 0.01, 0.05)


@given(st.integers(1, 500), st.integers(1, 8))
def test_the_looks_reach_the_last_block_and_spend_the_whole_level(maximum: int, first: int) -> None:
    looks = plan(maximum, first)
    counts = [look.blocks for look in looks]
    assert counts == sorted(set(counts))
    assert counts[-1] == maximum
    assert all(look.share > 0 for look in looks)
    assert math.fsum(look.share for look in looks) == pytest.approx(1)


def test_the_centre_is_the_median_of_the_walsh_averages() -> None:
    # Averages of 1, 2, 6 with themselves and one another: 1, 1.5, 2, 3.5, 4, 6.
    assert centre([6.0, 1.0, 2.0]) == pytest.approx(2.75)


# Suspicion and confirmation


def looked(ratios: list[float], level: float = 0.0) -> BlockTest:
    """A test that has had one look at these blocks."""
    test = BlockTest(0.01, 0.02)
    for ratio in ratios:
        test.add(ratio, level)
    test.look(1.0)
    return test


SLOWER = [0.1 + 0.001 * (number % 3) for number in range(FEWEST_BLOCKS)]


def test_a_suspicion_is_no_verdict_and_fresh_blocks_make_it_one_with_their_own_numbers() -> None:
    test = looked(SLOWER, level=1.0)
    assert test.suspected
    assert test.decided is None
    for number in range(FEWEST_BLOCKS):
        test.add(0.2 + 0.001 * (number % 3), 3.0)
        test.confirm()
    effect = test.effect()
    assert effect.kind is VerdictKind.REGRESSED
    assert FEWEST_FRESH <= effect.blocks <= FEWEST_BLOCKS
    assert effect.change == pytest.approx(0.2, abs=0.002)
    assert effect.level == pytest.approx(3.0)


def test_blocks_that_show_something_else_end_a_suspicion() -> None:
    test = looked(SLOWER)
    for number in range(FEWEST_BLOCKS):
        test.add(0.001 * (number % 3), 0.0)
        test.confirm()
    assert not test.suspected
    assert test.decided is None
    effect = test.effect()
    assert effect.doubted
    assert effect.kind is None
    assert effect.blocks == 2 * FEWEST_BLOCKS


def test_a_faster_model_that_fresh_blocks_find_slower_is_not_improved() -> None:
    test = looked([-one for one in SLOWER])
    assert test.suspected
    for ratio in SLOWER:
        test.add(ratio, 0.0)
        test.confirm()
    assert test.effect().kind is None


def test_too_few_blocks_suspect_nothing() -> None:
    test = looked(SLOWER[:-1])
    assert not test.suspected
    assert test.effect().kind is None


def test_more_blocks_and_quieter_ones_can_find_less() -> None:
    def sensitivity(blocks: int, sd: float) -> float:
        found = looked([sd * (-1) ** number for number in range(blocks)]).effect().sensitivity
        assert found is not None
        return found

    assert sensitivity(10, 0.01) > sensitivity(20, 0.01) > sensitivity(20, 0.001) > 0.02
    # Five blocks to raise a suspicion and five to confirm it: fewer find nothing, however alike.
    for blocks in (1, 9):
        assert looked([0.001 * (-1) ** n for n in range(blocks)]).effect().sensitivity is None


def test_noisy_blocks_of_other_cells_make_one_that_seems_quiet_more_careful() -> None:
    rng = np.random.default_rng(1)
    tests = []
    for _ in range(6):
        tests.append(BlockTest(0.01, 0.0))
        for ratio in 0.05 * rng.standard_normal(6):
            tests[-1].add(float(ratio), 0.0)
    quiet = BlockTest(0.01, 0.0)
    for number in range(6):
        quiet.add(0.01 + 0.0001 * (number % 2), 0.0)
    alone = quiet.effect()
    among = quiet.effect(priors({"throughput": [*tests, quiet]})["throughput"])
    assert among.low < alone.low
    assert (among.change, among.blocks) == (alone.change, alone.blocks)


# Error rates: a truth is drawn, and the whole course of blocks is judged


def heavy(rng: np.random.Generator, blocks: int) -> NDArray[np.float64]:
    """Equal models: lives that differ by 15 %, heavy tails on top."""
    noise: NDArray[np.float64] = 0.15 * rng.standard_normal(blocks)
    return noise + 0.03 * rng.standard_t(2, blocks)


def two_places(rng: np.random.Generator, blocks: int) -> NDArray[np.float64]:
    """Equal models of which one has the slow core: the worst case for a t test of few blocks."""
    places: NDArray[np.float64] = 0.15 * rng.choice((-1.0, 1.0), blocks)
    return places + 0.003 * rng.standard_normal(blocks)


def drifting(rng: np.random.Generator, blocks: int) -> NDArray[np.float64]:
    """Equal models in a coin's order: drift and an autocorrelation of 0.6."""
    noise = rng.standard_t(3, 2 * blocks) * 0.05
    for index in range(1, len(noise)):
        noise[index] += 0.6 * noise[index - 1]
    windows = (noise + np.linspace(0, 1, 2 * blocks)).reshape(blocks, 2)
    ratios: NDArray[np.float64] = (windows[:, 1] - windows[:, 0]) * rng.choice((-1, 1), blocks)
    return ratios


@pytest.mark.parametrize(("draw", "most"), [(heavy, 0.01), (two_places, 0.015), (drifting, 0.01)])
@pytest.mark.parametrize("blocks", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_equal_models_are_hardly_ever_red_or_improved(draw: Draw, most: float, blocks: int) -> None:
    # A tolerance of nothing leaves it to alpha and to the fresh blocks.
    found = kinds_of(draw, runs=600, blocks=blocks, tolerance=0.0)
    assert found["regressed"] <= most
    assert found["improved"] <= most


def test_a_change_of_just_the_tolerance_is_rarely_red_and_rarely_passes() -> None:
    def at_the_tolerance(rng: np.random.Generator, blocks: int) -> NDArray[np.float64]:
        return math.log(1.02) + 0.02 * rng.standard_normal(blocks)

    found = kinds_of(at_the_tolerance, runs=400)
    assert found["regressed"] <= DOUBT
    assert found["pass"] <= DOUBT + 0.03


@pytest.mark.parametrize(
    ("change", "sd", "tolerance", "blocks"),
    [
        (0.10, 0.03, 0.02, 18),
        (0.05, 0.015, 0.02, 24),
        (0.02, 0.006, 0.01, 24),
        (0.01, 0.005, 0.005, 60),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_beyond_the_tolerance_is_found_and_never_in_the_wrong_direction(
    change: float, sd: float, tolerance: float, blocks: int, sign: int
) -> None:
    def changed(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        noise: NDArray[np.float64] = sd * rng.standard_t(4, count) / math.sqrt(2)
        return sign * math.log1p(change) + noise

    found = kinds_of(changed, runs=200, blocks=blocks, alpha=0.01 / 6, tolerance=tolerance)
    right, wrong = ("regressed", "improved")[::sign]
    assert found[right] >= 0.9
    assert found[wrong] == 0


def test_the_numbers_of_what_was_found_are_not_exaggerated() -> None:
    rng = np.random.default_rng(5)
    changes = []
    for _ in range(400):
        ratios = 0.05 + 0.03 * rng.standard_normal(24)
        decided = in_blocks(ratios.tolist(), 0.01, 0.0).decided
        if decided is not None and decided.kind is VerdictKind.REGRESSED:
            changes.append(decided.change)
    assert len(changes) > 200
    assert mean(changes) == pytest.approx(0.05, abs=0.003)
