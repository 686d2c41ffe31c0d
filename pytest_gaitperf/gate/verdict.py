"""A session's value against the baseline's sessions: where it stands, its noise, its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.gate.prediction import fit_prior, predict
from pytest_gaitperf.gate.scopes import CellLogs
from pytest_gaitperf.metrics import ENOUGH_SESSIONS, METRICS
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.text import count, percent, scaled, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.measurement import SessionValue
    from pytest_gaitperf.results import Scope

FLOOR = 0.025
"""The between-session SD (relative) below which no provisional verdict takes a session to be,
however quiet its lives: a quiet pair must not alarm at exactly the tolerance."""

TYPICAL = 0.12
"""The SD of a session (relative) where no session has more than one life: the largest that was
seen between quiet sessions of models served by a CPU."""

_NEARLY_NORMAL = 1e-6
# Two values that differ by rounding alone are equal: a tolerance of 5 % is not exceeded by 1.05.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one cell, to be compared with its baseline.

    ``sessions`` are the comparable ones of the baseline by id. ``tolerance`` is the relative change
    that does not matter (0.05 is 5 %), as a ratio of the worse to the better value, so that it
    means the same for a latency and for its inverse, a rate: latency may rise to 1.05 of the
    baseline, throughput may fall to 1/1.05.
    """

    model: str
    metric: str
    now: SessionValue
    sessions: Mapping[str, SessionValue]
    tolerance: float = 0.05


def standing(comparison: Comparison) -> CellLogs | Verdict:
    """Return where a value stands, or the verdict where it cannot be compared.

    A value that is not finite and positive, on either side, is incomparable, never a pass.
    """
    metric, now, sessions = comparison.metric, comparison.now, comparison.sessions
    fault = _fault(now, "this session's")
    shown_now = None if fault else now.value
    for session in sessions.values():
        fault = fault or _fault(session, "the baseline's")
    if fault:
        kind = VerdictKind.INCOMPARABLE
        return Verdict(metric, kind, fault, now=shown_now, sessions=len(sessions))
    if not sessions:
        why = f"{shown(metric, now.value)}: there is no baseline to compare it with"
        return Verdict(metric, VerdictKind.MISSING, why, now=now.value)
    sign = METRICS[metric].worse_sign
    past = {name: sign * math.log(session.value) for name, session in sessions.items()}
    return CellLogs(comparison.model, past, sign * math.log(now.value), metric)


def noise_of(
    now: SessionValue, sessions: Sequence[SessionValue], prior: VariancePrior | None
) -> tuple[float, float]:
    """Return the standard error of one more session (log scale), and its degrees of freedom.

    The standard error is inf where nothing tells it. One session at least is needed.

    *Three sessions or more*: the prediction of one more of them (``gate.prediction``), its variance
    moderated across cells where a ``prior`` is given. Give it whenever other cells exist: without
    it, 3 sessions have 2 degrees of freedom and detect almost nothing at a shared alpha.

    *One or two sessions* (m of them): **provisional**. No between-session variance can be
    estimated, so it is built from the lives: ``v = FLOOR^2 + w^2`` with w the root mean square of
    the spreads between the lives of this and the baseline's sessions, and at least the prior's
    variance where one is given. The standard error is ``sqrt(v * (1 + 1/m))``, with
    ``nu (v / w^2)^2`` degrees of freedom (Satterthwaite 1946: the floor is known, w is not) and
    ``nu = sum (lives - 1)``. Where no session has a second life, w is ``TYPICAL``.
    """
    if len(sessions) >= ENOUGH_SESSIONS:
        prediction = predict([math.log(session.value) for session in sessions], prior)
        return prediction.scale, prediction.dof
    known = [
        (session.spread, session.lives)
        for session in (now, *sessions)
        if session.spread is not None and not math.isnan(session.spread)
    ]
    w2 = TYPICAL**2
    if known:
        w2 = math.fsum(spread**2 for spread, _ in known) / len(known)
    variance = FLOOR**2 + w2
    dof = math.inf
    if known and w2 > variance * _NEARLY_NORMAL:
        nu = sum(max(lives - 1, 1) for _, lives in known)
        dof = nu * (variance / w2) ** 2
    if prior is not None:
        variance = max(variance, prior.variance)
    return math.sqrt(variance * (1 + 1 / len(sessions))), dof


