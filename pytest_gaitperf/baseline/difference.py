"""What changed between two states of the baselines: pure, old cells and new cells to rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from statistics import variance
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.cells import geomean, incomparable
from pytest_gaitperf.baseline.directory import Place
from pytest_gaitperf.gate.prediction import Seen, holm, predict
from pytest_gaitperf.gate.verdict import session_noise
from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline, Session
    from pytest_gaitperf.baseline.directory import CellPlace
    from pytest_gaitperf.baseline.schema import Value

ALPHA = 0.01
"""The probability that any change at all is marked where only the sessions' spread is at work."""


class State(Enum):
    """What became of a cell, in the order in which a reader wants to see them."""

    WORSE = "worse"
    BETTER = "better"
    NEW = "new"
    REMOVED = "removed"
    WITHIN = "within the spread"


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of one cell: the geometric means over sessions, in the metric's unit.

    ``old`` or ``new`` is None where that side has none; ``change`` is new/old - 1. ``beyond``: the
    sessions that were added lie farther from the old ones than sessions spread.
    """

    metric: str
    old: float | None
    new: float | None
    change: float | None = None
    beyond: bool = False

    @property
    def worse(self) -> bool:
        """Whether the change is for the worse, however small."""
        return self.change is not None and self.change * METRICS[self.metric].worse_sign > 0


@dataclass(frozen=True, slots=True)
class CellChange:
    """One cell that is not the same on both sides, with its numbers of sessions.

    ``note`` says that old and new sessions cannot be compared, or that the model's files changed.
    """

    place: CellPlace
    state: State
    old_sessions: int
    new_sessions: int
    metrics: tuple[MetricChange, ...]
    note: str = ""

    @property
    def size(self) -> float:
        """The greatest change (log scale) among those for the worse, or better, as the state is."""
        return max(
            (
                abs(math.log1p(item.change))
                for item in self.metrics
                if item.beyond
                and item.change is not None
                and item.worse is (self.state is State.WORSE)
            ),
            default=0.0,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """All changed cells, worst first; how many there are; what came, newest first, and went."""

    cells: tuple[CellChange, ...]
    compared: int
    added: tuple[Session, ...]
    new_models: tuple[Place, ...]
    removed_models: tuple[Place, ...]

    def count(self, state: State) -> int:
        """Return how many cells are in a state."""
        return sum(cell.state is state for cell in self.cells)


class _Pair:
    """One cell on both sides, and by metric the values in use of each."""

    def __init__(self, old: CellBaseline | None, new: CellBaseline | None) -> None:
        self.old = old
        self.new = new
        both = {
            metric: tuple({} if cell is None else cell.in_use(metric) for cell in (old, new))
            for metric in METRICS
        }
        self.in_use = {metric: values for metric, values in both.items() if any(values)}


class _Test(NamedTuple):
    """One metric of one cell that sessions were added to: the logs of both groups, up is worse."""

    place: CellPlace
    metric: str
    old: Sequence[Value]
    added: Sequence[Value]

    @property
    def shift(self) -> float:
        """How far the mean of the added sessions lies on the worse side of the old ones'."""
        moved = math.log(geomean(self.added)) - math.log(geomean(self.old))
        return METRICS[self.metric].worse_sign * moved


def difference(
    old: Mapping[CellPlace, CellBaseline], new: Mapping[CellPlace, CellBaseline]
) -> Difference:
    """Compare two states of the baselines.

    A change is ``beyond`` where the sessions that were added (or whose values were edited) lie off
    the old ones by more than the spread between sessions explains: a two-sided test of two means
    on the log scale, its variance within both groups predicted as the gate's is (from the lives,
    the cells of the profile and these sessions), by Holm's procedure over all metrics and cells at
    ``ALPHA`` in all.
    """
    changed = {
        place
        for place in {**old, **new}
        if place not in old or place not in new or old[place].sessions != new[place].sessions
    }
    pairs = {place: _Pair(old.get(place), new.get(place)) for place in {**old, **new}}
    beyond = _beyond(pairs)
    cells = [_cell_change(place, pairs[place], beyond) for place in changed]
    order = list(State)
    places = {place: number for number, place in enumerate(pairs)}
    cells.sort(key=lambda cell: (order.index(cell.state), -cell.size, places[cell.place]))
    known = {(p.profile, session.id) for p, cell in old.items() for session in cell.sessions}
    added = {
        (place.profile, session.id): session
        for place in sorted(changed & new.keys())
        for session in new[place].sessions
        if (place.profile, session.id) not in known
    }
    newest_first = sorted(added.values(), key=lambda item: (item.time, item.id), reverse=True)
    before, after = ({Place(p.profile, p.model) for p in side} for side in (old, new))
    return Difference(
        tuple(cells),
        len(pairs),
        tuple(newest_first),
        tuple(sorted(after - before)),
        tuple(sorted(before - after)),
    )


