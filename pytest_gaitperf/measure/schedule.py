"""How long to take turns, and when to look: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_gaitperf.gate.pairing import Look, pairs_needed, plan

OVERRUN = 3.0
"""How many times its budget a cell may take where the budget holds too few pairs for a decision."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to look: the ``looks`` share ``seconds``; up to ``most_s`` for the ``needed`` pairs.

    A look is taken by the clock, and the share of the time is the share of the levels spent (Lan
    and DeMets 1989, Biometrika 76): how many pairs there are by then does not depend on their
    signs.
    """

    looks: tuple[Look, ...]
    seconds: float
    most_s: float
    needed: int

    def goes_on(self, item: Look, pairs: int, spent_s: float) -> bool:
        """Return whether to take another pair before this look."""
        limit_s = self.seconds if pairs >= self.needed else self.most_s
        last = self.looks[-1]
        if item is not last:
            limit_s = min(limit_s, self.seconds * item.pairs / last.pairs)
        return spent_s < limit_s

    def too_few(self, pairs: int, spent_s: float) -> str | None:
        """Say which budget would hold the needed pairs, None where there were as many."""
        if pairs >= self.needed:
            return None
        pair_s = spent_s / pairs
        return (
            f"{pairs} pairs of {pair_s:.1f} s fit the budget, and {self.needed} are needed to call "
            f"it worse: give --gaitperf-budget={math.ceil(self.needed * pair_s / OVERRUN)} or more"
        )


def schedule(alpha: float, pair_s: float, left_s: float, most_s: float) -> Schedule:
    """Plan pairs of about ``pair_s``: ``left_s`` seconds, or as many pairs as can decide at all.

    ``most_s`` is the time for those; ``alpha`` is what the last look has more than half of.
    """
    needed = pairs_needed(alpha / 2)
    looks = plan(max(int(left_s / pair_s), needed))
    return Schedule(looks, max(left_s, min(needed * pair_s, most_s)), most_s, needed)