def variance_prior(cells: Iterable[Sequence[SessionValue]]) -> VariancePrior | None:
    """Learn the prior of one metric's between-session variance from all cells of a profile.

    ``cells`` holds, for each cell, the comparable sessions' values of that metric. None where no
    cell has two usable sessions that differ.
    """
    variances: list[float] = []
    dofs: list[int] = []
    for sessions in cells:
        logs = [math.log(s.value) for s in sessions if _fault(s, "") is None]
        dof = len(logs) - 1
        if dof >= 1:
            centre = math.fsum(logs) / len(logs)
            variances.append(math.fsum((log - centre) ** 2 for log in logs) / dof)
            dofs.append(dof)
    if not any(variance > 0 for variance in variances):
        return None
    return fit_prior(variances, dofs)


def settle(
    comparison: Comparison,
    logs: CellLogs,
    noise: float,
    limit: float,
    *,
    beyond: bool,
    better: bool,
    scope: Scope,
    why: str = "",
) -> Verdict:
    """Turn where a value stands into its verdict.

    ``noise`` is the allowance on either side of the change, ``beyond`` and ``better`` whether it
    was exceeded for the worse and for the better, ``limit`` the distance from the baseline where it
    is: all on the log scale. ``why`` explains a regression.
    """
    metric, now, sessions = comparison.metric, comparison.now.value, len(comparison.sessions)
    sign, worse, known = METRICS[metric].worse_sign, logs.now - logs.centre, math.isfinite(noise)
    least = math.log1p(comparison.tolerance)
    if worse > least + _ROUNDING:
        kind = VerdictKind.REGRESSED if beyond else VerdictKind.INCONCLUSIVE
    elif better and -worse > least + _ROUNDING:
        kind = VerdictKind.IMPROVED
    else:
        kind = VerdictKind.PASS
    baseline, change = math.exp(sign * logs.centre), relative(sign * worse)
    turns = relative(sign * max(least, limit)) if known else None
    provisional = sessions < ENOUGH_SESSIONS
    basis = count(sessions, "session")
    if provisional:
        basis += f": provisional; record {ENOUGH_SESSIONS - sessions} more"
    told = "unknown" if turns is None else percent(turns)
    ends = {
        VerdictKind.REGRESSED: f": {why}" if why else f" (limit {told}, {basis})",
        VerdictKind.IMPROVED: f": better beyond noise, record it to tighten the gate ({basis})",
        VerdictKind.PASS: f" (limit {told}, {basis})",
        VerdictKind.INCONCLUSIVE: f": beyond the tolerance of {comparison.tolerance:.1%}, "
        + (f"within the noise of {told}" if known else "no session's windows tell the noise")
        + f" ({basis})",
    }
    moved = f"{percent(change) or 'far'} from the baseline of {scaled(metric, baseline)}"
    return Verdict(
        metric,
        kind,
        f"{shown(metric, now)}, {moved}{ends[kind]}",
        baseline=baseline,
        now=now,
        change=change,
        low=relative(sign * worse - noise) if known else None,
        high=relative(sign * worse + noise) if known else None,
        limit=turns,
        sessions=sessions,
        provisional=provisional,
        scope=scope,
    )


def confirm(first: Verdict, second: Verdict) -> Verdict:
    """Keep a regression only where an independent re-measurement finds it too.

    A confirmed one carries the second measurement's numbers, which no selection of suspects has
    biased; one that is not confirmed is inconclusive and tells both.
    """
    if second.kind is VerdictKind.REGRESSED:
        again = f"confirmed by re-measurement; first {shown(first.metric, first.now)}"
        return replace(second, reason=f"{second.reason}; {again}")
    return replace(
        first,
        kind=VerdictKind.INCONCLUSIVE,
        reason=(
            f"a regression that a re-measurement did not confirm: first {first.reason}; "
            f"then {second.kind.value}: {second.reason}"
        ),
    )


def relative(log_change: float) -> float:
    """Turn a difference of logs into a relative change, inf where no float holds it."""
    try:
        return math.expm1(log_change)
    except OverflowError:
        return math.inf


def _fault(session: SessionValue, whose: str) -> str | None:
    """Say why this value cannot be judged, None when it can."""
    if not (math.isfinite(session.value) and session.value > 0):
        return f"{whose} value is {session.value}, not a positive number: measure it again"
    spread = session.spread
    if spread is not None and (math.isinf(spread) or spread < 0):
        return f"{whose} spread is {spread}, not a standard deviation: measure it again"
    return None
