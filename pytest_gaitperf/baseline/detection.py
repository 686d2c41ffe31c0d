"""What a profile's baseline can detect: the smallest change of each cell, each model, the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.baseline.compare import incomparable
from pytest_gaitperf.baseline.store import MAX_SESSIONS
from pytest_gaitperf.metrics import METRICS, QUANTITIES, Direction
from pytest_gaitperf.stats.depths import ENOUGH_SESSIONS, CellLogs, shares, shifts
from pytest_gaitperf.stats.detectable import POWER, Hurdle, smallest_detectable
from pytest_gaitperf.stats.prediction import prediction_limit, upper_quantile
from pytest_gaitperf.verdict import Policy, SessionValue, judge, variance_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.store import CellBaseline
    from pytest_gaitperf.stats.depths import Depth

GATED = tuple(metric for metrics in QUANTITIES.values() for metric in metrics)


class Detectable(NamedTuple):
    """The smallest change for the worse that is found nine times in ten.

    ``depth`` is what changes: the whole ``run``, all cells of ``model``, or the cell ``key`` of it
    alone. ``change`` is that change of the baseline's value with its sign (-0.1: it falls by 10 %),
    None where nothing tells the noise; ``one_more`` is the same after one more session like these.
    ``needed`` is from how many sessions on the noise is within the tolerance, None where
    more than a baseline keeps. Both are estimates: sessions may go on differing otherwise.
    ``provisional``: there are too few sessions for a prediction limit, and the rest is unknown.
    """

    depth: Depth
    model: str
    key: str
    metric: str
    sessions: int
    change: float | None
    one_more: float | None
    needed: int | None
    provisional: bool


class _Noise(NamedTuple):
    """How one more session errs about ``sessions`` sessions (log scale)."""

    scale: float
    dof: float
    sessions: int

    def after(self, more: int) -> _Noise:
        """Return the noise after ``more`` sessions that differ as these do: an estimate."""
        count = self.sessions + more
        scale = self.scale * math.sqrt((1 + 1 / count) / (1 + 1 / self.sessions))
        return _Noise(scale, self.dof + more, count)

    def limit(self, level: float) -> float:
        return upper_quantile(level, self.dof) * self.scale


@dataclass(frozen=True, slots=True)
class _Cell:
    """One metric of one cell: its tolerance (log scale) and its comparable sessions by id."""

    model: str
    key: str
    metric: str
    tolerance: float
    sessions: Mapping[str, SessionValue]

    @property
    def logs(self) -> dict[str, float]:
        """The sessions' logs by id, up is worse."""
        sign = 1 if METRICS[self.metric].direction is Direction.LOWER_IS_BETTER else -1
        return {session: sign * math.log(item.value) for session, item in self.sessions.items()}


def detectable(
    cells: Sequence[CellBaseline], tolerance: Callable[[CellBaseline, str], float], alpha: float
) -> list[Detectable]:
    """Return what is found, with a probability of 90 %, in a run over these cells.

    ``tolerance`` is a ratio by cell and metric. ``alpha`` is the run's; each test of the gate has
    its share of it, as the first step of Holm's procedure gives it. A change must exceed the noise
    of its depth (``stats.depths``), and a cell's whole change its tolerance.
    """
    groups = [
        _Group(
            [
                _Cell(cell.model, cell.key, metric, math.log1p(tolerance(cell, metric)), sessions)
                for cell in cells
                if (sessions := _comparable(cell, metric))
            ]
        )
        for metric in GATED
    ]
    depths = [depth for group in groups for depth in group.depths()]
    levels = {depth: alpha * share for depth, share in zip(depths, shares(depths), strict=True)}
    return [item for group in groups for item in group.detectable(levels)]


