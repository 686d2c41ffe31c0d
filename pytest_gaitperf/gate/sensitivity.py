"""How small a change is found by a gate with a known limit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.gate.prediction import upper_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

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
