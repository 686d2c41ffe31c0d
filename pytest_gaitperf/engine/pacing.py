"""How long a cell may take, and how long the run still may."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.capacity.search import LEAST_SEARCH_S, SEARCH_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measure.cell import Effort
    from pytest_gaitperf.workload import Workload

_LEAST_S = 2.5
"""Warm-up and six windows of a fast model, in seconds; a power meter needs more."""


class Pacing:
    """Shares the run's budget among its cells; it begins when this is made.

    ``ahead`` gives the cells that are still to be measured, without the present one and as often as
    they will be.
    """

    def __init__(self, resources: Resources, ahead: Callable[[], Iterable[Workload]]) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._ahead = ahead
        self._began_s = time.monotonic()

    def at_most_s(self, workload: Workload) -> float:
        """Return how long this cell and those left may take, in seconds."""
        return max(min(self._budget_s(workload) + self._after_s(), self._time_left_s()), 0.0)

    def effort(self, workload: Workload) -> Effort:
        """Return what a cell may cost: its budget, and no more than its share of the run's.

        What a cell does not need is shared among those that follow. Raises MeasurementError when
        too little is left for any.
        """
        from pytest_gaitperf.measure.cell import Effort  # noqa: PLC0415 - numpy, scipy

        left_s, least_s = self._time_left_s(), self._least_s(workload)
        budget_s = self._budget_s(workload)
        if left_s < least_s:
            raise MeasurementError(
                f"of the run's budget {max(left_s, 0.0):.1f} s are left, and a cell needs "
                f"{least_s:.1f} s: raise --gaitperf-run-budget, or measure fewer cells"
            )
        share_s = max(left_s * (budget_s / (budget_s + self._after_s())), least_s)
        return Effort(self._settings.precision, min(budget_s, share_s), share_s)

    def _after_s(self) -> float:
        """Return how long the cells after the present one may take."""
        return sum(map(self._budget_s, self._ahead()))

    def _budget_s(self, workload: Workload) -> float:
        """Return how long a cell may take by itself."""
        budget_s = self._settings.budget
        return max(budget_s, SEARCH_S) if workload.most_subjects else budget_s

    def _time_left_s(self) -> float:
        """Return how much of the run's budget is left."""
        run_budget = self._settings.run_budget
        if run_budget is None:
            return math.inf
        return run_budget - (time.monotonic() - self._began_s)

    def _least_s(self, workload: Workload) -> float:
        """Return the shortest time in which a fast cell can be measured."""
        least_s = LEAST_SEARCH_S if workload.most_subjects else _LEAST_S
        return least_s + self._resources.metering.minimum_span_s
