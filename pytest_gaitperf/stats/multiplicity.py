"""Many tests with one false-alarm budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holm(tails: Sequence[float], weights: Sequence[float], alpha: float) -> list[float]:
    """Return the level that each test is held to: it is significant iff its tail is not above.

    Weighted Holm (Holm 1979, Scandinavian Journal of Statistics 6, section 4): by ascending
    ``tail / weight``, each test gets ``alpha * weight / (weights of those not yet rejected)``,
    until the first that is not rejected. Whatever depends on what, the probability that any true
    hypothesis is rejected is at most ``alpha``. ``tails`` are p-values and ``weights`` are above
    zero, both of shape (tests,). A test that is not rejected gets the level that it missed.
    """
    order = sorted(range(len(tails)), key=lambda i: tails[i] / weights[i])
    left = [0.0] * (len(order) + 1)
    for place in range(len(order) - 1, -1, -1):
        left[place] = left[place + 1] + weights[order[place]]
    levels = [0.0] * len(order)
    stopped: float | None = None
    for place, i in enumerate(order):
        levels[i] = alpha * weights[i] / (stopped or left[place])
        if stopped is None and tails[i] > levels[i]:
            stopped = left[place]
    return levels
