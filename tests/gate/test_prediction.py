from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pytest_gaitperf.gate.prediction import (
    VariancePrior,
    fit_prior,
    fit_priors,
    holm,
    moderated,
    predict,
    trigamma_inverse,
    upper_quantile,
)

positive = st.floats(1e-6, 1e3)


@pytest.mark.parametrize("x", [1e-9, 1e-5, 0.1, 1.0, 10.0, 1e6, 1e9])
def test_trigamma_inverse_solves_trigamma(x: float) -> None:
    assert float(special.polygamma(1, trigamma_inverse(x))) == pytest.approx(x, rel=1e-3)


@pytest.mark.parametrize("x", [0.01, 0.5, 3.0, 100.0])
def test_trigamma_inverse_is_exact_where_newton_works(x: float) -> None:
    assert float(special.polygamma(1, trigamma_inverse(x))) == pytest.approx(x, rel=1e-10)


@pytest.mark.parametrize(("s0", "d0"), [(0.03, 4.0), (0.14, 10.0)])
def test_fit_prior_finds_the_truth(s0: float, d0: float) -> None:
    rng = np.random.default_rng(7)
    truth = d0 * s0**2 / rng.chisquare(d0, 20_000)
    dof = rng.integers(2, 10, truth.size)
    prior = fit_prior(list(truth * rng.chisquare(dof) / dof), list(dof))
    assert prior.variance == pytest.approx(s0**2, rel=0.05)
    assert prior.dof == pytest.approx(d0, rel=0.12)
    assert prior.pooled_dof == dof.sum()


def test_fit_prior_of_cells_that_do_not_differ_pools_them() -> None:
    prior = fit_prior([0.0009] * 40, [4] * 40)
    assert math.isinf(prior.dof)
    assert prior.pooled_dof == 160


def test_fit_prior_survives_sessions_that_agree_exactly() -> None:
    prior = fit_prior([0.0, 0.0, 0.0009, 0.001, 0.0008], [4] * 5)
    assert math.isfinite(prior.variance)
    assert prior.variance > 0
    assert 0 < prior.dof < 4


def test_fit_prior_of_mostly_zeros_is_finite() -> None:
    prior = fit_prior([0.0, 0.0, 0.0, 0.001], [2] * 4)
    assert 0 < prior.variance < math.inf


def test_one_cell_has_no_weight() -> None:
    prior = fit_prior([0.0009, 0.5, math.nan], [4, 0, 4])
    assert prior.variance == pytest.approx(0.0009)
    assert (prior.dof, prior.pooled_dof) == (0.0, 4.0)


def test_metrics_share_the_weight_and_keep_their_own_variance() -> None:
    rng = np.random.default_rng(3)
    sd = np.sqrt(8 / rng.chisquare(8, (2, 300)))
    groups = [
        (list((scale * sd[i]) ** 2 * rng.chisquare(4, 300) / 4), [4] * 300)
        for i, scale in enumerate((0.01, 0.1))
    ]
    quiet, loud = fit_priors(groups)
    assert quiet.dof == loud.dof
    assert quiet.dof == pytest.approx(8, rel=0.4)
    assert math.sqrt(quiet.variance) == pytest.approx(0.01, rel=0.1)
    assert math.sqrt(loud.variance) == pytest.approx(0.1, rel=0.1)
    alone = [fit_prior(*group).dof for group in groups]
    assert min(alone) <= quiet.dof <= max(alone)


@pytest.mark.parametrize("variances", [[], [0.0, 0.0], [math.nan]])
def test_fit_prior_needs_a_variance(variances: list[float]) -> None:
    with pytest.raises(ValueError, match="no cell"):
        fit_prior(variances, [4] * len(variances))


@given(positive, st.floats(1, 20), positive, st.floats(0, 50))
def test_moderation_lies_between_cell_and_prior(s2: float, d: float, s0: float, d0: float) -> None:
    between, dof = moderated(s2, d, VariancePrior(s0, d0))
    assert dof == d + d0
    assert min(s2, s0) * (1 - 1e-12) <= between <= max(s2, s0) * (1 + 1e-12)


def test_moderation_at_its_ends() -> None:
    assert moderated(4.0, 3, VariancePrior(9.0, math.inf))[0] == 9.0
    assert moderated(4.0, 3, VariancePrior(9.0, 0)) == (4.0, 3)
    assert moderated(4.0, 2, VariancePrior(9.0, 3)) == (7.0, 5)
    assert moderated(4.0, 0, VariancePrior(9.0, 0)) == (4.0, 0)
    assert moderated(4.0, 3, None) == (4.0, 3)


@pytest.mark.parametrize("dof", [1.0, 4.0, 30.5])
@pytest.mark.parametrize("tail", [0.05, 1e-4, 1e-7])
def test_upper_quantile_is_students(dof: float, tail: float) -> None:
    assert upper_quantile(tail, dof) == pytest.approx(stats.t.isf(tail, dof), rel=1e-6)


def test_upper_quantile_of_infinite_dof_is_the_normals() -> None:
    assert upper_quantile(1e-4, math.inf) == pytest.approx(stats.norm.isf(1e-4), rel=1e-9)


def test_a_prediction_by_hand() -> None:
    prediction = predict([0.0, 0.02, 0.04])
    assert prediction.centre == pytest.approx(0.02)
    assert prediction.scale == pytest.approx(0.02 * math.sqrt(4 / 3))
    assert prediction.dof == 2
    assert prediction.limit(0.05) == pytest.approx(2.919986 * 0.02 * math.sqrt(4 / 3), rel=1e-6)


def test_moderation_never_knows_more_than_all_cells() -> None:
    prior = VariancePrior(0.0004, math.inf, 10.0)
    assert predict([0.0, 0.02, 0.04], prior).dof == 10


def test_prediction_needs_two_sessions() -> None:
    with pytest.raises(ValueError, match="two sessions"):
        predict([0.0])


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("moderated", [True, False])
def test_false_alarms_are_alpha(alpha: float, moderated: bool) -> None:
    rng = np.random.default_rng(11)
    sd = np.sqrt(8 * 0.03**2 / rng.chisquare(8, 4000))
    logs = rng.standard_normal((4000, 5)) * sd[:, None]
    now = rng.standard_normal(4000) * sd
    prior = fit_prior(list(logs.var(axis=1, ddof=1)), [4] * 4000) if moderated else None
    predictions = [predict(list(row), prior) for row in logs]
    alarms = [value - p.centre > p.limit(alpha) for value, p in zip(now, predictions, strict=True)]
    error = 4 * math.sqrt(alpha / 4000)
    assert abs(float(np.mean(alarms)) - alpha) < error


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
