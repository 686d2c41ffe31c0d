"""All cells and metrics of a run judged together, with one false-alarm budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.gate.prediction import holm
from pytest_gaitperf.gate.scopes import CellLogs, Shift, shares, shifts
from pytest_gaitperf.gate.verdict import confirm, noise_of, relative, settle, standing
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Finding, Verdict, VerdictKind
from pytest_gaitperf.text import count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.gate.verdict import Comparison
    from pytest_gaitperf.measurement import SessionValue

_COMMON_CAUSE = "the device or the server changed, not one model"
_CAUSE_OF_ONE = "the model, the device or the server changed"


class Claim(NamedTuple):
    """A test: that some comparisons moved together in one direction, or one by itself.

    ``level`` is what its tail is held to, ``significant`` that it is below. ``finding`` is what a
    significant one says beyond the verdicts of its cells, None where that is nothing.
    """

    shift: Shift
    level: float
    significant: bool
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts, one for each comparison, and the significant tests in both directions.

    Those for the ``worse`` are what a re-measurement has to confirm.
    """

    verdicts: tuple[Verdict, ...]
    worse: tuple[Claim, ...]
    better: tuple[Claim, ...]

    @property
    def suspects(self) -> tuple[int, ...]:
        """The comparisons that regressed, to be measured once more."""
        return tuple(i for i, v in enumerate(self.verdicts) if v.kind is VerdictKind.REGRESSED)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Which models, and whether the run, moved as a whole."""
        claims = (*self.worse, *self.better)
        return tuple(claim.finding for claim in claims if claim.finding is not None)


def judge_jointly(
    comparisons: Sequence[Comparison], alpha: float, priors: Mapping[str, VariancePrior | None]
) -> Judgement:
    """Judge a run: every comparison, at every scope that the data allow.

    With y the logs of the baseline's values, a comparison's change for the worse is
    ``d = +-(log now - mean y)``, its sign from the metric's direction. The tests of all metrics and
    scopes (``gate.scopes``; a cell that has no contrast is tested plainly, d against the noise of
    ``noise_of``) share ``alpha`` by weighted Holm. A comparison is a regression where a significant
    test speaks of its cell, of its model or of the run, **and** its own d is beyond its tolerance.
    So what did not get worse itself is never red. Beyond the tolerance but within the noise is
    inconclusive. Improvements are found in the same way, with an alpha of their own, which turns
    nothing red. All else passes.

    A comparison without baseline is missing, one with bad data incomparable; they take no share of
    alpha. ``priors`` are for the plain tests, by metric.
    """
    stands = [standing(comparison) for comparison in comparisons]
    logs = {i: stand for i, stand in enumerate(stands) if isinstance(stand, CellLogs)}
    inverted = {i: stand.inverted for i, stand in logs.items()}
    worse = _decided(_tests(comparisons, logs, priors), alpha)
    better = _decided(_tests(comparisons, inverted, priors), alpha)
    deciding, gains = _deciding(worse), _deciding(better)
    verdicts = tuple(
        stand
        if isinstance(stand, Verdict)
        else _verdict(comparisons, i, stand, deciding[i], better=gains[i].significant)
        for i, stand in enumerate(stands)
    )
    return Judgement(
        verdicts,
        _told(worse, comparisons, verdicts, sign=1),
        _told(better, comparisons, verdicts, sign=-1),
    )


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
    a second value stays as it is, and so does one that none of those tests speaks of any more. A
    second value that cannot be judged acquits nobody.
    """
    latest = [replace(c, now=again.get(i, c.now)) for i, c in enumerate(comparisons)]
    stands = [standing(comparison) for comparison in latest]
    logs = {i: stand for i, stand in enumerate(stands) if isinstance(stand, CellLogs)}
    doubted = {claim.shift.key for claim in first.worse}
    tests = [test for test in _tests(latest, logs, priors) if test.key in doubted]
    tested = {claim.shift.key: claim for claim in _decided(tests, alpha)}
    deciding = _deciding(list(tested.values()))
    verdicts = list(first.verdicts)
    for i in set(first.suspects) & set(again):
        stand = stands[i]
        if isinstance(stand, Verdict):
            verdicts[i] = stand
        elif i in deciding:
            second = _verdict(latest, i, stand, deciding[i], better=False)
            verdicts[i] = confirm(verdicts[i], second)
    worse = []
    for claim in first.worse:
        second_claim = tested.get(claim.shift.key)
        if claim.finding is None or second_claim is None or not set(claim.shift.cells) & set(again):
            worse.append(claim)
        elif second_claim.significant:  # with the numbers that its cells' verdicts now have
            worse.append(second_claim._replace(finding=_finding(second_claim, latest, sign=1)))
        else:
            worse.append(claim._replace(finding=None))
    return Judgement(tuple(verdicts), tuple(worse), first.better)