class _Group:
    """The cells that have one metric."""

    def __init__(self, cells: Sequence[_Cell]) -> None:
        self._cells = cells
        self._prior = variance_prior(list(cell.sessions.values()) for cell in cells)
        self._plain = [self._predicted(cell) for cell in cells]
        # What this session may have measured does not matter to the noise.
        logs = [(cell.model, cell.logs) for cell in cells]
        self._shifts = shifts(
            [CellLogs(model, past, math.fsum(past.values()) / len(past)) for model, past in logs]
        )
        tested = {shift.cells[0] for shift in self._shifts if shift.depth == "cell"}
        self._untested = [index for index in range(len(cells)) if index not in tested]

    def depths(self) -> list[Depth]:
        """Return the depth of each test that the gate makes of this metric."""
        return [shift.depth for shift in self._shifts] + ["cell"] * len(self._untested)

    def detectable(self, levels: Mapping[Depth, float]) -> Iterator[Detectable]:
        for shift in self._shifts:
            # Of several cells the typical one must move beyond its tolerance.
            ordered = sorted(shift.cells, key=lambda index: self._noise(index).scale)
            index = ordered[len(ordered) // 2]
            noise = _Noise(shift.scale, shift.dof, shift.sessions)
            yield self._found(shift.depth, index, noise, levels[shift.depth])
        for index in self._untested:
            if self._plain[index] is None:
                yield self._provisional(self._cells[index], levels["cell"])
            else:
                yield self._found("cell", index, self._noise(index), levels["cell"])

    def _found(self, depth: Depth, index: int, noise: _Noise, level: float) -> Detectable:
        cell, plain = self._cells[index], self._noise(index)

        def change(more: int) -> float | None:
            test, own = noise.after(more), plain.after(more)
            hurdles = [Hurdle(test.limit(level), *test[:2]), Hurdle(cell.tolerance, *own[:2])]
            if noise == plain:  # one measured change, which must exceed the higher of the two
                hurdles = [max(hurdles)]
            return _relative(cell.metric, smallest_detectable(hurdles))

        counts = range(noise.sessions, max(MAX_SESSIONS, noise.sessions) + 1)
        return Detectable(
            depth,
            cell.model if depth != "run" else "",
            cell.key if depth == "cell" else "",
            cell.metric,
            noise.sessions,
            change(0),
            change(1),
            next(
                (
                    count
                    for count in counts
                    if noise.after(count - noise.sessions).limit(level) <= cell.tolerance
                ),
                None,
            ),
            provisional=False,
        )

    def _provisional(self, cell: _Cell, level: float) -> Detectable:
        """With a session or two the windows stand for the noise, as ``verdict.judge`` takes it."""
        past = list(cell.sessions.values())
        spreads = [item.spread for item in past if item.spread is not None]
        typical = math.sqrt(math.fsum(s**2 for s in spreads) / len(spreads)) if spreads else None
        now = replace(past[-1], spread=typical)

        def limit(policy: Policy) -> float:
            found = judge(cell.metric, now, past, policy, self._prior).limit
            return math.inf if found is None else abs(math.log1p(found))

        tolerance = math.expm1(cell.tolerance)
        change = limit(Policy(tolerance, level)) + limit(Policy(0.0, 1 - POWER))
        return Detectable(
            "cell",
            cell.model,
            cell.key,
            cell.metric,
            len(past),
            _relative(cell.metric, change),
            None,
            None,
            provisional=True,
        )

    def _predicted(self, cell: _Cell) -> _Noise | None:
        if len(cell.sessions) < ENOUGH_SESSIONS:
            return None
        found = prediction_limit(list(cell.logs.values()), 0.5, self._prior)
        return _Noise(found.scale, found.dof, len(cell.sessions))

    def _noise(self, index: int) -> _Noise:
        noise = self._plain[index]
        assert noise is not None  # noqa: S101 - asked only of cells with enough sessions
        return noise


def _relative(metric: str, worse: float) -> float | None:
    """Turn a log change for the worse into a signed relative one; None for an infinite one."""
    if math.isinf(worse):
        return None
    falls = METRICS[metric].direction is Direction.HIGHER_IS_BETTER
    return math.expm1(-worse if falls else worse)


def _comparable(cell: CellBaseline, metric: str) -> dict[str, SessionValue]:
    """Return the sessions by id that compare with the newest one that has the metric."""
    having = [session for session in cell.sessions if metric in session.values]
    return {
        session.id: SessionValue(value.value, value.spread, value.n)
        for session in having
        if incomparable(session.facts, having[-1].facts, metric) is None
        for value in (session.values[metric],)
    }
