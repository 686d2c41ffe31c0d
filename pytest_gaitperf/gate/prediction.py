"""Where the next session may lie: prediction limits with variances moderated across cells.

And how small a change a gate with a known limit detects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDING = 1e-9
_TINY, _HUGE = 1e-6, 1e7
_CONVERGED = 1e-10


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """What all cells together say of the between-session variance of one metric's logarithm.

    ``variance`` is s0^2 (dimensionless, on the log scale), ``dof`` is d0, its weight in degrees of
    freedom: inf where the cells do not differ more than chance, 0 where nothing was learnt.
    ``pooled_dof`` is the sum of the cells' own degrees of freedom: no moderated variance can have
    more than that.
    """

    variance: float
    dof: float
    pooled_dof: float = math.inf


class Prediction(NamedTuple):
    """A prediction of one more session, on the natural-log scale.

    ``centre`` is the mean of the sessions' logs, ``scale`` the standard error of the next session
    about it, with ``dof`` degrees of freedom.
    """

    centre: float
    scale: float
    dof: float

    def limit(self, level: float) -> float:
        """Return the distance from the centre that is exceeded, one-sided, with that chance."""
        return upper_quantile(level, self.dof) * self.scale


def predict(logs: Sequence[float], prior: VariancePrior | None = None) -> Prediction:
    """Predict one more session from the baseline's sessions.

    ``logs`` are the natural logs of m >= 2 sessions' values. The next session's distance from their
    mean is ``t * s * sqrt(1 + 1/m)`` (Hahn and Meeker, Statistical Intervals, 4.7) with m - 1
    degrees of freedom, or those of the moderated s. Raises ValueError for fewer than 2.
    """
    count = len(logs)
    if count <= 1:
        raise ValueError("predict: at least two sessions are needed")
    centre = math.fsum(logs) / count
    own = math.fsum((log - centre) ** 2 for log in logs) / (count - 1)
    variance, dof = moderated(own, count - 1, prior)
    return Prediction(centre, math.sqrt(variance * (1 + 1 / count)), dof)


def moderated(variance: float, dof: float, prior: VariancePrior | None) -> tuple[float, float]:
    """Return a sample variance drawn towards the prior's, and its degrees of freedom.

    ``(d0 s0^2 + d s^2) / (d0 + d)`` with d0 + d degrees of freedom (Smyth 2004, section 3), but no
    more than all cells have together (as in limma's eBayes). Unchanged without a prior, and where
    neither has a degree of freedom.
    """
    if prior is None or dof + prior.dof <= 0:
        return variance, dof
    if math.isinf(prior.dof):
        variance = prior.variance
    else:
        variance = (prior.dof * prior.variance + dof * variance) / (prior.dof + dof)
    return variance, max(dof, min(dof + prior.dof, prior.pooled_dof))


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


def fit_priors(groups: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[VariancePrior]:
    """Fit the priors of several metrics, as ``fit_prior`` does, with one d0 for all of them.

    ``groups`` are the variances and degrees of freedom of each metric. The excess of the variance
    of e over chance is averaged over the metrics, each weighted by its cells - 1: d0 is hard to
    know from a few cells, and how much cells differ is much alike for all metrics.
    """
    fitted = []
    excess = weight = 0.0
    for variances, dofs in groups:
        s2, d = np.asarray(variances, dtype=np.float64), np.asarray(dofs, dtype=np.float64)
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
    dof, bias = (math.inf if weight else 0.0), 0.0
    if excess > 0:
        half = trigamma_inverse(excess / weight)
        dof, bias = 2 * half, float(special.digamma(half)) - math.log(half)
    return [VariancePrior(math.exp(mean + bias), dof, pooled) for mean, pooled in fitted]


def trigamma_inverse(x: float) -> float:
    """Solve ``trigamma(y) = x`` for y > 0, x > 0, by Newton's method (Smyth 2004, appendix)."""
    if x > _HUGE:  # trigamma(y) ~ 1/y^2 for small y
        return 1 / math.sqrt(x)
    if x < _TINY:  # trigamma(y) ~ 1/y for large y
        return 1 / x
    y = 0.5 + 1 / x
    # Convex and decreasing: from this start each step is downhill, and a dozen are plenty.
    for _ in range(50):
        trigamma = float(special.polygamma(1, y))
        step = trigamma * (1 - trigamma / x) / float(special.polygamma(2, y))
        y += step
        if -step / y < _CONVERGED:
            break
    return y


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
        return 0.0 if distance > _ROUNDING else 1.0
    if math.isinf(dof):
        return 0.5 * math.erfc(distance / scale / math.sqrt(2))
    return float(special.stdtr(dof, -distance / scale))


def holm(tails: Sequence[float], weights: Sequence[float], alpha: float) -> list[float]:
    """Return the level that each test is held to: it is significant iff its tail is not above.

    Weighted Holm (Holm 1979, Scandinavian Journal of Statistics 6, section 4): by ascending
    ``tail / weight``, each test gets ``alpha * weight / (weights of those not yet rejected)``,
    until the first that is not rejected. Whatever depends on what, the probability that any true
    hypothesis is rejected is at most ``alpha``. ``tails`` are p-values and ``weights`` are above
    zero, both of shape (tests,). A test that is not rejected gets the level that it missed.
    """
    order = sorted(range(len(tails)), key=lambda place: tails[place] / weights[place])
    levels = [0.0] * len(tails)
    # Summed from the end on: a difference of the whole and what was rejected would lose digits.
    left = list(accumulate(weights[place] for place in reversed(order)))[::-1]
    stopped: float | None = None
    for place, remaining in zip(order, left, strict=True):
        levels[place] = alpha * weights[place] / (remaining if stopped is None else stopped)
        if stopped is None and tails[place] > levels[place]:
            stopped = remaining
    return levels


POWER = 0.9
"""The probability with which a gate is to find a change."""

_BISECTIONS = 40


class Hurdle(NamedTuple):
    """What a change must exceed to be found, on the log scale, and how its measurement errs.

    A change of size c is measured as ``c + scale * T``, where T has Student's t distribution with
    ``dof`` degrees of freedom: ``scale`` was learnt from a few sessions itself.
    """

    height: float
    scale: float
    dof: float


def smallest_detectable(hurdles: Sequence[Hurdle], power: float = POWER) -> float:
    """Return the smallest change that clears all hurdles with at least probability ``power``.

    A single hurdle of height h is cleared by ``c = h + t(power; dof) * scale`` with probability
    ``power`` exactly, on average over the baselines that a device may give: ``scale`` is as
    random there as T's denominator (the argument of a prediction interval: Hahn and Meeker,
    Statistical Intervals, 4.7; no noncentral t is needed, since the limit of *this* baseline is
    known). Of several, the change is taken for which the probabilities to miss one add up to
    ``1 - power`` (Boole's inequality): whatever depends on what, it is found at least as often.
    Log scale, 0 or more; inf where a scale is unknown (inf). Raises ValueError without a hurdle.
    """
    low = max(0.0, *(hurdle.height for hurdle in hurdles))
    if any(math.isinf(hurdle.scale) or math.isinf(hurdle.height) for hurdle in hurdles):
        return math.inf

    def found(change: float) -> bool:
        missed = (upper_tail(change - h.height, h.scale, h.dof) for h in hurdles)
        return math.fsum(missed) <= 1 - power

    step = max(hurdle.scale for hurdle in hurdles)
    if step <= 0 or found(low):
        return low
    high = low + step
    while not found(high):
        step *= 2
        high = low + step
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high
