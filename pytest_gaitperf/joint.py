"""All cells and metrics of a run judged together, with one false-alarm budget: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.stats.depths import CellLogs, Shift, all_shifts, shares
from pytest_gaitperf.stats.multiplicity import holm
from pytest_gaitperf.verdict import (
    Policy,
    SessionValue,
    Standing,
    State,
    Verdict,
    confirm,
    noise_of,
    percent,
    relative,
    settle,
    standing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_gaitperf.stats.depths import Depth
    from pytest_gaitperf.stats.prediction import VariancePrior

COMMON_CAUSE = "the device or the server changed, not one model"
"""What a shift of the whole run means."""

_FLOOR = Policy().floor


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one cell, to be compared with its baseline.

    ``sessions`` are the comparable ones of the baseline by id. ``tolerance`` is relative, as in
    ``Policy``.
    """

    model: str
    metric: str
    now: SessionValue
    sessions: Mapping[str, SessionValue]
    tolerance: float = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """A model or the whole run that moved in one metric, beyond what sessions do.

    ``cells`` are indices of the comparisons that moved together; ``model`` is "" for the run.
    ``change`` and ``limit`` are relative changes of the metric's value: a model's beside the other
    models.
    """

    depth: Depth
    metric: str
    model: str
    cells: tuple[int, ...]
    worse: bool
    change: float
    limit: float
    sessions: int

    @property
    def how(self) -> str:
        """What the change is: ``4.0 % slower``."""
        joules = METRICS[self.metric].unit == "J"
        words = ("hungrier", "thriftier") if joules else ("slower", "faster")
        return f"{percent(self.change)} {words[not self.worse]}"

    @property
    def text(self) -> str:
        """The finding in one line, without its model's name and its metric."""
        basis = f"(limit {percent(self.limit)}, {self.sessions} sessions)"
        if self.depth == "run":
            return f"everything is {self.how}: {COMMON_CAUSE} {basis}"
        return f"the whole model is {self.how} {basis}"


