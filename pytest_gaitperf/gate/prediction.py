"""Where the next session may lie, whatever number of sessions there is to say so.

How much sessions differ is hard to know from a few of them, so three things are put together: what
the lives of a model's processes suggest, what like comparisons do, and what the comparison's own
sessions did. And how small a change a test with a known limit detects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

_ROUNDING = 1e-9

# The SD of sessions in units of the assumed one, on a logarithmic grid.
_LEAST, _MOST, _STEPS = 0.1, 8.0, 24
_GRID: Array = np.geomspace(_LEAST, _MOST, _STEPS)
_RISE, _STEEPNESS = 1.0, 8.0
"""What is assumed is an upper end: up to it the prior (in the SD's logarithm) rises as the SD does,
beyond it the prior falls with this power of the SD."""
_LIKENESS = 30.0
"""Like comparisons have SDs that differ by an eighth or so, as those of a scaled inverse chi-square
distribution with this many degrees of freedom."""
_ALONE = 1e-4
"""The probability that a comparison is not like the others but noisier, by any factor up to 8: so
small that it costs next to nothing where nothing shows it."""


class Seen(NamedTuple):
    """What is known of the differences between sessions in one comparison, on the log scale.

    ``assumed`` is a session's variance as the lives suggest it, an upper end; ``variance`` that
    between the sessions, with ``dof`` degrees of freedom (0: none). No session can vary less than
    ``least``. What is to be predicted has ``factor`` such variances: ``1 + 1/m`` for one more
    session about the mean of m. ``weight`` is how much of a comparison of its own it is: less than
    1 for one of several whose sum is 0.
    """

    assumed: float
    variance: float = 0.0
    dof: float = 0.0
    factor: float = 2.0
    least: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """The error of what is predicted: a mixture of Student's t distributions about 0.

    Each has a scale (log scale, shape (n,)), a weight (shape (n,), 1 in all), and ``dof`` degrees
    of freedom. ``seen`` is what it was learnt from, together with ``like`` comparisons in all.
    """

    scales: Array
    weights: Array
    dof: float
    seen: Seen
    like: int = 1

    def tail(self, distance: float) -> float:
        """Return the probability that the error exceeds a distance.

        Where nothing varies, it is 0 for a distance above zero (above rounding), 1 for any other.
        """
        if self.scales[-1] <= 0:
            return 0.0 if distance > _ROUNDING else 1.0
        tails = special.stdtr(self.dof, -distance / self.scales)
        return float(self.weights @ tails)

    def limit(self, level: float) -> float:
        """Return the distance that is exceeded, one-sided, with that probability (below 1/2)."""
        if self.scales[-1] <= 0:
            return 0.0
        quantile = upper_quantile(level, self.dof)
        ends = (quantile * float(self.scales[0]), quantile * float(self.scales[-1]))
        # The log of a tail is nearly straight.
        return _root(lambda distance: math.log(self.tail(distance) / level), *ends)

    @cached_property
    def variance(self) -> float:
        """The variance of a session: the median of what is probable; of one session the assumed."""
        if not self.seen.dof:
            return self.seen.assumed
        place = int(np.searchsorted(np.cumsum(self.weights), 0.5))
        return float(self.scales[min(place, self.scales.size - 1)]) ** 2 / self.seen.factor

    def after(self, more: int) -> Prediction:
        """Return an estimate of this after some more sessions that differ as these do."""
        sessions = round(1 / (self.seen.factor - 1)) + more
        seen = self.seen._replace(
            variance=self.variance,
            dof=successive_dof(sessions),
            factor=1 + 1 / sessions,
        )
        return predict([seen] * self.like)[0]


def student(scale: float, dof: float) -> Prediction:
    """Return an error that is Student's t, times a scale; ``dof`` may be inf (normal)."""
    return Prediction(np.array([scale]), np.ones(1), min(dof, _MANY), Seen(scale**2))


def predict(group: Sequence[Seen], evidence: Sequence[Seen] = ()) -> list[Prediction]:
    """Predict the errors of like comparisons, each from its own sessions and from all of them.

    The SDs of a group are one unknown multiple of the assumed ones, the same for all but for an
    eighth or so. Its posterior is taken over a grid: a prior that rises up to 1 and falls
    steeply above, times the likelihood of each comparison's variance (an F distribution,
    since SDs differ). A comparison's own variance then moderates the common one (Smyth 2004). One
    that is far noisier than the others is more probably one of another kind, whose SD is any above
    the assumed one: it widens itself, and hardly the group (as in limma's robust empirical Bayes:
    Phipson et al. 2016, Annals of Applied Statistics 10). ``evidence``, one of each comparison or
    none at all, tells the others more of the group's common multiple, and itself nothing.

    So with a single session the assumption stands, each further one says more, and the limit falls
    on average as sessions come in, since each posterior is the next one's prior.
    """
    if not group:
        return []
    if not all(one.assumed for one in group):
        return [
            Prediction(np.zeros(1), np.ones(1), _LIKENESS + one.dof, one, len(group))
            for one in group
        ]
    prior = _RISE * np.log(np.minimum(_GRID, 1.0)) - _STEEPNESS * np.log(np.maximum(_GRID, 1.0))
    odds = _odds(group)
    posterior = prior + odds.each.sum(axis=0)
    if evidence:
        each = _odds(evidence).each
        posterior = posterior + each.sum(axis=0) - each
    posterior = np.exp(posterior - posterior.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    assumed, variance, dof, factor, least, _ = np.array(group, dtype=np.float64).T[..., None]
    alone = assumed * _GRID**2
    like = (_LIKENESS * alone + dof * variance) / (_LIKENESS + dof)
    scales = np.sqrt(factor * np.maximum(np.hstack([like, alone]), least))
    belongs = posterior * odds.like
    weights = np.hstack([belongs, (1 - belongs.sum(axis=1, keepdims=True)) * odds.alone])
    found = []
    for seen, scale, weight in zip(group, scales, weights, strict=True):
        order = np.argsort(scale)
        order = order[weight[order] > _NEGLIGIBLE]
        share = weight[order] / weight[order].sum()
        found.append(Prediction(scale[order], share, _LIKENESS + seen.dof, seen, len(group)))
    return found


class _Odds(NamedTuple):
    """What variances say of each SD on the grid.

    All are (n, grid). ``each`` is the log likelihood of each; ``like`` the probability that it is
    one of the group, whose SD that is; ``alone`` the probabilities of its own SD if not.
    """

    each: Array
    like: Array
    alone: Array


def _odds(group: Sequence[Seen]) -> _Odds:
    assumed, variance, dof, _, _, weight = np.array(group, dtype=np.float64).T[..., None]
    ratio, half, rest = variance / assumed, np.maximum(dof, _NEGLIGIBLE) / 2, _LIKENESS / 2
    # Both densities of the ratio, without the power of it that they share.
    like = half * np.log(half / rest) - special.betaln(half, rest) - dof * np.log(_GRID)
    like -= (half + rest) * np.log1p(dof * ratio / (_LIKENESS * _GRID**2))
    alone = half * np.log(half) - special.gammaln(half) - dof * np.log(_GRID)
    alone = np.where(_GRID >= 1, alone - dof * ratio / (2 * _GRID**2), -np.inf)
    top = alone.max(axis=1, keepdims=True)
    alone = np.exp(alone - top)
    summed = alone.sum(axis=1, keepdims=True)
    evidence = np.log(summed / (_GRID >= 1).sum()) + top + math.log(_ALONE)
    either = np.logaddexp(like, evidence)
    known = dof > 0
    each = np.where(known, weight * either, 0.0)
    return _Odds(each, np.where(known, np.exp(like - either), 1.0), alone / summed)


_NEGLIGIBLE = 1e-9
_MANY = 1e9


def successive_variance(logs: Array) -> float:
    """Return the variance of values from the differences of successive ones, shape (m,), m >= 2.

    ``sum (y[i+1] - y[i])^2 / (2 (m - 1))``: a level that creeps or steps adds almost nothing to it
    (von Neumann et al. 1941, Annals of Mathematical Statistics 12). So a history that crept is not
    taken for a noisy one.
    """
    steps = np.diff(logs)
    return float(steps @ steps) / (2 * steps.size)


def successive_dof(sessions: int) -> float:
    """Return the degrees of freedom of ``successive_variance``, fewer than those of the usual one.

    ``2 (m - 1)^2 / (3m - 4)``, by matching its variance where values are independent.
    """
    return 0.0 if sessions <= 1 else 2 * (sessions - 1) ** 2 / (3 * sessions - 4)


@lru_cache(maxsize=4096)
def upper_quantile(tail: float, dof: float) -> float:
    """Return what Student's t exceeds with probability ``tail``; ``dof`` may be inf (normal)."""
    if math.isinf(dof):
        return -NormalDist().inv_cdf(tail)
    return -float(special.stdtrit(dof, tail))


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

_PRECISE = 1e-5


class Hurdle(NamedTuple):
    """What a change must exceed to be found, on the log scale, and how its measurement errs."""

    height: float
    error: Prediction


def smallest_detectable(hurdles: Sequence[Hurdle], power: float = POWER) -> float:
    """Return the smallest change that clears all hurdles with at least probability ``power``.

    Of several, the change is taken for which the probabilities to miss one add up to
    ``1 - power`` (Boole's inequality): whatever depends on what, it is found at least as often.
    Log scale, 0 or more. Raises ValueError without a hurdle.
    """
    low = max(0.0, *(hurdle.height for hurdle in hurdles))
    step = max(float(hurdle.error.scales[-1]) for hurdle in hurdles)

    def missed(change: float) -> float:
        tails = math.fsum(hurdle.error.tail(change - hurdle.height) for hurdle in hurdles)
        return math.log(tails / (1 - power)) if tails > 0 else -math.inf

    if step <= 0 or missed(low) <= 0:
        return low
    high = low + step
    while missed(high) > 0:
        step *= 2
        high = low + step
    return _root(missed, low, high)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is 0, or next to it on the far side.

    By regula falsi; an end that stays twice is halved (the Illinois rule), so that it does not stay
    for ever.
    """
    above, below, side = falling(low), falling(high), 0
    while high - low > _PRECISE * high and above > 0 > below:
        middle = low + (high - low) * above / (above - below)
        value = falling(middle)
        if abs(value) < _PRECISE:
            return middle
        if value > 0:
            low, above, below, side = middle, value, below / (1 + (side > 0)), 1
        else:
            high, below, above, side = middle, value, above / (1 + (side < 0)), -1
    return high
