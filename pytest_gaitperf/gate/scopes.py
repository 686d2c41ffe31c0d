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
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pytest_gaitperf.gate.prediction import (
    Prediction,
    Seen,
    predict,
    successive_dof,
    successive_variance,
)
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, TOGETHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from pytest_gaitperf.results import Scope

    Array: TypeAlias = NDArray[np.float64]
    # A value in each session, (m + 1,): of all cells, and of those with several sessions alone.
    _Both: TypeAlias = tuple[Array, Array]

WEIGHTS: dict[Scope, float] = {"run": 0.02, "model": 0.7, "cell": 0.28}
"""How the run's alpha is divided among the scopes.

The tests of a scope share alike. Changes ship as models. The run has little: nothing beside it
cancels a warmer day, so most false alarms would be its own.
"""

_OF_ALL = 1 / 3
"""What of a scope's share is for all quantities together; the rest is for each of them."""

Level = Literal["sessions", "anchor"]
"""What a change is counted from: the mean of all sessions, or the level last accepted."""

_SHARE = 1 / 3
"""What of a session's variance is assumed to be common to all cells, what to a model's, what a
cell's own, until sessions show otherwise."""
_TWO = 2  # of two values, none is the odd one out
_WINSORISED = 2.0
# How far the others may have improved by chance, in standard errors: what is beyond is their own
# improvement, not this one's regression. One or two others can be all wrong; of more, the
# winsorised mean knows the odd one out. By simulation (three models of four cells, SD 3 %, 3 or 5
# sessions): where one model really improved by 15 %, another is red in 10 % of runs without this,
# in 1 % with it, and +10 % is found in 73 % of runs instead of 81 %.
_CREDIT_FEW, _CREDIT_MANY = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class CellLogs:
    """One metric of one cell, on the natural-log scale and signed so that up is worse.

    ``sessions`` are the baseline's by id, whose order is that of time, ``now`` is this session.
    ``assumed`` is a session's variance as the lives suggest it, ``least`` the part of it that the
    lives alone make. ``cell`` is the same for the metrics of one cell.
    """

    model: str
    sessions: Mapping[str, float]
    now: float
    metric: str = ""
    assumed: float = 0.0
    least: float = 0.0
    cell: str = ""

    @property
    def centre(self) -> float:
        """The mean of the baseline's sessions."""
        return math.fsum(self.sessions.values()) / len(self.sessions)

    @property
    def anchor(self) -> float:
        """The mean of the first sessions: the level that was accepted last."""
        first = [self.sessions[name] for name in sorted(self.sessions)[:ANCHOR_SESSIONS]]
        return math.fsum(first) / len(first)

    @property
    def inverted(self) -> CellLogs:
        """The same with up as better."""
        sessions = {session: -log for session, log in self.sessions.items()}
        return replace(self, sessions=sessions, now=-self.now)


class Shift(NamedTuple):
    """How far some cells moved together in one metric, beyond what they share with the others.

    ``cells`` are indices into the cells given. ``change`` is the contrast now (log scale, up is
    worse) less that of the ``level``, ``error`` how far it may move by chance, learnt from
    ``sessions`` sessions.
    """

    scope: Scope
    cells: tuple[int, ...]
    change: float
    error: Prediction
    sessions: int
    metric: str = ""
    level: Level = "sessions"

    @property
    def key(self) -> tuple[str, Scope, tuple[int, ...], Level]:
        """What tells it from the other tests of a run in one direction."""
        return self.metric, self.scope, self.cells, self.level

    @property
    def tail(self) -> float:
        """The probability of such a change, or a worse one, where nothing changed."""
        return self.error.tail(self.change)


def shares(tests: Sequence[Shift]) -> list[float]:
    """Return each test's share of the run's alpha, above 0 and 1 in all, for all tests of a run.

    The share of what has no test goes to the others, in proportion. A run of one model counts
    as its model.
    """
    several = any(one.scope == "model" for one in tests)
    scopes: list[Scope] = [
        "model" if one.scope == "run" and not several else one.scope for one in tests
    ]
    kinds = [(scope, one.metric == TOGETHER) for scope, one in zip(scopes, tests, strict=True)]
    counts = Counter(kinds)
    weights = {
        (scope, whole): WEIGHTS[scope] * (_OF_ALL if whole else 1 - _OF_ALL)
        for scope, whole in counts
    }
    everything = math.fsum(weights.values())
    return [weights[kind] / everything / counts[kind] for kind in kinds]


