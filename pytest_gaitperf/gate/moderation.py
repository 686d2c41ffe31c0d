"""Variances of like comparisons, each drawn towards what all of them say (Smyth 2004)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

_TINY, _HUGE = 1e-6, 1e7
_CONVERGED = 1e-10


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """What all cells together say of the between-session variance of one metric's logarithm.

    ``variance`` is s0^2 (dimensionless, on the log scale), ``dof`` is d0, its weight in degrees of
    freedom: inf where the cells do not differ more than chance, 0 where nothing was learnt.
    """

    variance: float
    dof: float


def moderated(variance: float, dof: float, prior: VariancePrior | None) -> float:
    """Return a sample variance drawn towards the prior's: ``(d0 s0^2 + d s^2) / (d0 + d)``.

    Smyth 2004, section 3. Unchanged without a prior, and where neither has a degree of freedom.
    """
    if prior is None or dof + prior.dof <= 0:
        return variance
    if math.isinf(prior.dof):
        return prior.variance
    return (prior.dof * prior.variance + dof * variance) / (prior.dof + dof)


def fit_priors(groups: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[VariancePrior]:
    """Fit ``(s0^2, d0)`` to sample variances, of each metric, with one d0 for all of them.

    ``groups`` are, for each metric, its cells' variances between sessions of its log, and their
    degrees of freedom (sessions - 1). By the method of moments on the logs: with
    ``e = log s^2 - digamma(d/2) + log(d/2)`` the variance of e beyond the mean trigamma(d/2) is
    trigamma(d0/2), and its mean is that of log s0^2 up to ``digamma(d0/2) - log(d0/2)`` (Smyth
    2004, Statistical Applications in Genetics and Molecular Biology 3(1), section 6.2). Where e
    varies no more than chance, d0 is inf. That excess is averaged over the metrics, each weighted
    by its cells - 1: d0 is hard to know from a few cells, and how much cells differ is much alike
    for all metrics. Cells with no degree of freedom, and variances that are not finite, are left
    out; variances below 1e-5 of the median count as that (rounded values can agree exactly, and log
    0 would rule the fit). One cell alone teaches its variance but no weight: d0 = 0. Raises
    ValueError where no variance above zero is left.
    """
    fitted = []
    excess = weight = 0.0
    for variances, dofs in groups:
        s2, d = np.asarray(variances, dtype=np.float64), np.asarray(dofs, dtype=np.float64)
        usable = np.isfinite(s2) & (s2 >= 0) & (d > 0)
        s2, d = s2[usable], d[usable]
        if s2.size == 0 or s2.max() <= 0:
            raise ValueError("fit_priors: no cell has a between-session variance above zero")
        typical = float(np.median(s2)) or float(s2[s2 > 0].min())
        s2 = np.maximum(s2, 1e-5 * typical)
        if s2.size == 1:
            fitted.append(math.log(s2[0]))
            continue
        e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
        fitted.append(float(e.mean()))
        excess += (s2.size - 1) * float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
        weight += s2.size - 1
    dof, bias = (math.inf if weight else 0.0), 0.0
    if excess > 0:
        half = trigamma_inverse(excess / weight)
        dof, bias = 2 * half, float(special.digamma(half)) - math.log(half)
    return [VariancePrior(math.exp(mean + bias), dof) for mean in fitted]


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
