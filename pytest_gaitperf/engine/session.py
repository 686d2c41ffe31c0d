"""One session of a run: the lives of its cells, and the time that each visit to a cell may take."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.engine.sustaining import needed_s, plan_text
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.capacity import LEAST_SEARCH_S, SEARCH_S
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.measure.mixes import slowdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.accuracy import Accuracy
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.measure.starts import Start
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload

_LEAST_LIFE_S = 2.1
"""In no less, in seconds, is a share of the budget enough for a fast model."""

_LEAST_S = 2.5
"""Warm-up and six windows of a fast model, in seconds; a power meter needs more."""


@dataclass(slots=True)
class Session:
    """One session under way: its cells, in how many lives at most, and what each life left.

    ``runs`` are by the number of the life; a model by itself leaves a start, and once how it
    answered. ``number`` is 1 for the first. ``further`` sessions of the same cells follow.
    ``again``: the cells are suspects, measured once more, in a ``part`` of a cell's budget.
    """

    number: int
    cells: Sequence[Workload]
    lives: int = 1
    further: int = 0
    again: bool = False
    part: float = 1.0
    runs: dict[Workload, dict[int, Gathered]] = field(default_factory=dict)
    starts: dict[Workload, list[Start]] = field(default_factory=dict)
    accuracy: dict[Workload, Accuracy] = field(default_factory=dict)
    over: set[Workload] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin no life that has nothing to measure."""
        if all(one.sustained_s for one in self.cells):
            self.lives = 1

    def lives_of(self, workload: Workload) -> int:
        """Return in how many lives a cell is measured, as far as it is known.

        A search is in the first one, a sustained load in the last.
        """
        if workload.search or workload.sustained_s:
            return 1
        runs = self.runs.get(workload)
        return next(iter(runs.values())).lives if runs else self.lives

    def lost(self, workload: Workload, measurement: Measurement) -> bool:
        """Note, and return, whether a cell is invalid whatever its further lives come to.

        Where others disturbed a life, it is not, as long as most of them may be left alone.
        """
        lives = (*self.runs.get(workload, {}).values(), *self.starts.get(workload, ()))
        disturbed = sum(life.disturbed is not None for life in lives)
        mendable = 0 < 2 * disturbed < self.lives_of(workload)
        lost = measurement.invalid is not None and not mendable
        if lost:
            self.over.add(workload)
        return lost

    def due(self, life: int) -> list[Workload]:
        """Return the cells that are to be measured in a life, as far as it is known."""
        return [
            one
            for one in self.cells
            if (
                life == self.lives
                if one.sustained_s
                else life == 1 or (one not in self.over and life <= self.lives_of(one))
            )
        ]

    def order(self, life: int, seed: int) -> list[Workload]:
        """Return the cells due in a life, the searches first, models by themselves last.

        Before these are the sustained loads, which leave a hot device behind. Their order is drawn,
        unless there is one life: then all sessions have the same. What is measured beside
        neighbours follows the same load alone.
        """
        cells = self.due(life)
        if self.lives > 1:
            random.Random(f"{seed}-{self.number}-{self.again}-{life}").shuffle(cells)  # noqa: S311
        loads = list(dict.fromkeys(map(_by_itself, cells)))
        places = {load: place for place, load in enumerate(loads)}
        cells.sort(
            key=lambda cell: (
                cell.alone,
                cell.sustained_s > 0,
                not cell.search,
                places[_by_itself(cell)],
                bool(cell.beside),
            )
        )
        return cells

    def evaluated(self, workload: Workload, life: int, run: Gathered) -> Measurement:
        """Return what a cell comes to with one more life; beside neighbours, what it lost, too."""
        runs = self.runs.setdefault(workload, {})
        runs[life] = run
        measurement = evaluate(list(runs.values()))
        if not workload.beside:
            return measurement
        load = _by_itself(workload)
        found = slowdown(runs, self.runs.get(load, {}))
        if found is None:
            why = (
                "in none of its lives was the same load measured alone and left alone by others"
                if load in self.cells
                else "the same load was not measured alone in this session: let beside list {} "
                "too, as in beside = [{}, {...}]"
            )
            return replace(measurement, absent={**measurement.absent, "slowdown": why})
        estimate, spread = found
        spreads = {} if spread is None else {"slowdown": spread}
        return replace(
            measurement,
            metrics={**measurement.metrics, "slowdown": estimate},
            spread={**measurement.spread, **spreads},
        )


