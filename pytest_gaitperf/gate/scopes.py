"""How far this session lies from the baseline's sessions: the whole run, a model, a cell.

A regression comes at three scopes, and each has its own noise. Sessions differ by something that
all cells share (the device was warmer), something that a model's cells share, and something of
each cell alone. So each scope is tested by a contrast in which what it shares with others cancels:
the run against its past, a model against the other models, a cell against its model's other cells.
The same contrast of every baseline session tells how far it may move by chance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from pytest_gaitperf.gate.prediction import (
    VariancePrior,
    fit_priors,
    moderated,
    upper_quantile,
    upper_tail,
)
from pytest_gaitperf.metrics import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from pytest_gaitperf.results import Scope

    Array: TypeAlias = NDArray[np.float64]
    Sessions: TypeAlias = frozenset[str]

_T = TypeVar("_T")

WEIGHTS: dict[Scope, float] = {"run": 0.1, "model": 0.25, "cell": 0.65}
"""How the run's alpha is divided among the scopes; within a scope all tests share alike."""

# Of two values, none is the odd one out; two like contrasts teach no prior.
_TWO = 2
_WINSORISED = 2.0
# The weight, in degrees of freedom, of the assumption that the run varies as its cells do.
_RUN_PRIOR_DOF = 4.0
# How far the others may have improved by chance, in standard errors: what is beyond is their own
# improvement, not this one's regression. One or two others can be all wrong; of more, the
# winsorised mean knows the odd one out. By simulation: with one other model that really improved
# by 15 %, an unchanged model is red in 33 % of runs without this, in 0.8 % with it, and a 15 %
# regression is found in 83 % of runs instead of 86 %.
_CREDIT_FEW, _CREDIT_MANY = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class CellLogs:
    """One metric of one cell, on the natural-log scale and signed so that up is worse.

    ``sessions`` are the baseline's by id, ``now`` is this session. ``metric`` "" is that of all.
    """

    model: str
    sessions: Mapping[str, float]
    now: float
    metric: str = ""

    @property
    def centre(self) -> float:
        """The mean of the baseline's sessions."""
        return math.fsum(self.sessions.values()) / len(self.sessions)

    @property
    def inverted(self) -> CellLogs:
        """The same with up as better."""
        sessions = {session: -log for session, log in self.sessions.items()}
        return replace(self, sessions=sessions, now=-self.now)


class Shift(NamedTuple):
    """How far some cells moved together in one metric, beyond what they share with the others.

    ``cells`` are indices into the cells given. ``change`` is the contrast now (log scale, up is
    worse), ``scale`` the standard error of a next session's contrast, with ``dof`` degrees of
    freedom, learnt from ``sessions`` sessions.
    """

    scope: Scope
    cells: tuple[int, ...]
    change: float
    scale: float
    dof: float
    sessions: int
    metric: str = ""

    @property
    def key(self) -> tuple[str, Scope, tuple[int, ...]]:
        """What tells it from the other tests of a run in one direction."""
        return self.metric, self.scope, self.cells

    @property
    def tail(self) -> float:
        """The probability of such a change, or a worse one, where nothing changed."""
        return upper_tail(self.change, self.scale, self.dof)

    def limit(self, level: float) -> float:
        """Return the change that a next session exceeds by chance with probability ``level``."""
        return upper_quantile(level, self.dof) * self.scale if self.scale < math.inf else math.inf


def shares(scopes: Sequence[Scope]) -> list[float]:
    """Return each test's share of the run's alpha, above 0 and 1 in all, for all tests of a run.

    The share of a scope that has no test goes to the others, in proportion.
    """
    counts = Counter(scopes)
    whole = math.fsum(WEIGHTS[scope] for scope in counts)
    return [WEIGHTS[scope] / whole / counts[scope] for scope in scopes]


