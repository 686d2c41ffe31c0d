"""All cells and metrics of a run judged together, with one false-alarm budget: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pytest_gaitperf.gate.multiplicity import holm
from pytest_gaitperf.gate.prediction import upper_tails
from pytest_gaitperf.gate.scopes import CellLogs, Moved, Shift, shares
from pytest_gaitperf.gate.verdict import (
    Policy,
    SessionValue,
    Standing,
    confirm,
    noise_of,
    percent,
    relative,
    settle,
    standing,
)
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.gate.verdict import Recorded
    from pytest_gaitperf.results import Scope

_COMMON_CAUSE = "the device or the server changed, not one model"
_CAUSE_OF_ONE = "the model, the device or the server changed"

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
    sessions: Mapping[str, Recorded]
    tolerance: float = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """A model or the whole run that moved in one metric, beyond what sessions do.

    ``cells`` are indices of the comparisons that moved together; ``model`` is "" for the run.
    ``change`` and ``limit`` are relative changes of the metric's value: a model's beside the other
    models. ``one_model`` says that the run has no other, so that nothing tells the two apart.
    """

    scope: Scope
    metric: str
    model: str
    cells: tuple[int, ...]
    worse: bool
    change: float
    limit: float
    sessions: int
    one_model: bool = False

    @property
    def cause(self) -> str:
        """What a shift of the whole run means."""
        return _CAUSE_OF_ONE if self.one_model else _COMMON_CAUSE

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
        if self.scope == "run":
            return f"everything is {self.how}: {self.cause} {basis}"
        return f"the whole model is {self.how} {basis}"


class Claim(NamedTuple):
    """One test: that some comparisons of one metric moved together, or one by itself."""

    metric: str
    shift: Shift

    @property
    def key(self) -> tuple[str, Scope, tuple[int, ...]]:
        """What tells it from the other tests of a run."""
        return self.metric, self.shift.scope, self.shift.cells


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
        return tuple(i for i, v in enumerate(self.verdicts) if v.kind is VerdictKind.REGRESSED)


def judge_jointly(
    comparisons: Sequence[Comparison], alpha: float, priors: Mapping[str, VariancePrior | None]
) -> Judgement:
    """Judge a run: every comparison, at every scope that the data allow.

    The tests of all metrics and scopes (``stats.scopes``; a cell that has no contrast is tested
    plainly, as ``judge`` does) share ``alpha`` by weighted Holm. A comparison is a regression where
    a significant test speaks of its cell, of its model or of the run, **and** its own value is
    worse by more than its tolerance. So what did not get worse itself is never red. Improvements
    are found in the same way, with an alpha of their own, which turns nothing red.

    A comparison without baseline or with bad data gets the verdict that ``judge`` gives it, and
    takes no share of alpha. ``priors`` are for the plain tests, by metric.
    """
    stands, logs = _standings(comparisons)
    tests = _Tests(comparisons, stands, logs, priors)
    worse, better = _Side(tests.claims(1), alpha), _Side(tests.claims(-1), alpha)
    verdicts = tuple(
        stand if isinstance(stand, Verdict) else _verdict(stand, i, comparisons, worse, better)
        for i, stand in enumerate(stands)
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
    a second value stays as it is, and so does one that none of those tests speaks of any more.
    """
    latest = [replace(c, now=again.get(i, c.now)) for i, c in enumerate(comparisons)]
    stands, logs = _standings(latest)
    doubted = {claim.key for claim in first.claims}
    tests = _Tests(latest, stands, logs, priors)
    tested = [claim for claim in tests.claims(1) if claim.key in doubted]
    worse = _Side(tested, alpha)
    verdicts = list(first.verdicts)
    for i in first.suspects:
        stand = stands[i]
        # A neighbour's second value that cannot be judged leaves other tests than there were.
        if i not in again or not (isinstance(stand, Verdict) or worse.tests(i)):
            continue
        second = (
            stand
            if isinstance(stand, Verdict)
            else _verdict(stand, i, latest, worse, _Side([], alpha))
        )
        # A second value that cannot be judged acquits nobody.
        verdicts[i] = (
            second if second.kind is VerdictKind.INCOMPARABLE else confirm(verdicts[i], second)
        )
    tested_keys = {claim.key for claim in tested}
    confirmed = {one.claim.key: one for one in worse.significant}
    findings = []
    for finding in first.findings:
        key = finding.metric, finding.scope, finding.cells
        if finding.worse and key in tested_keys and any(i in again for i in finding.cells):
            if key in confirmed:  # with the numbers that its cells' verdicts now have
                findings.append(_finding(confirmed[key], latest, worse=True))
        else:
            findings.append(finding)
    return Judgement(tuple(verdicts), tuple(findings), first.claims)


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
        shifts = [claim.shift for claim in claims]
        tails = upper_tails(
            [shift.change for shift in shifts],
            [shift.scale for shift in shifts],
            [shift.dof for shift in shifts],
        )
        self._claims = claims
        self._levels = holm(tails, shares([shift.scope for shift in shifts]), alpha)
        significant = [
            place for place, tail in enumerate(tails.tolist()) if tail <= self._levels[place]
        ]
        self.significant = [self._decided(place, significant=True) for place in significant]
        self._narrowest = self._narrowest_of(range(len(claims)))
        self._speaking = self._narrowest_of(significant)

    def tests(self, i: int) -> bool:
        """Return whether any test speaks of a comparison."""
        return i in self._narrowest

    def moved(self, i: int) -> bool:
        """Return whether a significant test speaks of a comparison."""
        return i in self._speaking

    def deciding(self, i: int) -> _Decided:
        """Return the test that decides on a comparison.

        The narrowest of the significant ones, which says most; else the narrowest of all.
        """
        place = self._speaking.get(i)
        if place is not None:
            return self._decided(place, significant=True)
        return self._decided(self._narrowest[i], significant=False)

    def _decided(self, place: int, *, significant: bool) -> _Decided:
        return _Decided(self._claims[place], self._levels[place], significant)

    def _narrowest_of(self, places: Sequence[int]) -> dict[int, int]:
        """Return the place of the narrowest of some tests, by comparison."""
        found: dict[int, int] = {}
        # The widest first, and of equals the last one: what comes later is better.
        for place in sorted(places, key=lambda p: (-len(self._claims[p].shift.cells), -p)):
            for i in self._claims[place].shift.cells:
                found[i] = place
        return found


