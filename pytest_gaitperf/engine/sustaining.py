"""Sustained loads in a run: what they must sustain, the time they need, what is kept of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError, ServerError, first_line
from pytest_gaitperf.measure.parts import Needed
from pytest_gaitperf.measure.sustained import AROUND_S, Terms, sustain
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.text import count, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.config.policy import Policies
    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.fingerprint import Fingerprints
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measure.cell import Budget
    from pytest_gaitperf.workload import Workload

_QUANTITY, _RATE, _RATIO = "sustained", "sustained_throughput", "sustained_ratio"


def needed_s(workloads: Iterable[Workload]) -> float:
    """Return the time that the sustained ones of some cells need in one session, in seconds."""
    return math.fsum(one.sustained_s + AROUND_S for one in workloads if one.sustained_s)


def check_sustained(planned: Iterable[Workload], settings: Settings) -> None:
    """Refuse sustained loads in pairs, and where the run's budget does not hold them."""
    cells = [one for one in planned if one.sustained_s]
    if cells and settings.against is not None:
        raise ConfigurationError(
            f"--gaitperf-against loads two models in turns, and {cells[0].id} is one load without "
            "a break: leave one of them out"
        )
    sessions = settings.sessions if settings.update != "none" else 1
    asked_s, budget_s = needed_s(cells) * sessions, settings.run_budget
    if budget_s is not None and asked_s > budget_s:
        raise ConfigurationError(
            f"--gaitperf-run-budget={budget_s:g}: {plan_text(cells, sessions)}, {asked_s:.0f} s: "
            "give as much or more, sustain the loads for less, or name fewer cells"
        )


def plan_text(cells: Iterable[Workload], sessions: int = 1) -> str:
    """Say how long sustained loads take, at least one."""
    spans: dict[float, int] = {}
    for cell in cells:
        spans[cell.sustained_s] = spans.get(cell.sustained_s, 0) + 1
    said = [f"{count(n, 'load')} of {time_text(span_s)}" for span_s, n in spans.items()]
    each = f" in each of {sessions} sessions" if sessions > 1 else ""
    about_s = math.fsum(n * (span_s + AROUND_S) for span_s, n in spans.items()) * sessions
    return f"{' and '.join(said)} to sustain{each} take up to {time_text(about_s)}"


@dataclass(frozen=True, slots=True)
class Sustaining:
    """Sustains the loads of a run."""

    _resources: Resources
    _fingerprints: Fingerprints
    _policies: Policies

    def measured(
        self, workload: Workload, budget: Budget, keep: Callable[[Measurement], None]
    ) -> Measurement:
        """Sustain a load; ``keep`` gets what was measured so far. Raises as ``sustain``."""
        resources, progress = self._resources, self._resources.progress
        terms = Terms(
            resources.settings.data,
            budget.disturbed,
            lambda data: self._needed(workload, data),
            progress.say,
            progress.text_goes_on,
            keep,
        )
        measurement, error = sustain(resources.server, workload, resources.metering, terms)
        if isinstance(error, ServerError):
            why = f"the server was lost during {workload.id} ({first_line(error)})"
            resources.lose_server(why)
        return measurement

    def _needed(self, workload: Workload, data: str) -> Needed:
        """Return what a load must sustain not to be red: by its limits, and by the baseline.

        Of the baseline the lowest session counts, less the tolerance; and none where its level is
        to be replaced. ``data`` says in words what the requests carry.
        """
        policies, settings = self._policies, self._resources.settings
        asked = {one.metric: (one.bound, str(one)) for one in policies.limits(workload, _QUANTITY)}
        rate, ratio = (asked.get(metric, (0.0, "")) for metric in (_RATE, _RATIO))
        if settings.update != "all" and not settings.accept_regressions:
            current = self._fingerprints.of(workload, Measurement(metrics={}, data=data))
            baseline = self._resources.store.cell_of(workload, current)

            def least(metric: str) -> tuple[float, str]:
                sessions = baseline.comparable(current, metric)[0] if baseline is not None else {}
                lowest = min((one.value for one in sessions.values()), default=0.0)
                return lowest / (1 + policies.tolerance(workload, metric)), "the baseline"

            rate, ratio = max(rate, least(_RATE)), max(ratio, least(_RATIO))
        return Needed(rate[0], ratio[0], rate[1], ratio[1])