def shifts(cells: Sequence[CellLogs]) -> list[Shift]:
    """Return the contrasts of each metric, at every scope that the data allow.

    - *cell*: a cell's change less the typical change of its model's other cells;
    - *model*: the typical change of its cells, less that of the other models;
    - *run*: the change that at least two thirds of the models reached (of the cells, where there
      is one model only).

    *Typical* is a winsorised mean, so that one cell that regressed neither speaks for its model nor
    makes its neighbours look better; of two values it is the mean for a reference, the smaller for
    a finding. Others that improved by more than chance are no reference for what they gained.

    A contrast is taken over the sessions that its cells share, ``ENOUGH_SESSIONS`` at least: those
    common to the half of the cells with the longest past, and the cells that have them. A model
    that shares too few sessions with any other is taken by itself. A cell that has no neighbour to
    share sessions with has no contrast: test it plainly.

    Its noise is the prediction limit of one more session (``gate.prediction``), with the variance
    moderated over like contrasts; the run's, of which there is one, over the cells' own variances
    with a fixed small weight. How much like contrasts differ in their variances is learnt over all
    metrics: it is hard to know from a few. In 400 simulated runs (4 models x 9 cells x 3 metrics,
    8 sessions) a cell that is 15 % slower in one metric was found in 82 % so, in 80 % by itself.
    """
    metrics: dict[str, dict[int, CellLogs]] = {}
    for index, cell in enumerate(cells):
        if len(cell.sessions) >= ENOUGH_SESSIONS:
            metrics.setdefault(cell.metric, {})[index] = cell
    measured = [_Metric(metric, given) for metric, given in metrics.items()]
    models = [list(one.models_beside_others()) for one in measured]
    return [
        *(shift for one, like in zip(measured, models, strict=True) for shift in one.whole(like)),
        *_moderated(models),
        *_moderated([list(one.cells_beside_others()) for one in measured]),
    ]


class _Contrast(NamedTuple):
    """What a shift says, its ``variance`` between sessions not yet moderated.

    So many ``references`` were subtracted.
    """

    scope: Scope
    metric: str
    cells: tuple[int, ...]
    change: float
    variance: float
    sessions: int
    references: int

    def shift(self, prior: VariancePrior | None) -> Shift:
        variance, dof = moderated(self.variance, self.sessions - 1, prior)
        scale = math.sqrt(variance * (1 + 1 / self.sessions))
        return Shift(self.scope, self.cells, self.change, scale, dof, self.sessions, self.metric)


