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
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np

from pytest_gaitperf.gate.prediction import (
    VariancePrior,
    fit_priors,
    upper_quantile,
    upper_tail,
)
from pytest_gaitperf.gate.typical import typical, typical_of_others
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from pytest_gaitperf.results import Scope

    Array: TypeAlias = NDArray[np.float64]
    Sessions: TypeAlias = frozenset[str]

_T = TypeVar("_T")


WEIGHTS: dict[Scope, float] = {"run": 0.1, "model": 0.25, "cell": 0.65}
"""How the run's alpha is divided among the scopes; within a scope all tests share alike."""

# The weight, in degrees of freedom, of the belief that the run varies as its cells do.
_RUN_PRIOR_DOF = 4.0
# How far the others may have improved by chance, in standard errors: what is beyond is their own
# improvement, not this one's regression. One or two others can be all wrong; of more, the
# winsorised mean knows the odd one out. By simulation: with one other model that really improved
# by 15 %, an unchanged model is red in 33 % of runs without this, in 0.8 % with it, and a 15 %
# regression is found in 83 % of runs instead of 86 %.
_CREDIT_FEW, _CREDIT_MANY, _FEW = 0.5, 2.0, 2


@dataclass(frozen=True, slots=True)
class CellLogs:
    """One metric of one cell, on the natural-log scale and signed so that up is worse.

    ``sessions`` are the baseline's by id, ``now`` is this session.
    """

    model: str
    sessions: Mapping[str, float]
    now: float


class Shift(NamedTuple):
    """How far some cells moved together, beyond what they share with the others.

    ``cells`` are indices into the cells given. ``change`` is the contrast now (log scale, up is
    worse), ``scale`` the standard error of a next session's contrast, with ``dof`` degrees of
    freedom, learnt from ``sessions`` sessions; ``reference`` is how far what they are compared
    with moved, and was subtracted.
    """

    scope: Scope
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


def shares(scopes: Sequence[Scope]) -> list[float]:
    """Return each test's share of the run's alpha, above 0 and 1 in all, for all tests of a run.

    The share of a scope that has no test goes to the others, in proportion.
    """
    counts = Counter(scopes)
    whole = math.fsum(WEIGHTS[scope] for scope in counts)
    return [WEIGHTS[scope] / whole / counts[scope] for scope in scopes]


def shifts(cells: Sequence[CellLogs]) -> list[Shift]:
    """Return the contrasts of one metric, at every scope that the data allow.

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
    return Moved([cells]).shifts(1)[0]


class Moved:
    """The contrasts of each metric of a run: see ``shifts``.

    How much like contrasts differ in their variances is learnt over all metrics: it is hard to
    know from a few. In 400 simulated runs (4 models x 9 cells x 3 metrics, 8 sessions) a cell that
    is 15 % slower in one metric was found in 82 % so, in 80 % by itself.

    ``names`` are the numbers by which shifts name the cells of a metric, 0, 1, 2... without.
    """

    def __init__(
        self,
        metrics: Sequence[Sequence[CellLogs]],
        names: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self._contrasts = [
            _Contrasts(cells, range(len(cells)) if names is None else names[place])
            for place, cells in enumerate(metrics)
        ]

    def shifts(self, sign: Literal[1, -1]) -> list[list[Shift]]:
        """Return the shifts for the worse, or with ``sign`` -1 for the better, by metric."""
        found = [one.together(sign) for one in self._contrasts]
        for like in (
            [one.models(sign) for one in self._contrasts],
            [one.cells(sign) for one in self._contrasts],
        ):
            for tests, moderated in zip(found, _moderated(like), strict=True):
                tests.extend(moderated)
        return found


class _Like:
    """Like contrasts, whose variances, the baseline sessions', are not yet moderated."""

    def __init__(self, scope: Scope) -> None:
        self.scope: Scope = scope
        self.cells: list[tuple[int, ...]] = []
        self._parts: list[tuple[Array, Array, int]] = []

    def add(
        self, groups: Sequence[tuple[int, ...]], own: Array, reference: Array, references: int
    ) -> None:
        """Subtract what the others did from what each group did; both (m + 1, groups), now last."""
        self.cells += groups
        self._parts.append((own, reference, references))

    @property
    def table(self) -> Array:
        """Sessions, variance, change, reference, references; shape (5, contrasts)."""
        alike = groupby(self._parts, key=lambda part: (part[0].shape[0] - 1, part[2]))
        columns = []
        for (count, references), parts in alike:  # those of one shape in one step
            owns, others, _ = zip(*parts, strict=True)
            own, reference = np.concatenate(owns, axis=1), np.concatenate(others, axis=1)
            past = reference[:-1]
            credit = _CREDIT_FEW if references <= _FEW else _CREDIT_MANY
            middle = past.sum(axis=0) / count
            chance = np.sqrt(((past - middle) ** 2).sum(axis=0) / (count - 1) * (1 + 1 / count))
            moved = np.maximum(reference[-1], middle - credit * chance)
            values = own[:-1] - past
            centres = values.sum(axis=0) / count
            variances = ((values - centres) ** 2).sum(axis=0) / (count - 1)
            changes = own[-1] - moved - centres
            counts = np.full_like(variances, count)
            columns.append(
                np.stack([counts, variances, changes, moved, np.full_like(variances, references)])
            )
        return np.concatenate(columns, axis=1) if columns else np.empty((5, 0))

    def shifts(self, table: Array, prior: VariancePrior | None) -> list[Shift]:
        sessions, variances, changes, moved, _ = table
        dofs = sessions - 1
        if prior is not None:
            variances = (
                np.full_like(variances, prior.variance)
                if math.isinf(prior.dof)
                else (prior.dof * prior.variance + dofs * variances) / (prior.dof + dofs)
            )
            dofs = np.maximum(dofs, np.minimum(dofs + prior.dof, prior.pooled_dof))
        scales = np.sqrt(variances * (1 + 1 / sessions))
        columns = (changes, scales, dofs, sessions.astype(int), moved)
        return list(map(Shift, repeat(self.scope), self.cells, *(c.tolist() for c in columns)))


