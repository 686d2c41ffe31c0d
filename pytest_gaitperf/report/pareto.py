"""The Pareto frontier of cells: those that no other is sure to beat; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.metrics import Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.metrics import Estimate


class Cost(NamedTuple):
    """One objective of one cell, less being better: the value and its confidence interval."""

    low: float
    value: float
    high: float


def cost(estimate: Estimate, direction: Direction) -> Cost:
    """Return an estimate as a cost: negated where more is better, exact without an interval."""
    value = estimate.value
    low = value if estimate.low is None else min(estimate.low, value)
    high = value if estimate.high is None else max(estimate.high, value)
    if direction is Direction.HIGHER_IS_BETTER:
        return Cost(-high, -value, -low)
    return Cost(low, value, high)


def dominates(one: Sequence[Cost], other: Sequence[Cost]) -> bool:
    """Return whether ``one`` is surely better, and in no objective worse.

    By its value it is at least as good in every objective, and in at least one its whole interval
    is better than the other's. Overlapping intervals are no difference that anybody could rely on:
    who is better only within them dominates nobody, and two equal cells are both kept. No cycle of
    such claims is possible, since the values of a dominating cell sum to less.
    """
    pairs = list(zip(one, other, strict=True))
    return all(a.value <= b.value for a, b in pairs) and any(a.high < b.low for a, b in pairs)


def frontier(cells: Sequence[Sequence[Cost]]) -> list[int]:
    """Return the indices of the cells that no other dominates, in the order given.

    Each cell has the same objectives, in the same order. Only comparisons are made: units and
    scales, as on a log axis, change nothing.
    """
    if not cells:
        return []
    low, value, high = np.moveaxis(np.array(cells, dtype=np.float64), -1, 0)
    return [
        index
        for index in range(len(cells))
        if not ((value <= value[index]).all(axis=1) & (high < low[index]).any(axis=1)).any()
    ]