class _Metric:
    """The cells of one metric with sessions enough, by their index in the run."""

    def __init__(self, metric: str, cells: Mapping[int, CellLogs]) -> None:
        self._metric = metric
        self._cells = cells
        self._sessions = {index: frozenset(cell.sessions) for index, cell in cells.items()}
        self._tables: dict[tuple[tuple[int, ...], Sessions], Array] = {}
        self._models: dict[str, list[int]] = {}
        for index, cell in cells.items():
            self._models.setdefault(cell.model, []).append(index)
        self._units = {
            model: _shared({index: self._sessions[index] for index in indices})
            for model, indices in self._models.items()
        }

    def cells_beside_others(self) -> Iterator[_Contrast]:
        """Compare each cell with its model's other cells that share sessions, if any."""
        for indices in self._models.values():
            for index in indices:
                others = {other: self._sessions[other] for other in indices if other != index}
                sessions, kept = _references(self._sessions[index], others)
                if kept:
                    together = sorted([index, *kept])
                    table, place = self._table(together, sessions), together.index(index)
                    reference = typical(np.delete(table, place, axis=1))
                    yield self._contrast(
                        "cell", [index], table[:, place], reference, references=len(kept)
                    )

    def models_beside_others(self) -> Iterator[_Contrast]:
        """Compare each model with the other models that share sessions, if any."""
        units = self._units
        for model, (own, cells) in units.items():
            others = {other: units[other][0] for other in units if other != model}
            sessions, kept = _references(own, others)
            if kept:
                table = self._table(cells, sessions)
                # Of two cells, what both did.
                moved = table.min(axis=1) if len(cells) == _TWO else typical(table)
                reference = typical(self._typicals(kept, sessions))
                yield self._contrast("model", cells, moved, reference, references=len(kept))

    def whole(self, compared: Sequence[_Contrast]) -> Iterator[Shift]:
        """Take the run as a whole, and each model by itself that could not be compared."""
        units = self._units
        sessions, members = _shared({model: own for model, (own, _) in units.items()})
        if len(members) > 1:
            cells = [cell for model in members for cell in units[model][1]]
            yield self._unmoored("run", cells, self._typicals(members, sessions), sessions)
        beside = {self._cells[one.cells[0]].model for one in compared}
        for model, (sessions, cells) in units.items():
            if model not in beside and len(cells) > 1:
                scope: Scope = "run" if len(units) == 1 else "model"
                yield self._unmoored(scope, cells, self._table(cells, sessions), sessions)

    def _contrast(
        self, scope: Scope, cells: Sequence[int], own: Array, reference: Array, *, references: int
    ) -> _Contrast:
        """Subtract what the others did from what some cells did; both (m + 1,), now last."""
        past, count = reference[:-1], reference.size - 1
        credit = _CREDIT_FEW if references <= _TWO else _CREDIT_MANY
        middle, variance = _moments(past)
        chance = math.sqrt(variance * (1 + 1 / count))
        moved = max(float(reference[-1]), middle - credit * chance)
        middle, variance = _moments(own[:-1] - past)
        change = float(own[-1]) - moved - middle
        return _Contrast(scope, self._metric, tuple(cells), change, variance, count, references)

    def _unmoored(
        self, scope: Scope, cells: Sequence[int], table: Array, sessions: Sessions
    ) -> Shift:
        """Return what two thirds of the table's columns reached, with nothing subtracted."""
        reached = np.sort(table, axis=1)[:, table.shape[1] // 3]
        variance = float(self._table(cells, sessions)[:-1].var(axis=0, ddof=1).mean())
        prior = VariancePrior(variance, _RUN_PRIOR_DOF) if variance > 0 else None
        nothing = np.zeros_like(reached)
        return self._contrast(scope, cells, reached, nothing, references=0).shift(prior)

    def _typicals(self, models: Sequence[str], sessions: Sessions) -> Array:
        """Return what the cells of each model typically did, (m + 1, models)."""
        columns = [typical(self._table(self._units[model][1], sessions)) for model in models]
        return np.stack(columns, axis=1)

    def _table(self, cells: Sequence[int], sessions: Sessions) -> Array:
        """Return the cells' distances from their means over these sessions, (m + 1, cells)."""
        key = (tuple(cells), sessions)
        if key not in self._tables:
            chosen, names = [self._cells[index] for index in cells], sorted(sessions)
            past = [[cell.sessions[name] for cell in chosen] for name in names]
            logs = np.array([*past, [cell.now for cell in chosen]])
            self._tables[key] = logs - logs[:-1].mean(axis=0)
        return self._tables[key]


def typical(table: Array) -> Array:
    """Return the winsorised mean of each row, (m + 1, n) -> (m + 1,).

    What lies further than two standard deviations from its row's median counts as that far (Huber
    1964, Annals of Mathematical Statistics 35, one step from the median). The deviation is the
    baseline's, so that a worse value now, in the last row, never makes the mean better.
    """
    columns = table.shape[1]
    if columns <= _TWO:
        return np.asarray(table.mean(axis=1))
    ordered = np.sort(table, axis=1)
    middle = (ordered[:, [(columns - 1) // 2]] + ordered[:, [columns // 2]]) / 2
    away = ordered - middle
    furthest = _WINSORISED * math.sqrt((away[:-1] ** 2).mean() * columns / (columns - 1))
    return np.asarray((middle + np.clip(away, -furthest, furthest)).mean(axis=1))


def _moments(values: Array) -> tuple[float, float]:
    mean = float(values.sum()) / values.size
    away = values - mean
    return mean, float(away @ away) / (values.size - 1)


def _references(own: Sessions, others: Mapping[_T, Sessions]) -> tuple[Sessions, list[_T]]:
    """Choose the sessions to compare over, and the others that have them all."""
    overlaps = {name: own & sessions for name, sessions in others.items()}
    return _shared({name: o for name, o in overlaps.items() if len(o) >= ENOUGH_SESSIONS})


def _shared(histories: Mapping[_T, Sessions]) -> tuple[Sessions, list[_T]]:
    """Return the sessions common to the better half of the histories, and whoever has those.

    The better half has the most sessions; where it shares too few, the best one's are taken.
    """
    different = set(histories.values())
    if len(different) <= 1:
        return next(iter(different), frozenset()), list(histories)
    ranked = sorted(histories.values(), key=lambda sessions: (-len(sessions), sorted(sessions)))
    common = frozenset.intersection(*ranked[: (len(ranked) + 1) // 2])
    if len(common) < ENOUGH_SESSIONS:
        common = ranked[0]
    return common, [name for name, sessions in histories.items() if sessions >= common]


def _moderated(metrics: Sequence[Sequence[_Contrast]]) -> Iterator[Shift]:
    """Let like contrasts learn their variances from one another, metric by metric."""
    able = [
        len(like) > _TWO and max(contrast.variance for contrast in like) > 0 for like in metrics
    ]
    fitted = iter(
        fit_priors(
            [
                ([one.variance for one in like], [one.sessions - 1 for one in like])
                for like, enough in zip(metrics, able, strict=True)
                if enough
            ]
        )
    )
    for like, enough in zip(metrics, able, strict=True):
        prior = None
        if enough:
            # Centring k values on their mean leaves k - 1 degrees of freedom.
            pooled = ((one.sessions - 1) * one.references / (one.references + 1) for one in like)
            prior = replace(next(fitted), pooled_dof=math.fsum(pooled))
        for contrast in like:
            yield contrast.shift(prior)
