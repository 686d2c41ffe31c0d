"""How small a change a run could have heard: its sensitivity, and what would sharpen it.

What counts is the whole of a model, in all its cells: changes ship as models, and a model is told
from noise far better than any one of its cells.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.gate.prediction import Hurdle, smallest_detectable
from pytest_gaitperf.gate.scopes import shares
from pytest_gaitperf.metrics import MAX_SESSIONS, TOGETHER
from pytest_gaitperf.text import count, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.gate.prediction import Prediction
    from pytest_gaitperf.gate.scopes import Shift

_AIMED_AT = 0.93
"""The probability that is computed, so that it is 0.9 in fact: what the others may have improved by
chance, and an SD that is underestimated, cost the rest (tests/baseline/test_sensitivity.py)."""


_MUCH = 20
"""Sessions whose SD is this part of what must be heard do not differ much."""


class Heard(NamedTuple):
    """The smallest change that could have been heard, and what would sharpen: see ``Verdict``."""

    sensitivity: float
    sharpen: str = ""
    more_sessions: int = 0


class Hearing:
    """What the tests of a run for the worse can find with its ``alpha`` shared among them."""

    def __init__(self, tests: Sequence[Shift], alpha: float) -> None:
        self._alpha = alpha
        of_tests = zip(tests, shares(tests), strict=True)
        self.tests = [
            (one, alpha * share)
            for one, share in of_tests
            if one.level == "sessions" and one.metric != TOGETHER
        ]
        self._known: dict[tuple[object, ...], Heard] = {}

    def of_model(
        self, cell: int, model: frozenset[int], tolerance: float, must_hear: float
    ) -> Heard:
        """Return what could be heard of a whole model, for one of its cells, and what must be.

        ``model`` are its cells. The widest test within the model counts.
        """
        within = [
            (test, level)
            for test, level in self.tests
            if cell in test.cells and model.issuperset(test.cells)
        ]
        test, level = max(within, key=lambda one: len(one[0].cells))
        key = (test.key, tolerance, must_hear)
        if key not in self._known:
            change = heard(test.error, level, self._alpha, tolerance)
            advice = self._sharpen(test, level, tolerance, must_hear) if change > must_hear else ()
            self._known[key] = Heard(change, *advice)
        return self._known[key]

    def of_cells(self, cells: Iterable[int], tolerance: float) -> float | None:
        """Return what could be heard of any of some cells alone, None where none is tested so."""
        wanted = {(cell,) for cell in cells}
        alone = [one for one in self.tests if one[0].cells in wanted]
        if not alone:
            return None
        test, level = max(alone, key=lambda one: one[0].error.variance)
        return heard(test.error, level, self._alpha, tolerance)

    def _sharpen(
        self, test: Shift, level: float, tolerance: float, must_hear: float
    ) -> tuple[str, int]:
        """Say what would hear enough: the fewest further sessions, or a quieter machine."""
        room = MAX_SESSIONS - test.sessions
        could = math.inf
        for more in range(1, room + 1):
            could = heard(test.error.after(more), level, self._alpha, tolerance)
            if could <= must_hear:
                return f"{count(more, 'more session')} would hear {size_text(could)}", more
        twice = heard(_with_twice_the_lives(test.error), level, self._alpha, tolerance)
        if twice <= must_hear:
            return (
                f"twice the lives in a session (--gaitperf-lives) would hear {size_text(twice)}",
                0,
            )
        sd = math.sqrt(test.error.seen.variance or test.error.seen.assumed)
        most = (
            f"{count(room, 'more session')} would hear {size_text(could)} only, "
            if room > 0
            else ""
        )
        pairs = "pairs (--gaitperf-against)"
        if sd < must_hear / _MUCH:
            return (
                f"{most}since so few do not show how little they differ: more cells, or {pairs}",
                0,
            )
        differ = "differ" if test.error.seen.dof else "are assumed to differ"
        sharper = f"use a quieter machine, or {pairs}"
        return f"{most}since sessions {differ} by {sd:.0%} (SD) here: {sharper}", 0


def _with_twice_the_lives(error: Prediction) -> Prediction:
    """Return an estimate of an error where each session has twice the lives: half their part."""
    share = 1 - error.seen.least / 2 / error.variance if error.variance > 0 else 1.0
    return replace(error, scales=error.scales * math.sqrt(max(share, 0.5)))


def heard(error: Prediction, level: float, alpha: float, tolerance: float) -> float:
    """Return the smallest change for the worse that is found nine times in ten, as a ratio.

    It must be beyond the noise at ``level`` and beyond the tolerance in the first measurement, and
    at ``alpha`` in the one that confirms it.
    """
    least = math.log1p(tolerance)
    hurdles = [Hurdle(max(error.limit(held_to), least), error) for held_to in (level, alpha)]
    return math.expm1(smallest_detectable(hurdles, _AIMED_AT))
