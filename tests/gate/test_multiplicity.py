from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.gate.multiplicity import holm

tests = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=30)


def rejected(pairs: list[tuple[float, float]], alpha: float = 0.05) -> list[bool]:
    tails = [tail for tail, _ in pairs]
    levels = holm(tails, [weight for _, weight in pairs], alpha)
    return [tail <= level for tail, level in zip(tails, levels, strict=True)]


def test_equal_weights_are_holms_steps() -> None:
    levels = holm([0.02, 0.001, 0.9, 0.012], [1.0] * 4, 0.04)
    assert levels == pytest.approx([0.02, 0.01, 0.04, 0.04 / 3])


def test_the_first_that_is_not_rejected_stops_the_rest() -> None:
    assert rejected([(0.03, 1.0), (0.03, 1.0)]) == [False, False]
    assert rejected([(0.025, 1.0), (0.05, 1.0)]) == [True, True]


@given(tests)
def test_holm_rejects_all_that_bonferroni_does(pairs: list[tuple[float, float]]) -> None:
    whole = sum(weight for _, weight in pairs)
    for (tail, weight), red in zip(pairs, rejected(pairs), strict=True):
        assert red or tail >= 0.05 * weight / whole * (1 - 1e-9)


@given(tests, st.data())
def test_a_smaller_tail_rejects_no_less(
    pairs: list[tuple[float, float]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(pairs) - 1))
    tail, weight = pairs[place]
    smaller = [*pairs]
    smaller[place] = (tail * data.draw(st.floats(0, 1)), weight)
    for before, after in zip(rejected(pairs), rejected(smaller), strict=True):
        assert after or not before


def test_false_rejections_keep_alpha_whatever_the_weights() -> None:
    rng = np.random.default_rng(4)
    weights = list(rng.uniform(0.1, 3.0, 12))
    # The first four tests are of true effects: they make the steps that Holm grants the others.
    wrong = 0
    for _ in range(4000):
        tails = [*rng.uniform(0, 1e-4, 4), *rng.uniform(0, 1, 8)]
        levels = holm(tails, weights, 0.05)
        wrong += any(tail <= level for tail, level in list(zip(tails, levels, strict=True))[4:])
    assert 0.02 < wrong / 4000 <= 0.05 + 0.012