@dataclass(frozen=True, slots=True)
class Claim:
    """One test: that some comparisons of one metric moved together, or one by itself."""

    metric: str
    shift: Shift

    @property
    def key(self) -> tuple[str, Depth, tuple[int, ...]]:
        """What tells it from the other tests of a run."""
        return self.metric, self.shift.depth, self.shift.cells


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts, one for each comparison, and which models, or the run, moved as a whole.

    ``claims`` are the significant tests for the worse, which a re-measurement has to confirm.
    """

    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    claims: tuple[Claim, ...]

    @property
    def suspects(self) -> tuple[int, ...]:
        """The comparisons that regressed, to be measured once more."""
        return tuple(i for i, v in enumerate(self.verdicts) if v.state is State.REGRESSED)


def judge_jointly(
    comparisons: Sequence[Comparison], alpha: float, priors: Mapping[str, VariancePrior | None]
) -> Judgement:
    """Judge a run: every comparison, at every depth that the data allow.

    The tests of all metrics and depths (``stats.depths``; a cell that has no contrast is tested
    plainly, as ``judge`` does) share ``alpha`` by weighted Holm. A comparison is a regression where
    a significant test speaks of its cell, of its model or of the run, **and** its own value is
    worse by more than its tolerance. So what did not get worse itself is never red. Improvements
    are found in the same way, with an alpha of their own, which turns nothing red.

    A comparison without baseline or with bad data gets the verdict that ``judge`` gives it, and
    takes no share of alpha. ``priors`` are for the plain tests, by metric.
    """
    stands = [standing(c.metric, c.now, list(c.sessions.values())) for c in comparisons]
    worse = _Side(_claims(comparisons, stands, priors, sign=1), alpha)
    better = _Side(_claims(comparisons, stands, priors, sign=-1), alpha)
    verdicts = tuple(
        stand if isinstance(stand, Verdict) else _verdict(stand, i, comparison, worse, better)
        for i, (comparison, stand) in enumerate(zip(comparisons, stands, strict=True))
    )
    findings = [
        *_findings(comparisons, verdicts, worse, worse=True),
        *_findings(comparisons, verdicts, better, worse=False),
    ]
    return Judgement(verdicts, tuple(findings), tuple(one.claim for one in worse.significant))


def confirm_jointly(
    comparisons: Sequence[Comparison],
    first: Judgement,
    again: Mapping[int, SessionValue],
    alpha: float,
    priors: Mapping[str, VariancePrior | None],
) -> Judgement:
    """Keep the regressions that an independent re-measurement finds too.

    ``again`` are the suspects' second values, by index. Only what was significant is tested again,
    so ``alpha`` is shared among that alone: the first judgement keeps the run's false alarms. The
    others keep their first values as the reference, since measuring them again as well would double
    the run; what a restart of the server moves in all alike then counts as noise. By simulation
    (session effects of 2 % common, 1 % per model, 2.5 % per cell) that costs 2 to 3 % of the true
    findings if a restart draws the common effects anew, and none if it does not. A suspect without
    a second value stays as it is.
    """
    latest = [replace(c, now=again.get(i, c.now)) for i, c in enumerate(comparisons)]
    stands = [standing(c.metric, c.now, list(c.sessions.values())) for c in latest]
    doubted = {claim.key for claim in first.claims}
    worse = _Side(
        [claim for claim in _claims(latest, stands, priors, sign=1) if claim.key in doubted], alpha
    )
    verdicts = list(first.verdicts)
    for i in first.suspects:
        stand = stands[i]
        if i not in again:
            continue
        second = (
            stand
            if isinstance(stand, Verdict)
            else _verdict(stand, i, latest[i], worse, _Side([], alpha))
        )
        # A second value that cannot be judged acquits nobody.
        verdicts[i] = second if second.state is State.INVALID else confirm(verdicts[i], second)
    kept = {one.claim.key for one in worse.significant}
    findings = tuple(
        finding
        for finding in first.findings
        if not finding.worse
        or (finding.metric, finding.depth, finding.cells) in kept
        or not any(i in again for i in finding.cells)
    )
    return Judgement(tuple(verdicts), findings, first.claims)


@dataclass(frozen=True, slots=True)
class _Decided:
    """A test with the level that it is held to."""

    claim: Claim
    level: float
    significant: bool

    @property
    def noise(self) -> float:
        """The allowance at that level, on the log scale."""
        return self.claim.shift.limit(self.level)


class _Side:
    """The tests in one direction, decided."""

    def __init__(self, claims: Sequence[Claim], alpha: float) -> None:
        tails = [claim.shift.tail for claim in claims]
        levels = holm(tails, shares([claim.shift.depth for claim in claims]), alpha)
        decided = [
            _Decided(claim, level, tail <= level)
            for claim, tail, level in zip(claims, tails, levels, strict=True)
        ]
        self.significant = [one for one in decided if one.significant]
        self._about: dict[int, list[_Decided]] = {}
        for one in decided:
            for i in one.claim.shift.cells:
                self._about.setdefault(i, []).append(one)

    def deciding(self, i: int) -> _Decided | None:
        """Return the test that decides on a comparison, None where there is none.

        The narrowest of the significant ones, which says most; else the narrowest of all.
        """
        return min(
            self._about.get(i, ()),
            key=lambda one: (not one.significant, len(one.claim.shift.cells)),
            default=None,
        )


def _claims(
    comparisons: Sequence[Comparison],
    stands: Sequence[Standing | Verdict],
    priors: Mapping[str, VariancePrior | None],
    *,
    sign: int,
) -> list[Claim]:
    """Return the tests of all metrics, for the worse (``sign`` 1) or for the better (-1)."""
    by_metric: dict[str, list[tuple[int, Standing]]] = {}
    for i, stand in enumerate(stands):
        if isinstance(stand, Standing):
            by_metric.setdefault(stand.metric, []).append((i, stand))
    logs = []
    for judged in by_metric.values():
        cells = []
        for i, stand in judged:
            up = sign * stand.sign
            past = {name: up * math.log(s.value) for name, s in comparisons[i].sessions.items()}
            cells.append(CellLogs(comparisons[i].model, past, up * math.log(stand.now)))
        logs.append(cells)
    claims = []
    for (metric, judged), moved in zip(by_metric.items(), all_shifts(logs), strict=True):
        found = [
            replace(shift, cells=tuple(judged[cell][0] for cell in shift.cells)) for shift in moved
        ]
        alone = {shift.cells for shift in found if len(shift.cells) == 1}
        for i, stand in judged:
            if (i,) not in alone:
                sessions = list(comparisons[i].sessions.values())
                scale, dof = noise_of(comparisons[i].now, sessions, _FLOOR, priors.get(metric))
                worse = sign * stand.worse
                found.append(Shift("cell", (i,), worse, scale, dof, stand.sessions, 0.0))
        claims += [Claim(metric, shift) for shift in found]
    return claims


def _verdict(
    stand: Standing, i: int, comparison: Comparison, worse: _Side, better: _Side
) -> Verdict:
    decided = worse.deciding(i)
    assert decided is not None  # noqa: S101 - each comparison has a test of its own
    shift, limit, why = decided.claim.shift, decided.noise, ""
    if shift.cells == (i,):
        # Its own value turns red that far beyond where the others' lies.
        limit += stand.worse - shift.change
    else:
        why = _finding(decided, comparison.model, worse=True).text
    improved = better.deciding(i)
    return settle(
        stand,
        comparison.tolerance,
        decided.noise,
        beyond=decided.significant,
        better=improved is not None and improved.significant,
        limit=limit,
        depth=shift.depth,
        why=why,
    )


def _findings(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], side: _Side, *, worse: bool
) -> Iterable[Finding]:
    """Say which models, and whether the run, moved by more than may be overlooked."""
    for decided in side.significant:
        shift = decided.claim.shift
        if shift.depth == "cell":
            continue
        first = comparisons[shift.cells[0]]
        red = worse and any(verdicts[i].state is State.REGRESSED for i in shift.cells)
        if red or shift.change > math.log1p(first.tolerance) / 2:
            yield _finding(decided, first.model, worse=worse)


def _finding(decided: _Decided, model: str, *, worse: bool) -> Finding:
    shift, metric = decided.claim.shift, decided.claim.metric
    sign = METRICS[metric].worse_sign * (1 if worse else -1)
    return Finding(
        depth=shift.depth,
        metric=metric,
        model="" if shift.depth == "run" else model,
        cells=shift.cells,
        worse=worse,
        change=relative(sign * shift.change),
        limit=relative(sign * decided.noise),
        sessions=shift.sessions,
    )