def _standings(
    comparisons: Sequence[Comparison],
) -> tuple[list[Standing | Verdict], dict[int, CellLogs]]:
    """Return where each value stands, as ``standing`` does, and the logs of those that do.

    All logs are taken in one step.
    """
    stands: dict[int, Standing] = {}
    signed: dict[int, CellLogs] = {}
    known = [(i, c) for i, c in enumerate(comparisons) if c.sessions]
    if known:
        now, now_sound = _values([c.now for _, c in known])
        past, past_sound = _values([one for _, c in known for one in c.sessions.values()])
        counts = np.array([len(c.sessions) for _, c in known])
        starts = np.cumsum(counts) - counts
        sound = now_sound & np.logical_and.reduceat(past_sound, starts)
        with np.errstate(divide="ignore", invalid="ignore"):
            latest, logs = np.log(now), np.log(past)
            centres = np.add.reduceat(logs, starts) / counts
        up = {metric: METRICS[metric].worse_sign for metric in {c.metric for c in comparisons}}
        signs = np.array([up[c.metric] for _, c in known])
        columns = (counts, centres, signs * (latest - centres), signs * latest)
        ups = iter((np.repeat(signs, counts) * logs).tolist())
        for (i, c), usable, count, centre, worse, log in zip(
            known, sound.tolist(), *(column.tolist() for column in columns), strict=True
        ):
            sessions = dict(zip(c.sessions, ups, strict=False))
            if usable:
                stands[i] = Standing(c.metric, c.now.value, count, centre, worse)
                signed[i] = CellLogs(c.model, sessions, log)
    stood = [
        stands.get(i) or standing(c.metric, c.now, list(c.sessions.values()))
        for i, c in enumerate(comparisons)
    ]
    return stood, signed


