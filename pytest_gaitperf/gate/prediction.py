"""Where the next session may lie: prediction limits with variances moderated across cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """What all cells together say of the between-session variance of one metric's logarithm.

    ``variance`` is s0^2 (dimensionless, on the log scale), ``dof`` is d0, the weight of that
    belief in degrees of freedom: inf where the cells do not differ more than chance, 0 where
    nothing was learnt. ``pooled_dof`` is the sum of the cells' own degrees of freedom: no
    moderated variance can know more than that.
    """

    variance: float
    dof: float
    pooled_dof: float = math.inf


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction for one more session, on the natural-log scale.

    ``centre`` is the mean of the sessions' logs, ``scale`` the standard error of the next
    session about it, ``dof`` the degrees of freedom of ``scale``. ``limit`` is the distance from
    the centre that the next session exceeds, in the one bad direction, with probability alpha.
    """

    centre: float
    scale: float
    dof: float
    limit: float


def trigamma_inverse(x: float) -> float:
    """Solve ``trigamma(y) = x`` for y > 0, x > 0, by Newton's method (Smyth 2004, appendix)."""
    if x > 1e7:  # noqa: PLR2004 - trigamma(y) ~ 1/y^2 for small y
        return 1 / math.sqrt(x)
    if x < 1e-6:  # noqa: PLR2004 - trigamma(y) ~ 1/y for large y
        return 1 / x
    y = 0.5 + 1 / x
    # Convex and decreasing: from this start each step is downhill, and a dozen are plenty.
    for _ in range(50):
        trigamma = float(special.polygamma(1, y))
        step = trigamma * (1 - trigamma / x) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-10:  # noqa: PLR2004 - converged
            break
    return y


def fit_prior(variances: Sequence[float], dofs: Sequence[float]) -> VariancePrior:
    """Fit ``(s0^2, d0)`` to the cells' sample variances by the method of moments on their logs.

    ``variances`` are the cells' between-session variances of the log of one metric, ``dofs``
    their degrees of freedom (sessions - 1), both shape (cells,). With
    ``e = log s^2 - digamma(d/2) + log(d/2)`` the variance of e beyond the mean trigamma(d/2) is
    trigamma(d0/2), and its mean is that of log s0^2 up to ``digamma(d0/2) - log(d0/2)`` (Smyth
    2004, Statistical Applications in Genetics and Molecular Biology 3(1), section 6.2). Where e
    varies no more than chance, d0 is inf. Cells with no degree of freedom, and variances that are
    not finite, are left out; variances below 1e-5 of the median count as that (rounded values can
    agree exactly, and log 0 would rule the fit). One cell alone teaches its variance but no
    weight: d0 = 0. Raises ValueError where no variance above zero is left.
    """
    return fit_priors([(variances, dofs)])[0]


def fit_priors(
    groups: Sequence[tuple[ArrayLike, ArrayLike]],
) -> list[VariancePrior]:
    """Fit the priors of several metrics, as ``fit_prior`` does, with one d0 for all of them.

    ``groups`` are the variances and degrees of freedom of each metric. The excess of the variance
    of e over chance is averaged over the metrics, each weighted by its cells - 1: d0 is hard to
    know from a few cells, and how much cells differ is much alike for all metrics.
    """
    fitted = []
    excess = weight = 0.0
    for variances, dofs in groups:
        s2 = np.asarray(variances, dtype=np.float64)
        d = np.asarray(dofs, dtype=np.float64)
        usable = np.isfinite(s2) & (s2 >= 0) & (d > 0)
        s2, d = s2[usable], d[usable]
        if s2.size == 0 or s2.max() <= 0:
            raise ValueError("fit_prior: no cell has a between-session variance above zero")
        typical = float(np.median(s2)) or float(s2[s2 > 0].min())
        s2 = np.maximum(s2, 1e-5 * typical)
        if s2.size == 1:
            fitted.append((math.log(s2[0]), float(d.sum())))
            continue
        e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
        fitted.append((float(e.mean()), float(d.sum())))
        excess += (s2.size - 1) * float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
        weight += s2.size - 1
    if not weight:
        return [VariancePrior(math.exp(mean), 0.0, pooled) for mean, pooled in fitted]
    if excess <= 0:
        return [VariancePrior(math.exp(mean), math.inf, pooled) for mean, pooled in fitted]
    half = trigamma_inverse(excess / weight)
    bias = float(special.digamma(half)) - math.log(half)
    return [VariancePrior(math.exp(mean + bias), 2 * half, pooled) for mean, pooled in fitted]


