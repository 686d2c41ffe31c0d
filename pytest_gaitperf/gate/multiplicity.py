"""Many tests with one false-alarm budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def holm(tails: ArrayLike, weights: Sequence[float], alpha: float) -> list[float]:
    """Return the level that each test is held to: it is significant iff its tail is not above.

    Weighted Holm (Holm 1979, Scandinavian Journal of Statistics 6, section 4): by ascending
    ``tail / weight``, each test gets ``alpha * weight / (weights of those not yet rejected)``,
    until the first that is not rejected. Whatever depends on what, the probability that any true
    hypothesis is rejected is at most ``alpha``. ``tails`` are p-values and ``weights`` are above
    zero, both of shape (tests,). A test that is not rejected gets the level that it missed.
    """
    tail, weight = np.asarray(tails, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(tail / weight, kind="stable")
    left = np.cumsum(weight[order][::-1])[::-1]
    held = alpha * weight[order] / left
    missed = np.flatnonzero(tail[order] > held)
    if missed.size:
        first = missed[0]
        held[first:] = alpha * weight[order][first:] / left[first]
    levels = np.empty_like(held)
    levels[order] = held
    return list(levels.tolist())