def _cell_change(
    place: CellPlace, pair: _Pair, beyond: Mapping[tuple[CellPlace, str], bool]
) -> CellChange:
    """Lay both sides of a cell side by side; ``beyond`` holds what is, with the worse side."""
    old, new = pair.old, pair.new
    metrics = []
    for metric, (before, after) in pair.in_use.items():
        was = geomean(before.values()) if before else None
        now = geomean(after.values()) if after else None
        change = now / was - 1 if was is not None and now is not None else None
        item = MetricChange(metric, was, now, change)
        # A new session may pull a level one way while an old one that left pulls it the other.
        goes = bool(change) and beyond.get((place, metric)) is item.worse
        metrics.append(replace(item, beyond=goes))
    if old is None or new is None:
        state = State.NEW if old is None else State.REMOVED
    elif any(item.beyond and item.worse for item in metrics):
        state = State.WORSE
    elif any(item.beyond for item in metrics):
        state = State.BETTER
    else:
        state = State.WITHIN
    note = ""
    if old is not None and new is not None:
        current = new.sessions[-1].fingerprint
        differing = incomparable(old.sessions[-1].fingerprint, current)
        note = differing or old.content_change(current) or ""
    return CellChange(
        place,
        state,
        len(old.sessions) if old is not None else 0,
        len(new.sessions) if new is not None else 0,
        tuple(metrics),
        note,
    )


def _beyond(pairs: Mapping[CellPlace, _Pair]) -> dict[tuple[CellPlace, str], bool]:
    """Return the changes beyond the spread, each with whether it is for the worse."""
    groups: dict[tuple[str, str], list[_Test]] = {}
    for place, pair in pairs.items():
        old, new = pair.old, pair.new
        if old is None or new is None:
            continue
        for metric, (before, after) in pair.in_use.items():
            # What cannot be compared with the newest sessions says nothing about them.
            if before and after and _comparable(old, new, metric):
                known = {(one.id, one.values[metric].value) for one in old.having(metric)}
                added = [one for name, one in after.items() if (name, one.value) not in known]
                test = _Test(place, metric, list(before.values()), added)
                groups.setdefault((place.profile, metric), []).append(test)
    tests: list[tuple[_Test, float]] = []
    for (_, metric), group in groups.items():
        values = [[*test.old, *test.added] for test in group]
        noise = session_noise(values, METRICS[metric].floor)
        seen = [_seen(test, *known) for test, known in zip(group, noise, strict=True)]
        tests += [
            (test, min(1.0, 2 * error.tail(abs(test.shift))))
            for test, error in zip(group, predict(seen), strict=True)
            if test.added
        ]
    tails = [tail for _, tail in tests]
    levels = holm(tails, [1.0] * len(tails), ALPHA)
    return {
        (test.place, test.metric): test.shift > 0
        for (test, tail), held_to in zip(tests, levels, strict=True)
        if tail <= held_to
    }


def _comparable(old: CellBaseline, new: CellBaseline, metric: str) -> bool:
    """Say whether the newest sessions of both sides that have the metric may be compared."""
    was, now = (cell.having(metric)[-1].fingerprint for cell in (old, new))
    return incomparable(was, now, metric) is None


def _seen(test: _Test, assumed: float, least: float) -> Seen:
    """Return what is known of the difference of both groups' means."""
    groups = [[math.log(value.value) for value in group] for group in (test.old, test.added)]
    dof = sum(len(logs) - 1 for logs in groups if logs)
    squares = sum(variance(logs) * (len(logs) - 1) for logs in groups if len(logs) > 1)
    within, factor = (squares / dof if dof else 0.0), sum(1 / len(logs) for logs in groups if logs)
    return Seen(assumed, within, dof, factor, least)