class _Contrasts:
    """The contrasts of one metric of one run, in both directions."""

    def __init__(self, cells: Sequence[CellLogs], names: Sequence[int]) -> None:
        self._cells = cells
        self._names = names
        seen: dict[Sessions, Sessions] = {}
        self._sessions = [
            seen.setdefault(sessions, sessions)
            for sessions in (frozenset(c.sessions) for c in cells)
        ]
        self._tables: dict[tuple[tuple[int, ...], Sessions], Array] = {}
        self._typicals: dict[tuple[int, Sessions], Array] = {}
        self._models: dict[str, list[int]] = {}
        for index, cell in enumerate(cells):
            if len(cell.sessions) >= ENOUGH_SESSIONS:
                self._models.setdefault(cell.model, []).append(index)
        self._units = {
            model: _shared([self._sessions[i] for i in indices], indices)
            for model, indices in self._models.items()
        }
        self._of_cells = [one for same in self._models.values() for one in self._neighbours(same)]
        self._of_models = list(self._beside_others())

    def cells(self, sign: Literal[1, -1]) -> _Like:
        """Return the contrasts of cells with their models' other cells."""
        like = _Like("cell")
        for groups, own, reference, references in self._of_cells:
            like.add(groups, sign * own, sign * reference, references)
        return like

    def models(self, sign: Literal[1, -1]) -> _Like:
        """Return the contrasts of models with the others."""
        like = _Like("model")
        for cells, sessions, reference, references in self._of_models:
            own = (
                (sign * self._table(cells, sessions)).min(axis=1)  # of two cells, what both did
                if len(cells) == 2  # noqa: PLR2004
                else sign * self._of_model(cells, sessions)
            )
            like.add([self._named(cells)], own[:, None], sign * reference[:, None], references)
        return like

    def _neighbours(
        self, indices: Sequence[int]
    ) -> Iterator[tuple[list[tuple[int, ...]], Array, Array, int]]:
        """Compare each of a model's cells with the others that share sessions, if any."""
        alike: dict[tuple[Sessions, tuple[int, ...]], list[int]] = {}
        if len(indices) > 1 and len({self._sessions[i] for i in indices}) == 1:  # usually
            alike[self._sessions[indices[0]], tuple(indices)] = list(indices)
        else:
            for index in indices:
                others = [(self._sessions[other], other) for other in indices if other != index]
                sessions, kept = self._references(self._sessions[index], others)
                if kept:
                    alike.setdefault((sessions, tuple(sorted([index, *kept]))), []).append(index)
        for (sessions, cells), members in alike.items():
            table = self._table(cells, sessions)
            places = [cells.index(index) for index in members]
            reference = typical_of_others(table)[:, places]
            yield (
                [(self._names[index],) for index in members],
                table[:, places],
                reference,
                len(cells) - 1,
            )

    def _beside_others(self) -> Iterator[tuple[list[int], Sessions, Array, int]]:
        """Yield each model that shares sessions with others, and what those typically did."""
        units = self._units
        if len(units) > 1 and len({sessions for sessions, _ in units.values()}) == 1:  # usually
            (sessions, _), *_ = units.values()
            together = [self._of_model(cells, sessions) for _, cells in units.values()]
            references = typical_of_others(np.stack(together, axis=1))
            for place, (_, cells) in enumerate(units.values()):
                yield cells, sessions, references[:, place], len(units) - 1
            return
        for model, (own, cells) in units.items():
            sessions, others = self._references(
                own, [(units[other][0], other) for other in units if other != model]
            )
            if others:
                rest = [self._of_model(units[other][1], sessions) for other in others]
                yield cells, sessions, typical(np.stack(rest, axis=1)), len(others)

    def together(self, sign: Literal[1, -1]) -> list[Shift]:
        """Take the run as a whole, and each model by itself that cannot be compared."""
        found, units = [], self._units
        compared = {self._cells[cells[0]].model for cells, *_ in self._of_models}
        members: list[str]
        sessions, members = _shared([unit[0] for unit in units.values()], list(units))
        if len(members) > 1:
            table = np.stack([self._of_model(units[m][1], sessions) for m in members], axis=1)
            cells = [cell for model in members for cell in units[model][1]]
            found.append(self._unmoored("run", cells, sign * table, sessions))
        scope: Scope = "run" if len(units) == 1 else "model"
        for model, (sessions, cells) in units.items():
            if model not in compared and len(cells) > 1:
                table = sign * self._table(cells, sessions)
                found.append(self._unmoored(scope, cells, table, sessions))
        return found

    def _unmoored(
        self, scope: Scope, cells: Sequence[int], table: Array, sessions: Sessions
    ) -> Shift:
        """Return what two thirds of the table's columns reached, with nothing subtracted."""
        columns = table.shape[1]
        reached = np.sort(table, axis=1)[:, columns // 3, None]
        variance = float(self._table(cells, sessions)[:-1].var(axis=0, ddof=1).mean())
        prior = VariancePrior(variance, _RUN_PRIOR_DOF) if variance > 0 else None
        like = _Like(scope)
        like.add([self._named(cells)], reached, np.zeros_like(reached), 0)
        return like.shifts(like.table, prior)[0]

    def _named(self, cells: Iterable[int]) -> tuple[int, ...]:
        return tuple(self._names[cell] for cell in cells)

    def _references(
        self, own: Sessions, others: Sequence[tuple[Sessions, _T]]
    ) -> tuple[Sessions, list[_T]]:
        """Choose the sessions to compare over, and the others that have them all."""
        overlaps = [(own & sessions, name) for sessions, name in others]
        usable = [(o, name) for o, name in overlaps if len(o) >= ENOUGH_SESSIONS]
        return _shared([o for o, _ in usable], [name for _, name in usable])

    def _of_model(self, cells: Sequence[int], sessions: Sessions) -> Array:
        """Return what the cells of a model typically did, (m + 1,)."""
        known = self._typicals.get((cells[0], sessions))
        if known is None:
            known = self._typicals[cells[0], sessions] = typical(self._table(cells, sessions))
        return known

    def _table(self, cells: Sequence[int], sessions: Sessions) -> Array:
        """Return the cells' distances from their means over these sessions, (m + 1, cells)."""
        table = self._tables.get((tuple(cells), sessions))
        if table is None:
            names = sorted(sessions)
            chosen = [self._cells[index] for index in cells]
            columns = [[cell.sessions[name] for cell in chosen] for name in names]
            logs = np.array([*columns, [cell.now for cell in chosen]])
            table = self._tables[tuple(cells), sessions] = logs - logs[:-1].mean(axis=0)
        return table


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


def _moderated(metrics: Sequence[_Like]) -> list[list[Shift]]:
    """Let like contrasts learn their variances from one another, metric by metric."""
    tables = [like.table for like in metrics]
    able = [
        len(like.cells) > 2 and table[1].max() > 0  # noqa: PLR2004 - one teaches no prior
        for like, table in zip(metrics, tables, strict=True)
    ]
    fitted = iter(
        fit_priors(
            [(table[1], table[0] - 1) for table, enough in zip(tables, able, strict=True) if enough]
        )
    )
    found = []
    for like, table, enough in zip(metrics, tables, able, strict=True):
        prior = None
        if enough:
            # k values, each less the mean of the others, know k - 1 things.
            known = float(((table[0] - 1) * table[4] / (table[4] + 1)).sum())
            prior = replace(next(fitted), pooled_dof=known)
        found.append(like.shifts(table, prior))
    return found
