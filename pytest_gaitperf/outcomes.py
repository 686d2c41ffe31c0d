"""What verdicts, limits, cells and a run come to: red, green or unmeasured.

It is decided here alone; every output shows what ``settled`` has filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.metrics import METRICS, of_energy
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_gaitperf.results import Cell, LimitCheck, Policy, Run, Verdict


def verdict_outcome(
    verdict: Verdict, policy: Policy, *, paired: bool, confirmed: bool = True
) -> Outcome:
    """Return what one verdict of a cell comes to.

    A regression is red unless it is accepted; one that could not be confirmed is none. Without a
    baseline, or with none that compares, nothing was shown: that is unmeasured, unless this run
    records it. In pairs a new model has nothing to be compared with, which is no fault of its
    change. Where a change that had to be heard could have gone unheard, nothing was shown either;
    with ``strict``, where any change beyond the tolerance may be noise.
    """
    if verdict.kind is VerdictKind.REGRESSED:
        found = Outcome.RED if confirmed else Outcome.UNMEASURED
        return Outcome.GREEN if policy.accept_regressions else found
    if verdict.kind is VerdictKind.MISSING:
        shown = paired or policy.update != "none"
    elif verdict.kind is VerdictKind.INCOMPARABLE:
        shown = paired or policy.update == "all"
    else:
        open_ = policy.strict and verdict.kind is VerdictKind.INCONCLUSIVE
        shown = not (open_ or verdict.unheard)
    return Outcome.GREEN if shown else Outcome.UNMEASURED


def limit_outcome(check: LimitCheck, policy: Policy) -> Outcome:
    """Return what one limit comes to.

    With ``strict`` the whole interval must be within. What could not be measured is unmeasured,
    but for energy where the user said that it is not measured here.
    """
    if check.state is LimitState.VIOLATED:
        return Outcome.RED
    if check.state is LimitState.MET:
        return Outcome.UNMEASURED if policy.strict and not check.certain else Outcome.GREEN
    excused = policy.no_energy and of_energy(check.metric)
    return Outcome.GREEN if excused else Outcome.UNMEASURED


def settled(run: Run) -> Run:
    """Return the run with the outcome, and its reasons, of every cell and of the whole filled in.

    The only place where an outcome is decided.
    """
    paired, limits = bool(run.against), run.unchecked_limits if run.full_run else ()
    cells = tuple(settled_cell(cell, run.policy, paired=paired) for cell in run.cells)
    found = [
        *((cell.outcome, f"{cell.id}: {reason}") for cell in cells for reason in cell.reasons),
        *((Outcome.RED, f"{test} failed") for test in run.failed_tests),
        *((Outcome.UNMEASURED, f"{test} has no verdict") for test in run.unmeasured_tests),
        *((Outcome.UNMEASURED, why) for why in (*run.unjudged, *run.problems)),
        *((Outcome.UNMEASURED, f"no test of this run checked {limit}") for limit in limits),
    ]
    kinds = {verdict.kind for cell in cells for verdict in cell.verdicts.values()}
    if paired and kinds and kinds <= {VerdictKind.MISSING, VerdictKind.INCOMPARABLE}:
        found.append((Outcome.UNMEASURED, f"nothing could be compared with {run.against}"))
    worst, reasons = _worst(found)
    return replace(run, cells=cells, outcome=worst, reasons=reasons)


def settled_cell(cell: Cell, policy: Policy, *, paired: bool) -> Cell:
    """Return the cell with its outcome and its reasons filled in, for what it holds."""
    outcome, reasons = _worst(_cell_outcomes(cell, policy, paired=paired))
    return replace(cell, outcome=outcome, reasons=reasons)


def _cell_outcomes(cell: Cell, policy: Policy, *, paired: bool) -> Iterator[tuple[Outcome, str]]:
    if (why := cell.unmeasured) is not None:
        yield Outcome.UNMEASURED, why
        return
    for verdict in cell.verdicts.values():
        confirmed = cell.unconfirmed is None
        outcome = verdict_outcome(verdict, policy, paired=paired, confirmed=confirmed)
        yield outcome, f"{METRICS[verdict.metric].title} {verdict.word}: {cell.why(verdict)}"
    for check in cell.limits:
        said = f"{check.limit}: {check.state.value}"
        yield limit_outcome(check, policy), said + (f": {check.absent}" if check.absent else "")
    for quantity, why in cell.lacking.items():
        yield Outcome.UNMEASURED, f"{quantity}: {why}"


def _worst(found: Iterable[tuple[Outcome, str]]) -> tuple[Outcome, tuple[str, ...]]:
    """Return the worst outcome, and the reasons of all that are not green, the worst first."""
    bad = [one for one in found if one[0] is not Outcome.GREEN]
    bad.sort(key=lambda one: one[0] is not Outcome.RED)
    return (bad[0][0] if bad else Outcome.GREEN), tuple(reason for _, reason in bad)
