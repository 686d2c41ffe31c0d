"""How small a change a gate still finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.gate.prediction import upper_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

POWER = 0.9
"""The probability with which a change is to be found."""


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

    def excess(change: float) -> float:
        missed = (upper_tail(change - h.height, h.scale, h.dof) for h in hurdles)
        return math.fsum(missed) - (1 - power)

    if excess(low) <= 0:
        return low
    widest = max(hurdle.scale for hurdle in hurdles)
    if widest <= 0:
        return low
    reach = widest
    while excess(low + reach) > 0:
        reach *= 2
    from scipy.optimize import brentq  # noqa: PLC0415 - takes long, and only this needs it

    return float(brentq(excess, low, low + reach, xtol=1e-12))
