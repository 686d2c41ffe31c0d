"""What some cells typically did: a winsorised mean, of all and of all but one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

_WINSORISED = 2.0
_TWO = 2
"""Of two, none is the odd one out: their mean is taken."""


def typical(table: Array) -> Array:
    """Return the winsorised mean of each row, (m + 1, ..., n) -> (m + 1, ...).

    What lies further than ``_WINSORISED`` standard deviations from its row's median counts as
    that far (Huber 1964, Annals of Mathematical Statistics 35, one step from the median). The
    deviation is the baseline's, so that a worse value now, in the last row, never makes the mean
    better.
    """
    columns = table.shape[-1]
    if columns <= _TWO:
        return np.asarray(table.mean(axis=-1))
    ordered = np.sort(table, axis=-1)
    middle = (ordered[..., (columns - 1) // 2, None] + ordered[..., columns // 2, None]) / 2
    away = ordered - middle
    variance = (away[:-1] ** 2).mean(axis=(0, -1), keepdims=True) * columns / (columns - 1)
    furthest = _WINSORISED * np.sqrt(variance)
    return np.asarray((middle + np.clip(away, -furthest, furthest)).mean(axis=-1))


def typical_of_others(table: Array) -> Array:
    """Return for each column what the others typically did, (m + 1, n) -> (m + 1, n), n >= 2.

    The same as ``typical`` of the table without that column. Sorted once, with running sums, it
    takes n log n steps where that would take n^2 log n.
    """
    n = table.shape[1]
    others = n - 1
    if others <= _TWO:
        rest = [[i for i in range(n) if i != column] for column in range(n)]
        return np.asarray(table[:, rest].mean(axis=-1))
    order = np.argsort(table, axis=1)
    rank = np.argsort(order, axis=1)
    ordered = np.take_along_axis(table, order, axis=1)
    # The medians of the others: what was left out moves the places from its own on by one.
    low, high = (others - 1) // 2, others // 2
    middle = (
        np.where(rank <= low, ordered[:, low + 1, None], ordered[:, low, None])
        + np.where(rank <= high, ordered[:, high + 1, None], ordered[:, high, None])
    ) / 2
    past, centre = table[:-1], middle[:-1]
    squares = (
        (past**2).sum(axis=1)[:, None]
        - 2 * centre * past.sum(axis=1)[:, None]
        + n * centre**2
        - (past - centre) ** 2
    )
    variance = np.maximum(squares.sum(axis=0), 0.0) / (len(past) * (others - 1))
    furthest = _WINSORISED * np.sqrt(variance)
    # A sum of clipped distances: those below, those above, and between them the running sums.
    sums = np.concatenate([np.zeros((len(table), 1)), np.cumsum(ordered, axis=1)], axis=1)
    below = _places(ordered, middle - furthest, "left")
    above = _places(ordered, middle + furthest, "right")
    inside = np.take_along_axis(sums, above, 1) - np.take_along_axis(sums, below, 1)
    clipped = furthest * (n - above - below) + inside - (above - below) * middle
    own = np.clip(table - middle, -furthest, furthest)
    return np.asarray(middle + (clipped - own) / others)


def _places(ordered: Array, values: Array, side: Literal["left", "right"]) -> NDArray[np.intp]:
    rows = zip(ordered, values, strict=True)
    return np.stack([row.searchsorted(wanted, side) for row, wanted in rows])