def _tests(
    comparisons: Sequence[Comparison],
    logs: Mapping[int, CellLogs],
    priors: Mapping[str, VariancePrior | None],
) -> list[Shift]:
    """Return the tests of all metrics, for the worse as the logs are signed."""
    places = list(logs)
    found = [
        shift._replace(cells=tuple(places[cell] for cell in shift.cells))
        for shift in shifts(list(logs.values()))
    ]
    contrasted = {shift.cells for shift in found}
    for i, cell in logs.items():
        if (i,) not in contrasted:
            comparison = comparisons[i]
            sessions, metric = list(comparison.sessions.values()), comparison.metric
            scale, dof = noise_of(comparison.now, sessions, priors.get(metric))
            change = cell.now - cell.centre
            found.append(Shift("cell", (i,), change, scale, dof, len(sessions), metric))
    return found


def _decided(tests: Sequence[Shift], alpha: float) -> list[Claim]:
    tails = [test.tail for test in tests]
    levels = holm(tails, shares([test.scope for test in tests]), alpha)
    return [
        Claim(test, level, tail <= level)
        for test, tail, level in zip(tests, tails, levels, strict=True)
    ]


def _deciding(claims: Sequence[Claim]) -> dict[int, Claim]:
    """Return the test that decides on each comparison.

    The narrowest of the significant ones, which says most; else the narrowest of all; of equally
    narrow ones the first.
    """
    found: dict[int, Claim] = {}
    for claim in sorted(claims, key=lambda one: (not one.significant, len(one.shift.cells))):
        for i in claim.shift.cells:
            found.setdefault(i, claim)
    return found


def _verdict(
    comparisons: Sequence[Comparison], i: int, logs: CellLogs, deciding: Claim, *, better: bool
) -> Verdict:
    shift = deciding.shift
    noise = limit = shift.limit(deciding.level)
    why = ""
    if shift.cells == (i,):
        # Its own value turns red that far beyond where the others' lies.
        limit += logs.now - logs.centre - shift.change
    else:
        why = _finding(deciding, comparisons, sign=1).text
    return settle(
        comparisons[i],
        logs,
        noise,
        limit,
        beyond=deciding.significant,
        better=better,
        scope=shift.scope,
        why=why,
    )


def _told(
    claims: Sequence[Claim],
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    *,
    sign: int,
) -> tuple[Claim, ...]:
    """Return the significant claims; with a finding where it may not be overlooked."""
    told = []
    for claim in filter(lambda one: one.significant, claims):
        shift = claim.shift
        least = math.log1p(comparisons[shift.cells[0]].tolerance) / 2
        red = sign > 0 and any(verdicts[i].kind is VerdictKind.REGRESSED for i in shift.cells)
        several = shift.scope != "cell" and (red or shift.change > least)
        finding = _finding(claim, comparisons, sign=sign) if several else None
        told.append(claim._replace(finding=finding))
    return tuple(told)


def _finding(claim: Claim, comparisons: Sequence[Comparison], *, sign: int) -> Finding:
    """Put a claim about several cells into words; ``sign`` -1 is for the better."""
    shift, model = claim.shift, comparisons[claim.shift.cells[0]].model
    metric = METRICS[shift.metric]
    change = relative(sign * metric.worse_sign * shift.change)
    limit = relative(sign * metric.worse_sign * shift.limit(claim.level))
    one_model = all(comparisons[i].model == model for i in shift.cells)
    whole = shift.scope == "run"
    cause = (_CAUSE_OF_ONE if one_model else _COMMON_CAUSE) if whole else ""
    what = f"{metric.title} of {'the whole run' if whole else model + ' as a whole'}"
    basis = f"(limit {percent(limit)}, {count(shift.sessions, 'session')})"
    return Finding(
        scope=shift.scope,
        metric=shift.metric,
        worse=sign > 0,
        change=change,
        limit=limit,
        sessions=shift.sessions,
        text=f"{what} changed by {percent(change)}{': ' * whole}{cause} {basis}",
        model="" if whole else model,
        cause=cause,
    )
