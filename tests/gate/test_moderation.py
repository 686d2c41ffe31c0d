"""Moderated variances against formulae, and on variances whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from pytest_gaitperf.gate.moderation import (
    VariancePrior,
    fit_priors,
    moderated,
    trigamma_inverse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def fit_prior(variances: Sequence[float], dofs: Sequence[float]) -> VariancePrior:
    return fit_priors([(variances, dofs)])[0]


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


def test_fit_prior_of_cells_that_do_not_differ_pools_them() -> None:
    prior = fit_prior([0.0009] * 40, [4] * 40)
    assert math.isinf(prior.dof)


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
    assert prior.dof == 0.0


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
    between = moderated(s2, d, VariancePrior(s0, d0))
    assert min(s2, s0) * (1 - 1e-12) <= between <= max(s2, s0) * (1 + 1e-12)


def test_moderation_at_its_ends() -> None:
    assert moderated(4.0, 3, VariancePrior(9.0, math.inf)) == 9.0
    assert moderated(4.0, 3, VariancePrior(9.0, 0)) == 4.0
    assert moderated(4.0, 2, VariancePrior(9.0, 3)) == 7.0
    assert moderated(4.0, 0, VariancePrior(9.0, 0)) == 4.0
    assert moderated(4.0, 3, None) == 4.0