def shifts(
    cells: Sequence[CellLogs], *, anchored: bool = True, measured: bool = True
) -> list[Shift]:
    """Return the contrasts of each metric, at every scope that the data allow.

    - *cell*: a cell's change less the typical change of its model's other cells; by itself where
      there are none in the same sessions;
    - *model*: the typical change of its cells, less that of the other models; by itself where there
      are none in the same sessions;
    - *run*: the change that at least two thirds of the models reached (of the cells, where there
      is one model only).

    *Typical* is a winsorised mean, so that one cell that regressed neither speaks for its model nor
    makes its neighbours look better; of two values it is the mean for a reference, the smaller for
    a finding. Others that improved by more than chance are no reference for what they gained.

    Each counts from the mean of its sessions and, with ``anchored``, once more from the mean of the
    first ``ANCHOR_SESSIONS`` where there are more than these. Its error is that of one more session
    (``gate.prediction``), learnt from all like contrasts of the metric; where this session is not
    ``measured`` but only stands for one to come, from those of the sessions alone.
    """
    metrics: dict[str, dict[int, CellLogs]] = {}
    for index, cell in enumerate(cells):
        metrics.setdefault(cell.metric, {})[index] = cell
    return [
        shift
        for metric, given in metrics.items()
        for group in _Metric(given).groups()
        for shift in _shifts(metric, group, anchored=anchored, measured=measured)
    ]


class _Contrast(NamedTuple):
    """A contrast in each of some sessions in the order of time, now last: ``values`` (m + 1,).

    ``past`` has it in the sessions before of those cells alone that have several: one that has a
    single session cannot differ from its mean, which tells nothing of the noise. ``noise`` is its
    variance between sessions as assumed, and at least, (2,); ``references`` counts what was
    subtracted.
    """

    scope: Scope
    cells: tuple[int, ...]
    values: Array
    past: Array
    noise: Array
    references: int = 0

    @property
    def sessions(self) -> int:
        return self.values.size - 1

    def seen(self, sessions: int) -> Seen:
        """Return what is known of its error about the mean of so many sessions."""
        past = self.past
        return Seen(
            float(self.noise[0]),
            successive_variance(past) if past.size > 1 else 0.0,
            successive_dof(past.size),
            1 + 1 / sessions,
            float(self.noise[1]),
            self.weight,
        )

    @property
    def today(self) -> Seen:
        """What this session says of its error, as one difference more."""
        past, size = self.values[:-1], 1 + 1 / self.sessions
        change = float(self.values[-1]) - float(past.mean())
        return Seen(float(self.noise[0]), change**2 / size, 1.0, weight=self.weight)

    @property
    def weight(self) -> float:
        """How much of a contrast it is: of k that are each beside the others, the sum is 0."""
        return self.references / (self.references + 1) if self.references else 1.0


def _shifts(
    metric: str, group: Sequence[_Contrast], *, anchored: bool, measured: bool
) -> Iterator[Shift]:
    """Test like contrasts against the mean of their sessions, and of the first of many."""
    levels: list[tuple[Level, Sequence[_Contrast]]] = [("sessions", group)]
    if anchored:
        levels.append(("anchor", [one for one in group if one.sessions > ANCHOR_SESSIONS]))
    for level, tested in levels:
        counts = [ANCHOR_SESSIONS if level == "anchor" else one.sessions for one in tested]
        today = [one.today for one in tested if measured and one.scope == "cell" and one.references]
        seen = [one.seen(number) for one, number in zip(tested, counts, strict=True)]
        for one, number, error in zip(tested, counts, predict(seen, today), strict=True):
            change = float(one.values[-1]) - float(one.values[:number].mean())
            yield Shift(one.scope, one.cells, change, error, one.sessions, metric, level)


