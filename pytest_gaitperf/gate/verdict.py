"""A session's value against the baseline's sessions: where it stands, its noise, its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.gate.scopes import CellLogs
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, METRICS
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.text import count, percent, scaled, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.gate.scopes import Level
    from pytest_gaitperf.measurement import SessionValue
    from pytest_gaitperf.results import Scope

FLOOR = 0.03
"""The SD (relative) by which sessions may always differ, beyond what their lives say: a machine is
not the same on another day."""

TYPICAL = 0.12
"""The SD of a session (relative) where no session has more than one life: the largest that was
seen between quiet sessions of models served by a CPU."""

_DAYS = 1.5
_LIKE_LIVES = 4.0  # the weight of what is typical of a metric's cells, in degrees of freedom
_NOTHING = 1e-6
# Two values that differ by rounding alone are equal: a tolerance of 5 % is not exceeded by 1.05.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one cell, to be compared with its baseline.

    ``sessions`` are the comparable ones of the baseline by id. ``tolerance`` is the relative change
    that does not matter (0.05 is 5 %), as a ratio of the worse to the better value, so that it
    means the same for a latency and for its inverse, a rate: latency may rise to 1.05 of the
    baseline, throughput may fall to 1/1.05. So is ``must_hear``, which may not go unheard. ``cell``
    tells which comparisons are of one cell; "" is one by itself.
    """

    model: str
    metric: str
    now: SessionValue
    sessions: Mapping[str, SessionValue]
    tolerance: float = 0.05
    must_hear: float = 0.25
    cell: str = ""


def standing(comparison: Comparison) -> CellLogs | Verdict:
    """Return where a value stands, or the verdict where it cannot be compared.

    A value that is not finite and positive, on either side, is incomparable, never a pass; but
    nothing at all, where there was more, is a regression: it counts as a millionth of that.
    """
    metric, now, sessions = comparison.metric, comparison.now, comparison.sessions
    sign = METRICS[metric].worse_sign
    none = sign < 0 and now.value == 0
    fault = None if none else _fault(now, "this session's")
    shown_now = None if fault else now.value
    for session in sessions.values():
        fault = fault or _fault(session, "the baseline's")
    if fault:
        kind = VerdictKind.INCOMPARABLE
        return Verdict(metric, kind, fault, now=shown_now, sessions=len(sessions))
    if not sessions:
        why = f"{shown(metric, now.value)}: there is no baseline to compare it with"
        return Verdict(metric, VerdictKind.MISSING, why, now=now.value)
    past = {name: sign * math.log(session.value) for name, session in sessions.items()}
    value = _NOTHING * min(one.value for one in sessions.values()) if none else now.value
    log = sign * math.log(value)
    return CellLogs(comparison.model, past, log, metric, cell=comparison.cell)


def session_noise(
    cells: Sequence[Sequence[SessionValue]], floor: float = 1.0
) -> list[tuple[float, float]]:
    """Return the variance of a session of each cell as its lives suggest it, and the least one.

    ``cells`` have one metric's values in all sessions that are compared, this one's too. With w the
    SD of a life, the mean of some lives varies by ``w^2 / lives``: no session varies less. Days
    differ too: a session is assumed to vary by half as much again, and by ``FLOOR^2``. A cell's w^2
    is drawn towards the median of all cells', with a weight of 4 degrees of freedom; a median knows
    no single noisy cell. Where no session has a second life, ``TYPICAL`` stands for the whole.
    ``floor`` is the metric's: so many times the usual floor. Of the usual whole it takes no more
    than that: what it allows for a metric of large steps is in the whole already.
    """
    own = []
    for sessions in cells:
        known = [one for one in sessions if one.lives > 1 and _known(one.spread)]
        dof = sum(one.lives - 1 for one in known)
        squares = math.fsum((one.lives - 1) * (one.spread or 0.0) ** 2 for one in known)
        lives = fmean(one.lives for one in known) if known else 1.0
        own.append((squares / dof if dof else 0.0, dof, lives))
    of_lives = [square / _median_share(dof) for square, dof, _ in own if dof]
    if not of_lives:
        return [(max(min(floor, 1.0) * TYPICAL, floor * FLOOR) ** 2, 0.0) for _ in cells]
    usual = median(of_lives)
    found = []
    for square, dof, lives in own:
        w2 = (_LIKE_LIVES * usual + dof * square) / (_LIKE_LIVES + dof)
        found.append(((floor * FLOOR) ** 2 + _DAYS * w2 / lives, w2 / lives))
    return found


