"""All cells and metrics of a run judged together, with one false-alarm budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import structs

from pytest_gaitperf.gate.hearing import Hearing
from pytest_gaitperf.gate.prediction import holm
from pytest_gaitperf.gate.scopes import CellLogs, Shift, shares, shifts
from pytest_gaitperf.gate.verdict import confirm, relative, session_noise, settle, standing
from pytest_gaitperf.metrics import COSTS, METRICS, TOGETHER, title_of, worse_sign
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

    ``level`` is what its tail is held to, ``significant`` that it is below. It speaks of the
    comparisons ``of``. ``finding`` is what a significant one says beyond the verdicts of its cells,
    None where that is nothing.
    """

    shift: Shift
    level: float
    significant: bool
    of: tuple[int, ...]
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
    worse = _decided(tests, tests, alpha)
    upside = _tests(inverted, anchored=False)
    better = _decided(upside, upside, alpha)
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
    a second value stays as it is. So does one that none of those tests speaks of any more, unless
    its second value is within the tolerance. One that cannot be judged acquits nobody.
    """
    latest = [replace(c, now=again.get(i, c.now)) for i, c in enumerate(comparisons)]
    logs, stands = _logs(latest)
    doubted = {claim.shift.key for claim in first.worse}
    every = _tests(logs)
    tests = [test for test in every if test.key in doubted]
    tested = {claim.shift.key: claim for claim in _decided(tests, every, alpha)}
    deciding = _deciding(list(tested.values()))
    spoken = {i for i, _ in deciding}
    unheard = _deciding(
        [one._replace(significant=False, of=one.shift.cells) for one in tested.values()]
    )
    verdicts = list(first.verdicts)
    for i in set(first.suspects) & set(again):
        stand = stands[i]
        if isinstance(stand, Verdict):
            verdicts[i] = stand
        elif i in spoken:
            second = _verdict(latest, i, stand, deciding, better=False)
            verdicts[i] = confirm(verdicts[i], second)
        elif any(place == i for place, _ in unheard):
            second = _verdict(latest, i, stand, unheard, better=False)
            if second.kind is VerdictKind.PASS:
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
    """Return the tests for the worse of a run to come, whose values do not matter."""
    return _tests(_logs(comparisons)[0], measured=False)


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
    for metric, indices in metrics.items():
        values = [[comparisons[i].now, *comparisons[i].sessions.values()] for i in indices]
        noise = session_noise(values, METRICS[metric].floor)
        for i, (assumed, least) in zip(indices, noise, strict=True):
            stand = stands[i]
            assert isinstance(stand, CellLogs)
            logs[i] = replace(stand, assumed=assumed, least=least)
    return dict(sorted(logs.items())), stands


def _tests(
    logs: Mapping[int, CellLogs], *, anchored: bool = True, measured: bool = True
) -> list[Shift]:
    """Return the tests of each metric and of all together, for the worse as the logs are signed."""
    given = [*((one, (i,)) for i, one in logs.items()), *together(logs)]
    return [
        shift._replace(cells=tuple(i for cell in shift.cells for i in given[cell][1]))
        for shift in shifts([one for one, _ in given], anchored=anchored, measured=measured)
    ]


def together(logs: Mapping[int, CellLogs]) -> list[tuple[CellLogs, tuple[int, ...]]]:
    """Return the mean cost of each cell over its quantities, with the indices of what is in it.

    What makes a model slower mostly costs throughput, latency, CPU and energy at once, and their
    mean varies less between sessions than each of them, as far as they vary apart. Each quantity
    has a weight of one over its assumed variance. The mean is assumed to vary as if they all moved
    alike, which is an upper end; its own sessions tell by how much less it does.
    """
    cells: dict[tuple[str, str], list[int]] = {}
    for i, one in logs.items():
        if one.cell and one.metric in COSTS and one.assumed:
            cells.setdefault((one.model, one.cell), []).append(i)
    found = []
    for (model, cell), indices in cells.items():
        each = [logs[i] for i in indices]
        shared = sorted(set(each[0].sessions).intersection(*(one.sessions for one in each)))
        if len(each) < 2 or not shared:
            continue
        weights = np.array([1 / one.assumed for one in each])
        weights /= weights.sum()
        past = {name: float(weights @ [one.sessions[name] for one in each]) for name in shared}
        mean = CellLogs(
            model,
            past,
            float(weights @ [one.now for one in each]),
            TOGETHER,
            float(weights @ [math.sqrt(one.assumed) for one in each]) ** 2,
            float(weights**2 @ [one.least for one in each]),
            cell,
        )
        found.append((mean, tuple(indices)))
    return found


def _decided(tests: Sequence[Shift], every: Sequence[Shift], alpha: float) -> list[Claim]:
    """Decide on some tests; ``every`` test of the run tells which quantities moved with the whole.

    All quantities together may have moved because one did. So they speak of a quantity only where
    its own test of the same scope has a tail within alpha, shared among the quantities.
    """
    own = {
        (test.scope, test.level, i): test
        for test in every
        if test.metric != TOGETHER
        for i in test.cells
    }
    tails = [test.tail for test in tests]
    levels = holm(tails, shares(tests), alpha)
    claims = []
    for test, tail, level in zip(tests, tails, levels, strict=True):
        of = test.cells
        if test.metric == TOGETHER and tail <= level:
            likewise = {i: one for i in of if (one := own.get((test.scope, test.level, i)))}
            quantities = len({one.metric for one in likewise.values()})
            of = tuple(i for i, one in likewise.items() if quantities * one.tail <= alpha)
        claims.append(Claim(test, level, tail <= level and bool(of), of))
    return claims


def _deciding(claims: Sequence[Claim]) -> dict[tuple[int, Level], Claim]:
    """Return the test that decides on each comparison, at each level.

    The narrowest of the significant ones, which says most; else the narrowest of all; of equally
    narrow ones the first.
    """
    found: dict[tuple[int, Level], Claim] = {}
    for claim in sorted(claims, key=lambda one: (not one.significant, len(one.shift.cells))):
        for i in claim.of:
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
    single = [one.shift for one in claims if one.significant and one.shift.metric != TOGETHER]
    for claim in filter(lambda one: one.significant, claims):
        shift = claim.shift
        least = math.log1p(comparisons[shift.cells[0]].tolerance) / 2
        red = sign > 0 and any(verdicts[i].kind is VerdictKind.REGRESSED for i in shift.cells)
        several = shift.scope != "cell" and (red or shift.change > least)
        # Once is enough: from one level, and of the whole where no single metric shows it.
        several &= shift.level != "anchor" or shift.key[:3] not in shown
        several &= shift.metric != TOGETHER or not any(
            one.scope == shift.scope and set(one.cells) & set(shift.cells) for one in single
        )
        finding = _finding(claim, comparisons, sign=sign) if several else None
        told.append(claim._replace(finding=finding))
    return tuple(told)


def _finding(claim: Claim, comparisons: Sequence[Comparison], *, sign: int) -> Finding:
    """Put a claim about several cells into words; ``sign`` -1 is for the better."""
    shift, model = claim.shift, comparisons[claim.shift.cells[0]].model
    sign_of_value = sign * worse_sign(shift.metric)
    change = relative(sign_of_value * shift.change)
    limit = relative(sign_of_value * shift.error.limit(claim.level))
    one_model = all(comparisons[i].model == model for i in shift.cells)
    whole = shift.scope == "run"
    cause = (_CAUSE_OF_ONE if one_model else _COMMON_CAUSE) if whole else ""
    of = {"run": "the whole run", "model": f"{model} as a whole", "cell": "this cell"}[shift.scope]
    what = f"{title_of(shift.metric)} of {of}"
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