class Time:
    """What time each visit to a cell may take; the run's budget begins when this is made.

    ``visits`` are those still to come, the present one included.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._made_s = time.monotonic()
        self._ahead_s = 0.0  # what may still come after the present visit
        self._sustained_s = 0.0  # of that, what cannot be shorter
        self.visits = 0

    def lives(self, cells: Sequence[Workload], sessions: int = 1) -> int:
        """Return in how many lives a session is measured; say why it is less than asked for.

        Beginning them takes no longer than measuring does, and a share of the budget holds a
        warm-up and six windows.
        """
        resources, asked = self._resources, self._settings.lives
        if lasting := [one for one in cells if one.sustained_s]:
            resources.progress.say(plan_text(lasting, sessions))
        cells = [one for one in cells if not (one.search or one.sustained_s)]
        if asked == 1 or not cells:
            return 1
        loaded = [one for one in cells if not one.alone]
        if not resources.renews:
            resources.progress.say(
                f"note: the server at {resources.server.url} neither is ours nor lets its models "
                "be unloaded: each cell is measured in one life of its processes, and nothing "
                "tells what another life would come to, which is a few percent to 40 %; start it "
                "with --model-control-mode=explicit, or let this run start one"
            )
            return 1
        budget_s = min(sum(map(self.budget_s, cells)), self.left_s() / 2)
        begun = 1 + int(budget_s / max(resources.start_s, 1e-3)) if loaded else asked
        held = max(int(self._settings.budget / _LEAST_LIFE_S), 1)
        lives = min(asked, begun, held)
        if lives < asked:
            why = f"one takes {resources.start_s:.0f} s to begin"
            if held <= begun:
                why = f"--gaitperf-budget={self._settings.budget:g} holds no more"
            resources.progress.say(
                f"note: {lives} in place of {asked} lives of the models' processes, since {why}"
            )
        return lives

    def look_ahead(self, session: Session, life: int, rest: Sequence[Workload]) -> None:
        """Note what may still come after a visit: the rest of its life, and whole ones."""
        later = [session.due(one) for one in range(life + 1, session.lives + 1)]
        ahead = [*rest, *(workload for due in later for workload in due)]
        self.visits = 1 + len(ahead) + session.further * len(session.cells) * session.lives
        begins = sum(map(bool, later)) + session.further * session.lives
        self._ahead_s = (
            sum(self.budget_s(one, session.part) / session.lives_of(one) for one in ahead)
            + session.further * sum(map(self.budget_s, session.cells))
            + (begins * self._resources.start_s if begins and self._resources.renews else 0.0)
        )
        self._sustained_s = needed_s(ahead) + session.further * needed_s(session.cells)

    @property
    def lasting(self) -> bool:
        """Whether some of what is to come is sustained."""
        return self._sustained_s > 0

    def at_most_s(self, workload: Workload, session: Session) -> float:
        """Return how long this visit and those after it may take, in seconds."""
        visit_s = self.budget_s(workload, session.part) / session.lives_of(workload)
        return max(min(visit_s + self._ahead_s, self.left_s()), 0.0)

    def budget(self, workload: Workload, life: int, session: Session) -> Budget:
        """Return what a cell may cost: its budget, and no more than its share of the run's.

        What a cell does not need is shared among those that follow. The first life may spend all of
        it, where the cell is too slow for more lives. Raises MeasurementError when too little is
        left for any.
        """
        least_s = self.least_s(workload, session)
        left_s, budget_s = self.left_s(), self.budget_s(workload, session.part)
        if not workload.sustained_s:
            left_s -= self._sustained_s
        if left_s < least_s:
            raise MeasurementError(
                f"of the run's budget {max(left_s, 0.0):.1f} s are left, and a cell needs "
                f"{least_s:.1f} s: raise --gaitperf-run-budget, or measure fewer cells"
            )
        lives = session.lives_of(workload)
        mine_s, others_s = budget_s / lives, self._ahead_s - self._sustained_s
        if life == 1:
            mine_s, others_s = budget_s, max(others_s - budget_s * (1 - 1 / lives), 0.0)
        share_s = max(left_s * (mine_s / (mine_s + others_s)), least_s)
        return Budget(
            self._settings.precision,
            min(budget_s, share_s if life == 1 else share_s * lives),
            share_s,
            lives=lives,
            fewer=life == 1,
            disturbed=self._settings.disturbed,
        )

    def of_all(self, workload: Workload, cells: Sequence[Workload]) -> Budget:
        """Return what several cells, this one and others still to come, may cost together."""
        left_s, budget_s = self.left_s(), sum(map(self.budget_s, cells))
        others_s = max(self._ahead_s - (budget_s - self.budget_s(workload)), 0.0)
        share_s = left_s * (budget_s / (budget_s + others_s))
        return Budget(self._settings.precision, min(budget_s, share_s), share_s)

    def within(
        self, cells: Sequence[Workload], session: Session, *, begun: bool = False
    ) -> list[Workload]:
        """Return the cells that one more life is left time for, with its beginning or ``begun``."""
        left_s = self.left_s() - (0.0 if begun else self._resources.start_s)
        lasting = [one for one in session.due(session.lives) if one not in session.over]
        kept_s = left_s - needed_s(lasting)
        return [
            one
            for one in cells
            if self.least_s(one, session) <= (left_s if one.sustained_s else kept_s)
        ]

    def least_s(self, workload: Workload, session: Session) -> float:
        """Return the least time, in seconds, in which one life of a cell can be measured."""
        if workload.alone:
            return 0.0
        if workload.sustained_s:
            return needed_s([workload])
        if workload.search:
            return LEAST_SEARCH_S + self._resources.metering.minimum_span_s()
        return _LEAST_S + self._resources.metering.minimum_span_s(session.lives_of(workload))

    def budget_s(self, workload: Workload, part: float = 1.0) -> float:
        """Return a cell's budget, in all its lives, in seconds; a search is no shorter in part."""
        if workload.sustained_s:
            return needed_s([workload])
        budget_s = 0.0 if workload.alone else self._settings.budget * part
        return max(budget_s, SEARCH_S) if workload.search else budget_s

    def left_s(self) -> float:
        """Return what is left of the run's budget, in seconds."""
        run_budget = self._settings.run_budget
        if run_budget is None:
            return math.inf
        return run_budget - (time.monotonic() - self._made_s)


def loads_of(workload: Workload, cells: Iterable[Workload]) -> list[Workload]:
    """Return which cells a cell is measured again with.

    Of a model by itself they are the loads that it was under, which make its memory; of a load
    beside neighbours the same load alone.
    """
    if workload.alone:
        others = (one for one in cells if one.model == workload.model and one != workload)
        return [one for one in others if not (one.search or one.sustained_s or one.beside)]
    return [one for one in cells if workload.beside and one == _by_itself(workload)]


def _by_itself(workload: Workload) -> Workload:
    """Return a load without its neighbours."""
    return dataclasses.replace(workload, beside=())
