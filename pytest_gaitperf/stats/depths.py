"""How far this session lies from the baseline's sessions: the whole run, a model, a cell.

A regression comes at three depths, and each has its own noise. Sessions differ by something that
all cells share (the device was warmer), something that a model's cells share, and something of
each cell alone. So each depth is tested by a contrast in which what it shares with others cancels:
the run against its past, a model against the other models, a cell against its model's other cells.
The same contrast of every baseline session tells how far it may move by chance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from pytest_gaitperf.stats import ENOUGH_SESSIONS
from pytest_gaitperf.stats.prediction import (
    VariancePrior,
    fit_priors,
    moderated_variance,
    upper_quantile,
    upper_tail,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Sessions: TypeAlias = frozenset[str]

_T = TypeVar("_T")

Depth = Literal["run", "model", "cell"]

WEIGHTS: dict[Depth, float] = {"run": 0.1, "model": 0.25, "cell": 0.65}
"""How the run's alpha is divided among the depths; within a depth all tests share alike."""

# The weight, in degrees of freedom, of the belief that the run varies as its cells do.
_RUN_PRIOR_DOF = 4.0
# How far the others may have improved by chance, in standard errors: what is beyond is their own
# improvement, not this one's regression. One or two others can be all wrong; of more, the
# winsorised mean knows the odd one out. By simulation: with one other model that really improved
# by 15 %, an unchanged model is red in 33 % of runs without this, in 0.8 % with it, and a 15 %
# regression is found in 83 % of runs instead of 86 %.
_CREDIT_FEW, _CREDIT_MANY, _FEW = 0.5, 2.0, 2
_WINSORISED = 2.0


@dataclass(frozen=True, slots=True)
class CellLogs:
    """One metric of one cell, on the natural-log scale and signed so that up is worse.

    ``sessions`` are the baseline's by id, ``now`` is this session.
    """

    model: str
    sessions: Mapping[str, float]
    now: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How far some cells moved together, beyond what they share with the others.

    ``cells`` are indices into the cells given. ``change`` is the contrast now (log scale, up is
    worse), ``scale`` the standard error of a next session's contrast, with ``dof`` degrees of
    freedom, learnt from ``sessions`` sessions; ``reference`` is how far what they are compared
    with moved, and was subtracted.
    """

    depth: Depth
    cells: tuple[int, ...]
    change: float
    scale: float
    dof: float
    sessions: int
    reference: float

    @property
    def tail(self) -> float:
        """The probability of such a change, or a worse one, where nothing changed."""
        return upper_tail(self.change, self.scale, self.dof)

    def limit(self, level: float) -> float:
        """Return the change that a next session exceeds by chance with probability ``level``."""
        return upper_quantile(level, self.dof) * self.scale if self.scale < math.inf else math.inf


def shares(depths: Sequence[Depth]) -> list[float]:
    """Return each test's share of the run's alpha, above 0 and 1 in all, for all tests of a run.

    The share of a depth that has no test goes to the others, in proportion.
    """
    counts = Counter(depths)
    whole = math.fsum(WEIGHTS[depth] for depth in counts)
    return [WEIGHTS[depth] / whole / counts[depth] for depth in depths]


def shifts(cells: Sequence[CellLogs]) -> list[Shift]:
    """Return the contrasts of one metric, at every depth that the data allow.

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

    Its noise is the prediction limit of one more session (``stats.prediction``), with the variance
    moderated over like contrasts; the run's, of which there is one, over the cells' own variances
    with a fixed small weight.
    """
    return all_shifts([cells])[0]


def all_shifts(metrics: Sequence[Sequence[CellLogs]]) -> list[list[Shift]]:
    """Return the contrasts of each metric of a run: see ``shifts``.

    How much like contrasts differ in their variances is learnt over all metrics: it is hard to
    know from a few. In 400 simulated runs (4 models x 9 cells x 3 metrics, 8 sessions) a cell that
    is 15 % slower in one metric was found in 82 % so, in 80 % by itself.
    """
    contrasts = [_Contrasts(cells) for cells in metrics]
    found = [one.together() for one in contrasts]
    for depth in ("model", "cell"):
        like = [one.models if depth == "model" else one.cells for one in contrasts]
        for tests, moderated in zip(found, _moderated(like), strict=True):
            tests.extend(moderated)
    return found


@dataclass(frozen=True, slots=True)
class _Contrast:
    """A contrast whose variance, the baseline sessions', is not yet moderated."""

    depth: Depth
    cells: tuple[int, ...]
    sessions: int
    variance: float
    change: float
    reference: float
    references: int

    @property
    def dof(self) -> int:
        return self.sessions - 1

    def shift(self, prior: VariancePrior | None) -> Shift:
        variance, dof = self.variance, float(self.dof)
        if prior is not None:
            variance = moderated_variance(variance, dof, prior.variance, prior.dof)
            dof = max(dof, min(dof + prior.dof, prior.pooled_dof))
        return Shift(
            self.depth,
            self.cells,
            self.change,
            math.sqrt(variance * (1 + 1 / self.sessions)),
            dof,
            self.sessions,
            self.reference,
        )


