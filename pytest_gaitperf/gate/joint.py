"""All cells and metrics of a run judged together, with one false-alarm budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from pytest_gaitperf.gate.hearing import Hearing
from pytest_gaitperf.gate.prediction import holm
from pytest_gaitperf.gate.scopes import CellLogs, Shift, shares, shifts
from pytest_gaitperf.gate.verdict import confirm, relative, session_noise, settle, standing
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Finding, Sensitivity, Verdict, VerdictKind
from pytest_gaitperf.text import count, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.gate.scopes import Level
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

    Those for the ``worse`` are what a re-measurement has to confirm. ``sensitivity`` is by metric.
    """

    verdicts: tuple[Verdict, ...]
    worse: tuple[Claim, ...]
    better: tuple[Claim, ...]
    sensitivity: tuple[Sensitivity, ...] = ()

    @property
    def suspects(self) -> tuple[int, ...]:
        """The comparisons that regressed, to be measured once more."""
        return tuple(i for i, v in enumerate(self.verdicts) if v.kind is VerdictKind.REGRESSED)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Which models, and whether the run, moved as a whole."""
        claims = (*self.worse, *self.better)
        return tuple(claim.finding for claim in claims if claim.finding is not None)


def judge_jointly(comparisons: Sequence[Comparison], alpha: float) -> Judgement:
    """Judge a run: every comparison, at every scope that the data allow.

    With y the logs of the baseline's values, a comparison's change for the worse is
    ``d = +-(log now - mean y)``, its sign from the metric's direction. The tests of all metrics,
    scopes and levels (``gate.scopes``) share ``alpha`` by weighted Holm. A comparison is a
    regression where a significant test speaks of its cell, of its model or of the run, **and** its
    own change from the same level is beyond its tolerance. So what did not get worse itself is
    never red. Beyond the tolerance but within the noise is inconclusive. Improvements are found in
    the same way, with an alpha of their own, which turns nothing red. All else passes. Each verdict
    says what the run could have heard (``gate.hearing``).

    A comparison without baseline is missing, one with bad data incomparable; they take no share of
    alpha.
    """
    logs, stands = _logs(comparisons)
    inverted = {i: stand.inverted for i, stand in logs.items()}
    tests = _tests(logs)
    worse = _decided(tests, alpha)
    better = _decided(_tests(inverted, anchored=False), alpha)
    deciding, gains = _deciding(worse), _deciding(better)
    hearing = Hearing(tests, alpha)
    verdicts = []
    for i, stand in enumerate(stands):
        if isinstance(stand, Verdict):
            verdicts.append(stand)
            continue
        one = comparisons[i]
        better_too = gains[i, "sessions"].significant
        verdict = _verdict(comparisons, i, stand, deciding, better=better_too)
        mates = frozenset(j for j in logs if comparisons[j].model == one.model)
        heard = hearing.of_model(i, mates, one.tolerance, one.must_hear)
        verdicts.append(structs.replace(verdict, **heard._asdict()))
    return Judgement(
        tuple(verdicts),
        _told(worse, comparisons, verdicts, sign=1),
        _told(better, comparisons, verdicts, sign=-1),
        _sensitivity(comparisons, verdicts, hearing),
    )


def confirm_jointly(
    comparisons: Sequence[Comparison],
    first: Judgement,
    again: Mapping[int, SessionValue],
    alpha: float,
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
    logs, stands = _logs(latest)
    doubted = {claim.shift.key for claim in first.worse}
    tests = [test for test in _tests(logs) if test.key in doubted]
    tested = {claim.shift.key: claim for claim in _decided(tests, alpha)}
    deciding = _deciding(list(tested.values()))
    spoken = {i for i, _ in deciding}
    verdicts = list(first.verdicts)
    for i in set(first.suspects) & set(again):
        stand = stands[i]
        if isinstance(stand, Verdict):
            verdicts[i] = stand
        elif i in spoken:
            second = _verdict(latest, i, stand, deciding, better=False)
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
    return replace(first, verdicts=tuple(verdicts), worse=tuple(worse))


def tests_of(comparisons: Sequence[Comparison]) -> list[Shift]:
    """Return the tests for the worse of a run with these comparisons."""
    return _tests(_logs(comparisons)[0])


def _logs(
    comparisons: Sequence[Comparison],
) -> tuple[dict[int, CellLogs], list[CellLogs | Verdict]]:
    """Return what can be tested, by index, with its noise; and where each comparison stands."""
    stands = [standing(comparison) for comparison in comparisons]
    metrics: dict[str, list[int]] = {}
    for i, stand in enumerate(stands):
        if isinstance(stand, CellLogs):
            metrics.setdefault(stand.metric, []).append(i)
    logs: dict[int, CellLogs] = {}
    for indices in metrics.values():
        values = [[comparisons[i].now, *comparisons[i].sessions.values()] for i in indices]
        for i, (assumed, least) in zip(indices, session_noise(values), strict=True):
            stand = stands[i]
            assert isinstance(stand, CellLogs)
            logs[i] = replace(stand, assumed=assumed, least=least)
    return dict(sorted(logs.items())), stands


def _tests(logs: Mapping[int, CellLogs], *, anchored: bool = True) -> list[Shift]:
    """Return the tests of all metrics, for the worse as the logs are signed."""
    places = list(logs)
    return [
        shift._replace(cells=tuple(places[cell] for cell in shift.cells))
        for shift in shifts(list(logs.values()), anchored=anchored)
    ]


def _decided(tests: Sequence[Shift], alpha: float) -> list[Claim]:
    tails = [test.tail for test in tests]
    levels = holm(tails, shares([test.scope for test in tests]), alpha)
    return [
        Claim(test, level, tail <= level)
        for test, tail, level in zip(tests, tails, levels, strict=True)
    ]


def _deciding(claims: Sequence[Claim]) -> dict[tuple[int, Level], Claim]:
    """Return the test that decides on each comparison, at each level.

    The narrowest of the significant ones, which says most; else the narrowest of all; of equally
    narrow ones the first.
    """
    found: dict[tuple[int, Level], Claim] = {}
    for claim in sorted(claims, key=lambda one: (not one.significant, len(one.shift.cells))):
        for i in claim.shift.cells:
            found.setdefault((i, claim.shift.level), claim)
    return found


def _verdict(
    comparisons: Sequence[Comparison],
    i: int,
    logs: CellLogs,
    deciding: Mapping[tuple[int, Level], Claim],
    *,
    better: bool,
) -> Verdict:
    """Return the verdict from the mean of the sessions; from the anchor where only that is red."""
    levels: tuple[Level, ...] = ("sessions", "anchor")
    found = []
    for level in levels:
        claim = deciding.get((i, level))
        if claim is None:
            continue
        shift = claim.shift
        noise = limit = shift.error.limit(claim.level)
        why = ""
        if shift.cells == (i,):
            # Its own value turns red that far beyond where the others' lies.
            limit += logs.now - (logs.anchor if level == "anchor" else logs.centre) - shift.change
        else:
            why = _finding(claim, comparisons, sign=1).text
        found.append(
            settle(
                comparisons[i],
                logs,
                level,
                noise,
                limit,
                beyond=claim.significant,
                better=better,
                scope=shift.scope,
                why=why,
            )
        )
    red = (one for one in found if one.kind is VerdictKind.REGRESSED)
    return next(red, found[0])


def _sensitivity(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], hearing: Hearing
) -> tuple[Sensitivity, ...]:
    """Return, by metric, what could be heard of any model and of any cell: the largest of each."""
    found = []
    for metric in dict.fromkeys(one.metric for one in comparisons):
        heard = {
            i: verdict.sensitivity
            for i, verdict in enumerate(verdicts)
            if verdict.metric == metric and verdict.sensitivity is not None
        }
        if heard:
            cell = hearing.of_cells(heard, max(comparisons[i].tolerance for i in heard))
            found.append(Sensitivity(metric, max(heard.values()), cell))
    return tuple(found)


def _told(
    claims: Sequence[Claim],
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    *,
    sign: int,
) -> tuple[Claim, ...]:
    """Return the significant claims; with a finding where it may not be overlooked."""
    told = []
    shown = {one.shift.key[:3] for one in claims if one.significant and one.shift.level != "anchor"}
    for claim in filter(lambda one: one.significant, claims):
        shift = claim.shift
        least = math.log1p(comparisons[shift.cells[0]].tolerance) / 2
        red = sign > 0 and any(verdicts[i].kind is VerdictKind.REGRESSED for i in shift.cells)
        several = shift.scope != "cell" and (red or shift.change > least)
        several &= shift.level != "anchor" or shift.key[:3] not in shown  # once is enough
        finding = _finding(claim, comparisons, sign=sign) if several else None
        told.append(claim._replace(finding=finding))
    return tuple(told)


def _finding(claim: Claim, comparisons: Sequence[Comparison], *, sign: int) -> Finding:
    """Put a claim about several cells into words; ``sign`` -1 is for the better."""
    shift, model = claim.shift, comparisons[claim.shift.cells[0]].model
    metric = METRICS[shift.metric]
    change = relative(sign * metric.worse_sign * shift.change)
    limit = relative(sign * metric.worse_sign * shift.error.limit(claim.level))
    one_model = all(comparisons[i].model == model for i in shift.cells)
    whole = shift.scope == "run"
    cause = (_CAUSE_OF_ONE if one_model else _COMMON_CAUSE) if whole else ""
    what = f"{metric.title} of {'the whole run' if whole else model + ' as a whole'}"
    past = "from the accepted level " if shift.level == "anchor" else ""
    basis = f"{past}(limit {percent(limit)}, {count(shift.sessions, 'session')})"
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