class _Metric:
    """The cells of one metric, by their index in the run."""

    def __init__(self, cells: Mapping[int, CellLogs]) -> None:
        self._indices = list(cells)
        given = list(cells.values())
        names = sorted({name for cell in given for name in cell.sessions})
        past = [[cell.sessions.get(name, math.nan) for cell in given] for name in names]
        logs = np.array([*past, [cell.now for cell in given]])
        # How far each cell was from its own mean in each session, now last; NaN where it was not.
        self._moved = logs - np.nanmean(logs[:-1], axis=0)
        # The same of those with several sessions: the only one of a cell is always its mean.
        self._repeated = self._moved.copy()
        self._repeated[:, (~np.isnan(logs[:-1])).sum(axis=0) == 1] = math.nan
        self._noise = np.array([[cell.assumed for cell in given], [cell.least for cell in given]])
        self._reach = _WINSORISED * math.sqrt(float(np.median(self._noise[0])))
        models: dict[str, list[int]] = {}
        for column, cell in enumerate(given):
            models.setdefault(cell.model, []).append(column)
        self._models = list(models.values())

    def groups(self) -> list[list[_Contrast]]:
        """Return the contrasts in groups of like ones."""
        models = list(self._of_models()) if len(self._models) > 1 else []
        single = {one.cells for one in models if one.references}
        cells = [one for one in self._of_cells() if one.cells not in single]
        whole = [one for one in models if not one.references and len(one.cells) > 1]
        return [
            [*self._of_run(), *whole],
            [one for one in models if one.references],
            [one for one in cells if one.references],
            [one for one in cells if not one.references],
        ]

    def _of_run(self) -> Iterator[_Contrast]:
        """Take what two thirds of the models reached, or of one model's cells."""
        columns = [column for columns in self._models for column in columns]
        if len(columns) > 1:
            tables = (self._moved, self._repeated)
            if len(self._models) > 1:
                each = [self._typical(model) for model in self._models]
                tables = _stacked(each)
            parts = 1 + 1 / len(self._models) + 1 / len(columns)
            values = (_reached(tables[0]), _reached(tables[1]))
            yield self._contrast("run", columns, values, parts)

    def _of_models(self) -> Iterator[_Contrast]:
        """Compare each of several models with the others."""
        typical_of = [self._typical(columns) for columns in self._models]
        noise = [
            _SHARE * (1 + 1 / len(columns)) * self._noise[:, columns].mean(axis=1)
            for columns in self._models
        ]
        for place, columns in enumerate(self._models):
            others = [other for other in range(len(self._models)) if other != place]
            # Of two cells, what both did.
            two = len(columns) == _TWO
            own = typical_of[place]
            if two:
                moved, repeated = self._moved[:, columns], self._repeated[:, columns]
                own = np.fmin.reduce(moved, axis=1), np.fmin.reduce(repeated, axis=1)
            moved, repeated = _stacked([typical_of[one] for one in others])
            yield self._beside(
                "model",
                columns,
                own,
                (typical(moved, self._reach), typical(repeated, self._reach)),
                noise=noise[place],
                their_noise=np.stack([noise[one] for one in others]),
            )

    def _of_cells(self) -> Iterator[_Contrast]:
        """Compare each cell with its model's other cells.

        What a cell is assumed to vary beyond the usual one is its own: others share the rest.
        """
        usual = np.minimum(self._noise, np.median(self._noise, axis=1, keepdims=True))
        noise = _SHARE * usual + self._noise - usual
        for columns in self._models:
            for column in columns:
                others = [other for other in columns if other != column]
                own = self._moved[:, column], self._repeated[:, column]
                known = {"noise": noise[:, column], "their_noise": noise[:, others].T}
                yield self._beside("cell", [column], own, self._typical(others), **known)

    def _beside(
        self,
        scope: Scope,
        columns: Sequence[int],
        values: _Both,
        their_values: _Both,
        *,
        noise: Array,
        their_noise: Array,
    ) -> _Contrast:
        """Subtract what the others did, or nothing where they share no session.

        ``noise`` is (2,), ``their_noise`` (others, 2), as in ``_Contrast``.
        """
        shared = ~np.isnan(values[0]) & ~np.isnan(their_values[0])
        if not (shared[-1] and shared[:-1].any()):
            return self._contrast(scope, columns, values, 2 + 1 / len(columns))
        own, theirs = values[0][shared], their_values[0][shared]
        past, count = theirs[:-1], len(their_noise)
        reference = their_noise.sum(axis=0) / count**2
        variance = max(float(reference[0]), float(past.var()))
        credit = _CREDIT_FEW if count <= _TWO else _CREDIT_MANY
        least = float(past.mean()) - credit * math.sqrt(variance * (1 + 1 / past.size))
        theirs[-1] = max(float(theirs[-1]), least)
        cells = tuple(self._indices[column] for column in columns)
        repeated = _known(values[1] - their_values[1])
        return _Contrast(scope, cells, own - theirs, repeated, noise + reference, count)

    def _contrast(
        self, scope: Scope, columns: Sequence[int], values: _Both, parts: float
    ) -> _Contrast:
        """Return what was not compared with others; ``parts`` of three make its variance."""
        cells = tuple(self._indices[column] for column in columns)
        noise = _SHARE * parts * self._noise[:, columns].mean(axis=1)
        present = values[0][~np.isnan(values[0])]
        return _Contrast(scope, cells, present, _known(values[1]), noise)

    def _typical(self, columns: Sequence[int]) -> _Both:
        moved, repeated = self._moved[:, columns], self._repeated[:, columns]
        return typical(moved, self._reach), typical(repeated, self._reach)


def _stacked(each: Sequence[_Both]) -> _Both:
    moved, repeated = zip(*each, strict=True)
    return np.stack(moved, axis=1), np.stack(repeated, axis=1)


def _known(values: Array) -> Array:
    """Return what is known of the sessions before."""
    past = values[:-1]
    return np.asarray(past[~np.isnan(past)])


def typical(table: Array, reach: float) -> Array:
    """Return the winsorised mean of each row, (m, n) -> (m,); NaN where a row has nothing.

    What lies further than ``reach`` from its row's median counts as that far (Huber 1964, Annals of
    Mathematical Statistics 35, one step from the median). That is two standard deviations of a
    session as assumed, so that a worse value now never makes the mean better.
    """
    rows, counts = np.arange(len(table)), (~np.isnan(table)).sum(axis=1)
    if table.shape[1] > _TWO:
        ordered = np.sort(table, axis=1)  # NaN is last
        middle = ordered[rows, np.maximum(counts - 1, 0) // 2] + ordered[rows, counts // 2]
        middle = np.where(counts > 0, middle / 2, math.nan)[:, None]
        table = middle + np.clip(table - middle, -reach, reach)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(table, axis=1) / counts)


def _reached(table: Array) -> Array:
    """Return what two thirds of each row reached, NaN where a row has nothing."""
    ordered = np.sort(table, axis=1)  # NaN is last
    third = (~np.isnan(table)).sum(axis=1) // 3
    return np.asarray(ordered[np.arange(len(table)), third])