def _values(
    values: Sequence[Recorded],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values, and which of them can be judged."""
    value = np.array([one.value for one in values], dtype=np.float64)
    spread = np.array([one.spread or 0.0 for one in values], dtype=np.float64)
    known = np.nan_to_num(spread, nan=0.0, posinf=-1.0, neginf=-1.0)
    return value, np.isfinite(value) & (value > 0) & (known >= 0)


class _Tests:
    """The tests of all metrics of a run."""

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        stands: Sequence[Standing | Verdict],
        logs: Mapping[int, CellLogs],
        priors: Mapping[str, VariancePrior | None],
    ) -> None:
        self._comparisons = comparisons
        self._priors = priors
        self._judged: dict[str, list[tuple[int, Standing]]] = {}
        for i, stand in enumerate(stands):
            if isinstance(stand, Standing):
                self._judged.setdefault(stand.metric, []).append((i, stand))
        self._moved = Moved(
            [[logs[i] for i, _ in judged] for judged in self._judged.values()],
            [[i for i, _ in judged] for judged in self._judged.values()],
        )
        self._noise: dict[int, tuple[float, float]] = {}

    def claims(self, sign: Literal[1, -1]) -> list[Claim]:
        """Return the tests for the worse (``sign`` 1) or for the better (-1)."""
        claims = []
        for (metric, judged), found in zip(
            self._judged.items(), self._moved.shifts(sign), strict=True
        ):
            alone = {shift.cells for shift in found if len(shift.cells) == 1}
            for i, stand in judged:
                if (i,) not in alone:
                    scale, dof = self._noise_of(i, metric)
                    found.append(
                        Shift("cell", (i,), sign * stand.worse, scale, dof, stand.sessions, 0.0)
                    )
            claims += [Claim(metric, shift) for shift in found]
        return claims

    def _noise_of(self, i: int, metric: str) -> tuple[float, float]:
        if i not in self._noise:
            comparison = self._comparisons[i]
            sessions = list(comparison.sessions.values())
            self._noise[i] = noise_of(comparison.now, sessions, _FLOOR, self._priors.get(metric))
        return self._noise[i]


def _verdict(
    stand: Standing, i: int, comparisons: Sequence[Comparison], worse: _Side, better: _Side
) -> Verdict:
    comparison = comparisons[i]
    decided = worse.deciding(i)
    shift, limit, why = decided.claim.shift, decided.noise, ""
    if shift.cells == (i,):
        # Its own value turns red that far beyond where the others' lies.
        limit += stand.worse - shift.change
    else:
        why = _finding(decided, comparisons, worse=True).text
    return settle(
        stand,
        comparison.tolerance,
        decided.noise,
        beyond=decided.significant,
        better=better.moved(i),
        limit=limit,
        scope=shift.scope,
        why=why,
    )


def _findings(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], side: _Side, *, worse: bool
) -> Iterable[Finding]:
    """Say which models, and whether the run, moved by more than may be overlooked."""
    for decided in side.significant:
        shift = decided.claim.shift
        if shift.scope == "cell":
            continue
        first = comparisons[shift.cells[0]]
        red = worse and any(verdicts[i].kind is VerdictKind.REGRESSED for i in shift.cells)
        if red or shift.change > math.log1p(first.tolerance) / 2:
            yield _finding(decided, comparisons, worse=worse)


def _finding(decided: _Decided, comparisons: Sequence[Comparison], *, worse: bool) -> Finding:
    shift, metric = decided.claim.shift, decided.claim.metric
    model = comparisons[shift.cells[0]].model
    sign = METRICS[metric].worse_sign * (1 if worse else -1)
    return Finding(
        scope=shift.scope,
        metric=metric,
        model="" if shift.scope == "run" else model,
        cells=shift.cells,
        worse=worse,
        change=relative(sign * shift.change),
        limit=relative(sign * decided.noise),
        sessions=shift.sessions,
        one_model=all(comparisons[i].model == model for i in shift.cells),
    )