def moderated_variance(s2: float, d: float, s0_2: float, d0: float) -> float:
    """Return ``(d0 s0^2 + d s^2) / (d0 + d)``, the posterior variance (Smyth 2004, section 3).

    ``s2`` with ``d`` degrees of freedom is the cell's own variance, ``s0_2`` with ``d0`` the
    prior's; d0 = inf gives s0_2, d0 = 0 gives s2. Raises ValueError where both are 0.
    """
    if math.isinf(d0):
        return s0_2
    if d + d0 <= 0:
        raise ValueError(
            "moderated_variance: neither the cell nor the prior has degrees of freedom"
        )
    return (d0 * s0_2 + d * s2) / (d0 + d)


@lru_cache(maxsize=4096)
def upper_quantile(tail: float, dof: float) -> float:
    """Return what Student's t exceeds with probability ``tail``; ``dof`` may be inf (normal)."""
    if math.isinf(dof):
        return -NormalDist().inv_cdf(tail)
    return -float(special.stdtrit(dof, tail))


def upper_tail(distance: float, scale: float, dof: float) -> float:
    """Return the probability that Student's t, times ``scale``, exceeds ``distance``.

    ``scale`` 0 leaves nothing to chance: 0 for a distance above zero (above rounding), 1 for any
    other. A scale of inf, an unknown one, explains everything: 1.
    """
    if math.isinf(scale):
        return 1.0
    if scale <= 0:
        return 0.0 if distance > 1e-9 else 1.0  # noqa: PLR2004 - rounding of logs
    if math.isinf(dof):
        return 0.5 * math.erfc(distance / scale / math.sqrt(2))
    return float(special.stdtr(dof, -distance / scale))


def upper_tails(distances: ArrayLike, scales: ArrayLike, dofs: ArrayLike) -> NDArray[np.float64]:
    """Return ``upper_tail`` of each, for arrays of one shape."""
    distance, scale, dof = (
        np.asarray(values, dtype=np.float64) for values in (distances, scales, dofs)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        t = distance / scale
        tails = np.where(
            np.isinf(dof), 0.5 * special.erfc(t / math.sqrt(2)), special.stdtr(dof, -t)
        )
    none = np.where(distance > 1e-9, 0.0, 1.0)  # noqa: PLR2004 - as above
    return np.where(np.isinf(scale), 1.0, np.where(scale <= 0, none, tails))


def prediction_limit(
    logs: Sequence[float], alpha: float, prior: VariancePrior | None = None
) -> Prediction:
    """Predict one more session from the baseline's sessions, one-sided at ``alpha``.

    ``logs`` are the natural logs of m >= 2 sessions' values. The next session's distance from
    their mean is ``t * s * sqrt(1 + 1/m)`` (Hahn and Meeker, Statistical Intervals, 4.7) with
    m - 1 degrees of freedom, or, with a prior, the moderated s and d0 + m - 1 of them, but no
    more than all cells have together (as in limma's eBayes). Raises ValueError for fewer than 2.
    """
    count = len(logs)
    if count < 2:  # noqa: PLR2004 - a between-session variance needs two
        raise ValueError("prediction_limit: at least two sessions are needed")
    centre = math.fsum(logs) / count
    dof: float = count - 1
    variance = math.fsum((log - centre) ** 2 for log in logs) / dof
    if prior is not None:
        variance = moderated_variance(variance, dof, prior.variance, prior.dof)
        dof = max(dof, min(dof + prior.dof, prior.pooled_dof))
    scale = math.sqrt(variance * (1 + 1 / count))
    return Prediction(centre, scale, dof, upper_quantile(alpha, dof) * scale)