class _Contrasts:
    """The contrasts of one metric of one run."""

    def __init__(self, cells: Sequence[CellLogs]) -> None:
        self._cells = cells
        self._sessions = [frozenset(cell.sessions) for cell in cells]
        self._columns: dict[tuple[int, Sessions], Array] = {}
        self._typicals: dict[tuple[int, Sessions], Array] = {}
        self._models: dict[str, list[int]] = {}
        for index, cell in enumerate(cells):
            if len(cell.sessions) >= ENOUGH_SESSIONS:
                self._models.setdefault(cell.model, []).append(index)

        self._units = {
            model: _shared([self._sessions[i] for i in indices], indices)
            for model, indices in self._models.items()
        }
        self.cells = [one for same in self._models.values() for one in self._neighbours(same)]
        self.models = [one for model in self._units if (one := self._model(model)) is not None]

    def _neighbours(self, indices: Sequence[int]) -> list[_Contrast]:
        """Compare each of a model's cells with the others that share sessions, if any."""
        found = []
        alike: dict[tuple[Sessions, tuple[int, ...]], list[int]] = {}
        for index in indices:
            others = [(self._sessions[other], other) for other in indices if other != index]
            sessions, kept = self._references(self._sessions[index], others)
            if kept:
                alike.setdefault((sessions, tuple(sorted([index, *kept]))), []).append(index)
        for (sessions, cells), members in alike.items():  # usually one: all at once is fast
            table = self._table(cells, sessions)
            places = [cells.index(index) for index in members]
            rest = [[i for i in range(len(cells)) if i != place] for place in places]
            references = _typical(table[:, rest])
            groups = [(index,) for index in members]
            found += _against("cell", groups, table[:, places], references, len(rest[0]))
        return found

    def _model(self, model: str) -> _Contrast | None:
        """Compare a model with the others, None without any that shares sessions."""
        units = self._units
        own_sessions, cells = units[model]
        sessions, others = self._references(
            own_sessions, [(units[other][0], other) for other in units if other != model]
        )
        if not others:
            return None
        rest = _typical(np.stack([self._of_model(units[o][1], sessions) for o in others], axis=1))
        own = (
            self._table(cells, sessions).min(axis=1)  # of two cells, what both did
            if len(cells) == 2  # noqa: PLR2004
            else self._of_model(cells, sessions)
        )
        (contrast,) = _against("model", [tuple(cells)], own[:, None], rest[:, None], len(others))
        return contrast

    def together(self) -> list[Shift]:
        """Take the run as a whole, and each model by itself that cannot be compared."""
        found, units = [], self._units
        compared = {self._cells[contrast.cells[0]].model for contrast in self.models}
        members: list[str]
        sessions, members = _shared([unit[0] for unit in units.values()], list(units))
        if len(members) > 1:
            table = np.stack([self._of_model(units[m][1], sessions) for m in members], axis=1)
            cells = [cell for model in members for cell in units[model][1]]
            found.append(self._unmoored("run", cells, table, sessions))
        depth: Depth = "run" if len(units) == 1 else "model"
        for model, (sessions, cells) in units.items():
            if model not in compared and len(cells) > 1:
                found.append(self._unmoored(depth, cells, self._table(cells, sessions), sessions))
        return found

    def _unmoored(
        self, depth: Depth, cells: Sequence[int], table: Array, sessions: Sessions
    ) -> Shift:
        """Return what two thirds of the table's columns reached, with nothing subtracted."""
        columns = table.shape[1]
        reached = np.sort(table, axis=1)[:, columns // 3, None]
        variance = float(self._table(cells, sessions)[:-1].var(axis=0, ddof=1).mean())
        prior = VariancePrior(variance, _RUN_PRIOR_DOF) if variance > 0 else None
        (contrast,) = _against(depth, [tuple(cells)], reached, np.zeros_like(reached), 0)
        return contrast.shift(prior)

    def _references(
        self, own: Sessions, others: Sequence[tuple[Sessions, _T]]
    ) -> tuple[Sessions, list[_T]]:
        """Choose the sessions to compare over, and the others that have them all."""
        overlaps = [(own & sessions, name) for sessions, name in others]
        usable = [(o, name) for o, name in overlaps if len(o) >= ENOUGH_SESSIONS]
        return _shared([o for o, _ in usable], [name for _, name in usable])

    def _of_model(self, cells: Sequence[int], sessions: Sessions) -> Array:
        """Return what the cells of a model typically did, (m + 1,)."""
        typical = self._typicals.get((cells[0], sessions))
        if typical is None:
            typical = self._typicals[cells[0], sessions] = _typical(self._table(cells, sessions))
        return typical

    def _table(self, cells: Sequence[int], sessions: Sessions) -> Array:
        return np.stack([self._column(cell, sessions) for cell in cells], axis=1)

    def _column(self, index: int, sessions: Sessions) -> Array:
        """Return a cell's distances from its mean over these sessions, and now's, (m + 1,)."""
        column = self._columns.get((index, sessions))
        if column is None:
            cell = self._cells[index]
            past = [cell.sessions[session] for session in sorted(sessions)]
            column = np.array([*past, cell.now]) - math.fsum(past) / len(past)
            self._columns[index, sessions] = column
        return column


def _shared(sets: Sequence[Sessions], names: Sequence[_T]) -> tuple[Sessions, list[_T]]:
    """Return the sessions common to the better half of ``sets``, and whoever has those.

    The better half has the most sessions; where it shares too few, the best one's are taken.
    """
    if len(set(sets)) < 2:  # noqa: PLR2004 - the usual case, and the fast one
        return (sets[0], list(names)) if sets else (frozenset(), [])
    ranked = sorted(sets, key=lambda sessions: (-len(sessions), sorted(sessions)))
    common = frozenset.intersection(*ranked[: (len(ranked) + 1) // 2])
    if len(common) < ENOUGH_SESSIONS:
        common = ranked[0]
    return common, [name for sessions, name in zip(sets, names, strict=True) if sessions >= common]


def _against(
    depth: Depth, groups: Sequence[tuple[int, ...]], own: Array, reference: Array, references: int
) -> list[_Contrast]:
    """Subtract what the others did from what each group did; both (m + 1, groups), now last."""
    past = reference[:-1]
    count = past.shape[0]
    credit = _CREDIT_FEW if references <= _FEW else _CREDIT_MANY
    middle = past.sum(axis=0) / count
    chance = np.sqrt(((past - middle) ** 2).sum(axis=0) / (count - 1) * (1 + 1 / count))
    moved = np.maximum(reference[-1], middle - credit * chance)
    values = own[:-1] - past
    centres = values.sum(axis=0) / count
    variances = ((values - centres) ** 2).sum(axis=0) / (count - 1)
    changes = own[-1] - moved - centres
    return [
        _Contrast(depth, cells, count, float(variance), float(change), float(shift), references)
        for cells, variance, change, shift in zip(groups, variances, changes, moved, strict=True)
    ]


def _moderated(metrics: Sequence[Sequence[_Contrast]]) -> list[list[Shift]]:
    """Let like contrasts learn their variances from one another, metric by metric."""
    able = [
        len(contrasts) > 2 and any(contrast.variance > 0 for contrast in contrasts)  # noqa: PLR2004
        for contrasts in metrics
    ]
    fitted = iter(
        fit_priors(
            [
                ([c.variance for c in contrasts], [c.dof for c in contrasts])
                for contrasts, enough in zip(metrics, able, strict=True)
                if enough
            ]
        )
    )
    found = []
    for contrasts, enough in zip(metrics, able, strict=True):
        prior = None
        if enough:
            # k values, each less the mean of the others, know k - 1 things.
            known = sum(c.dof * c.references / (c.references + 1) for c in contrasts)
            prior = replace(next(fitted), pooled_dof=known)
        found.append([contrast.shift(prior) for contrast in contrasts])
    return found


def _typical(table: Array) -> Array:
    """Return the winsorised mean of each row, (m + 1, ..., n) -> (m + 1, ...).

    What lies further than ``_WINSORISED`` standard deviations from its row's median counts as
    that far (Huber 1964, Annals of Mathematical Statistics 35, one step from the median). The
    deviation is the baseline's, so that a worse value now never makes the mean better.
    """
    columns = table.shape[-1]
    if columns <= 2:  # noqa: PLR2004 - of two, none is the odd one out
        return np.asarray(table.mean(axis=-1))
    ordered = np.sort(table, axis=-1)
    middle = (ordered[..., (columns - 1) // 2, None] + ordered[..., columns // 2, None]) / 2
    away = ordered - middle
    variance = (away[:-1] ** 2).mean(axis=(0, -1), keepdims=True) * columns / (columns - 1)
    furthest = _WINSORISED * np.sqrt(variance)
    return np.asarray((middle + np.clip(away, -furthest, furthest)).mean(axis=-1))