def _median_share(dof: float) -> float:
    """Return the median of a sample variance in units of the true one (Wilson and Hilferty)."""
    return float((1 - 2 / (9 * dof)) ** 3)


def settle(
    comparison: Comparison,
    logs: CellLogs,
    level: Level,
    noise: float,
    limit: float,
    *,
    beyond: bool,
    better: bool,
    scope: Scope,
    why: str = "",
) -> Verdict:
    """Turn where a value stands into its verdict.

    ``level`` is what its change counts from, ``noise`` the allowance on either side of the change,
    ``beyond`` and ``better`` whether it was exceeded for the worse and for the better, ``limit``
    the distance from the level where it is: all on the log scale. ``why`` explains a regression.
    """
    metric, now, sessions = comparison.metric, comparison.now.value, len(comparison.sessions)
    anchored = level == "anchor"
    centre = logs.anchor if anchored else logs.centre
    sign, worse = METRICS[metric].worse_sign, logs.now - centre
    least = math.log1p(comparison.tolerance)
    if worse > least + _ROUNDING:
        kind = VerdictKind.REGRESSED if beyond else VerdictKind.INCONCLUSIVE
    elif better and -worse > least + _ROUNDING:
        kind = VerdictKind.IMPROVED
    else:
        kind = VerdictKind.PASS
    baseline, change = math.exp(sign * centre), relative(sign * worse)
    turns = relative(sign * max(least, limit))
    basis = count(ANCHOR_SESSIONS if anchored else sessions, "session")
    ends = {
        VerdictKind.REGRESSED: f": {why}" if why else f" (limit {percent(turns)}, {basis})",
        VerdictKind.IMPROVED: f": better beyond noise, record it to tighten the gate ({basis})",
        VerdictKind.PASS: f" (limit {percent(turns)}, {basis})",
        VerdictKind.INCONCLUSIVE: f": beyond the tolerance of {comparison.tolerance:.1%}, "
        f"within the noise of {percent(turns)} ({basis})",
    }
    what = "accepted level (it crept since)" if anchored else "baseline"
    moved = f"{percent(change) or 'far'} from the {what} of {scaled(metric, baseline)}"
    return Verdict(
        metric,
        kind,
        f"{shown(metric, now)}, {moved}{ends[kind]}",
        baseline=baseline,
        now=now,
        change=change,
        low=relative(sign * worse - noise),
        high=relative(sign * worse + noise),
        limit=turns,
        sessions=sessions,
        scope=scope,
        anchor=math.exp(sign * logs.anchor) if sessions > ANCHOR_SESSIONS else None,
        must_hear=comparison.must_hear,
    )


def confirm(first: Verdict, second: Verdict) -> Verdict:
    """Keep a regression only where an independent re-measurement finds it too.

    A confirmed one carries the second measurement's numbers, which no selection of suspects has
    biased; one that is not confirmed is inconclusive and tells both.
    """
    if second.kind is VerdictKind.REGRESSED:
        again = f"confirmed by re-measurement; first {shown(first.metric, first.now)}"
        return replace(
            second,
            reason=f"{second.reason}; {again}",
            sensitivity=first.sensitivity,
            sharpen=first.sharpen,
            more_sessions=first.more_sessions,
        )
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


def _known(spread: float | None) -> bool:
    return spread is not None and not math.isnan(spread)
