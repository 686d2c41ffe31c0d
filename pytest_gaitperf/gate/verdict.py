"""Measurement x baseline x policy -> verdict: pure, without pytest, files or sockets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.results import Scope

_UNKNOWN_WINDOWS = 6
_DOF_PER_WINDOW = 0.7
# Two values that differ by rounding alone are equal: a tolerance of 5 % is not exceeded by 1.05.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as a regression.

    ``tolerance``: the relative change that does not matter (0.05 is 5 %), as a ratio of the worse
    to the better value, so that it means the same for a latency and for its inverse, a rate:
    latency may rise to 1.05 of the baseline, throughput may fall to 1/1.05. ``alpha``: the
    false-alarm probability of the whole run. ``comparisons``: how many metrics x cells this run
    gates; alpha is shared among them. ``floor``: the between-session SD (relative) below which no
    provisional verdict believes a session to be, however quiet its windows.
    """

    tolerance: float = 0.05
    alpha: float = 0.01
    comparisons: int = 1
    floor: float = 0.025

    def __post_init__(self) -> None:
        """Refuse what cannot be a policy."""
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ConfigurationError(
                f"tolerance {self.tolerance}: give a relative change of 0 or more (0.05 is 5 %)"
            )
        if not 0 < self.alpha < 1:
            raise ConfigurationError(f"alpha {self.alpha}: give a probability between 0 and 1")
        if self.comparisons < 1:
            raise ConfigurationError(f"comparisons {self.comparisons}: give 1 or more")
        if not (math.isfinite(self.floor) and self.floor >= 0):
            raise ConfigurationError(f"floor {self.floor}: give a relative SD of 0 or more")


@dataclass(frozen=True, slots=True)
class SessionValue:
    """One session's value of one metric of one cell, in the metric's unit.

    ``spread`` is the SD of the log of its windows' values, None or NaN where it is unknown. ``n``
    is the number of those windows, 0 where it is unknown (then 6 is assumed).
    """

    value: float
    spread: float | None
    n: int = 0


class Recorded(Protocol):
    """A session's value as a baseline holds it: read as ``SessionValue`` is."""

    @property
    def value(self) -> float: ...  # noqa: D102 - as of SessionValue
    @property
    def spread(self) -> float | None: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one metric of one cell stands against its baseline, on the natural-log scale.

    ``centre`` is the mean of the sessions' logs, ``worse`` this session's distance from it, up is
    worse. ``now`` is in the metric's unit.
    """

    metric: str
    now: float
    sessions: int
    centre: float
    worse: float

    @property
    def sign(self) -> int:
        """What turns a distance for the worse into a change of the value: +1 or -1."""
        return METRICS[self.metric].worse_sign


def judge(
    metric: str,
    now: Recorded,
    sessions: Sequence[Recorded],
    policy: Policy,
    prior: VariancePrior | None = None,
) -> Verdict:
    """Judge one metric against the baseline's sessions.

    Everything happens on the log scale. With y the logs, the change for the worse is
    ``d = +-(log now - mean y)``, its sign from the metric's direction. A regression is a d beyond
    the tolerance, ``log(1 + tolerance)``, **and** beyond the noise, one-sided at
    ``alpha / comparisons`` (Bonferroni over the run). Beyond the tolerance but within the noise
    is inconclusive. A -d beyond both is an improvement. All else passes.

    *Three sessions or more*: the noise is the prediction limit over the sessions
    (``stats.prediction``), its variance moderated across cells where a ``prior`` is given. Give
    it whenever other cells exist: without it, 3 sessions have 2 degrees of freedom and hear
    almost nothing at a shared alpha.

    *One or two sessions* (m of them): **provisional**. No between-session variance can be
    estimated, so it is built from the windows. On a noisy machine windows had a CV of 15 % and
    session means an SD of 14 %, because windows are autocorrelated and sessions drift: a session's
    mean is off by about as much as one of its windows. So ``v = floor^2 + w^2`` with w the root
    mean square of the windows' spreads of this and the baseline's sessions, and at least the
    prior's variance where one is given. The noise is ``t * sqrt(v * (1 + 1/m))``, where t has
    ``nu (v / w^2)^2`` degrees of freedom (Satterthwaite 1946: the floor is known, w is not) and
    ``nu = 0.7 sum (n - 1)``, fewer than the windows since they are autocorrelated. The floor is
    there since a suspiciously quiet pair must not alarm at exactly the tolerance. The 0.7 and the
    floor's default were set by simulation: at most 3 % of runs of 48 such comparisons alarm
    falsely at session SDs of 3 % and 14 % (``tests/gate``).

    A value that is not finite and positive, on either side, makes the verdict invalid, never a
    pass. Raises KeyError for a metric that ``METRICS`` does not have.
    """
    stand = standing(metric, now, sessions)
    if isinstance(stand, Verdict):
        return stand
    scale, dof = noise_of(now, sessions, policy.floor, prior)
    noise = math.inf
    if math.isfinite(scale):
        # Imported here: scipy takes longer than the 10 ms that an unused plugin may cost.
        from pytest_gaitperf.gate.prediction import upper_quantile  # noqa: PLC0415

        noise = upper_quantile(policy.alpha / policy.comparisons, dof) * scale
    return settle(
        stand,
        policy.tolerance,
        noise,
        beyond=stand.worse > noise + _ROUNDING,
        better=-stand.worse > noise + _ROUNDING,
    )


def standing(metric: str, now: Recorded, sessions: Sequence[Recorded]) -> Standing | Verdict:
    """Return where a value stands, or the verdict where it cannot be compared: see ``judge``."""
    fault = _fault(now, "this session's")
    if fault:
        return Verdict(metric, VerdictKind.INCOMPARABLE, fault, sessions=len(sessions))
    for session in sessions:
        fault = _fault(session, "the baseline's")
        if fault:
            return Verdict(
                metric, VerdictKind.INCOMPARABLE, fault, now=now.value, sessions=len(sessions)
            )
    if not sessions:
        return Verdict(
            metric,
            VerdictKind.MISSING,
            f"{_shown(metric, now.value)}: there is no baseline to compare it with",
            now=now.value,
        )
    centre = math.fsum(math.log(session.value) for session in sessions) / len(sessions)
    worse = METRICS[metric].worse_sign * (math.log(now.value) - centre)
    return Standing(metric, now.value, len(sessions), centre, worse)


def noise_of(
    now: Recorded,
    sessions: Sequence[Recorded],
    floor: float,
    prior: VariancePrior | None,
) -> tuple[float, float]:
    """Return the standard error of one more session and its degrees of freedom: see ``judge``.

    On the natural-log scale; inf where nothing tells it. One session at least is needed.
    """
    if len(sessions) < ENOUGH_SESSIONS:
        return _provisional_noise(now, sessions, floor, prior)
    from pytest_gaitperf.gate.prediction import prediction_limit  # noqa: PLC0415 - as above

    prediction = prediction_limit([math.log(s.value) for s in sessions], 0.5, prior)
    return prediction.scale, prediction.dof


def settle(
    stand: Standing,
    tolerance: float,
    noise: float,
    *,
    beyond: bool,
    better: bool,
    limit: float | None = None,
    scope: Scope = "cell",
    why: str = "",
) -> Verdict:
    """Turn where a value stands into its verdict.

    ``noise`` is the allowance on either side of the change, ``beyond`` and ``better`` whether it
    was exceeded for the worse and for the better, ``limit`` the distance from the baseline where it
    is, ``noise`` itself unless given: all on the log scale. ``why`` explains a regression.
    """
    worse, sign, known = stand.worse, stand.sign, math.isfinite(noise)
    least = math.log1p(tolerance)
    if worse > least + _ROUNDING:
        state = VerdictKind.REGRESSED if beyond else VerdictKind.INCONCLUSIVE
    elif better and -worse > least + _ROUNDING:
        state = VerdictKind.IMPROVED
    else:
        state = VerdictKind.PASS
    change = worse * sign
    limit = max(least, noise if limit is None else limit)
    moved = relative(change)
    turns = relative(sign * limit) if known else None
    baseline = math.exp(stand.centre)
    return Verdict(
        stand.metric,
        state,
        _reason(stand, state, (baseline, moved, turns), tolerance, why),
        baseline=baseline,
        now=stand.now,
        change=moved,
        low=relative(change - noise) if known else None,
        high=relative(change + noise) if known else None,
        limit=turns,
        sessions=stand.sessions,
        provisional=stand.sessions < ENOUGH_SESSIONS,
        scope=scope,
    )


def confirm(first: Verdict, second: Verdict) -> Verdict:
    """Keep a regression only where an independent re-measurement finds it too.

    ``first`` comes back unchanged unless it is a regression. A confirmed one carries the second
    measurement's numbers, which no selection of suspects has biased; one that is not confirmed is
    inconclusive and tells both. Raises ValueError for verdicts on different metrics.
    """
    if first.metric != second.metric:
        raise ValueError(f"confirm: {first.metric} and {second.metric} are different metrics")
    if first.kind is not VerdictKind.REGRESSED:
        return first
    if second.kind is VerdictKind.REGRESSED:
        again = "" if first.now is None else f"; first {_shown(first.metric, first.now)}"
        return replace(second, reason=f"{second.reason}; confirmed by re-measurement{again}")
    return replace(
        first,
        state=VerdictKind.INCONCLUSIVE,
        reason=(
            f"a regression that a re-measurement did not confirm: first {first.reason}; "
            f"then {second.kind.value}: {second.reason}"
        ),
    )


def variance_prior(cells: Iterable[Sequence[Recorded]]) -> VariancePrior | None:
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
    from pytest_gaitperf.gate.prediction import fit_prior  # noqa: PLC0415 - as above

    return fit_prior(variances, dofs)


def _provisional_noise(
    now: Recorded,
    sessions: Sequence[Recorded],
    floor: float,
    prior: VariancePrior | None,
) -> tuple[float, float]:
    """Return ``noise_of`` for one or two sessions."""
    known = [
        (session.spread, session.n or _UNKNOWN_WINDOWS)
        for session in (now, *sessions)
        if session.spread is not None and not math.isnan(session.spread)
    ]
    if not known:
        return math.inf, math.inf
    w2 = math.fsum(spread**2 for spread, _ in known) / len(known)
    variance = floor**2 + w2
    dof = math.inf
    if w2 > variance * 1e-6:  # below that, t is the normal distribution to every digit
        nu = _DOF_PER_WINDOW * sum(max(n - 1, 1) for _, n in known)
        dof = nu * (variance / w2) ** 2
    if prior is not None:
        variance = max(variance, prior.variance)
    return math.sqrt(variance * (1 + 1 / len(sessions))), dof


def _fault(session: Recorded, whose: str) -> str | None:
    """Say why this value cannot be judged, None when it can."""
    if not (math.isfinite(session.value) and session.value > 0):
        return f"{whose} value is {session.value}, not a positive number: measure it again"
    spread = session.spread
    if spread is not None and (math.isinf(spread) or spread < 0):
        return f"{whose} spread is {spread}, not a standard deviation: measure it again"
    return None


def relative(log_change: float) -> float:
    """Turn a difference of logs into a relative change, inf where no float holds it."""
    try:
        return math.expm1(log_change)
    except OverflowError:
        return math.inf


def _digits(value: float) -> str:
    """Format with three significant digits, and no exponent where a reader needs none."""
    if not 1e-4 <= value < 1e7:  # noqa: PLR2004 - beyond any device, but still one short line
        return f"{value:.2e}"
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"


def _shown(metric: str, value: float) -> str:
    unit = METRICS[metric]
    return f"{_digits(value * unit.scale)} {unit.display_unit}"


def percent(change: float | None) -> str:
    """Say how large a relative change is, without its sign."""
    return "unknown" if change is None or math.isinf(change) else f"{abs(change) * 100:.1f} %"


def _reason(
    stand: Standing,
    state: VerdictKind,
    numbers: tuple[float, float, float | None],
    tolerance: float,
    why: str,
) -> str:
    """Say a verdict in one line; ``numbers`` are its baseline, its change and its limit."""
    baseline, change, limit = numbers
    unit = METRICS[stand.metric]
    reference = _digits(baseline * unit.scale)
    side = "above" if change > 0 else "below"
    now = f"{_digits(stand.now * unit.scale)} {unit.display_unit}"
    moved = f"{now} is {percent(change)} {side} the baseline {reference}"
    if why and state is VerdictKind.REGRESSED:
        return f"{moved}: {why}"
    plural = "" if stand.sessions == 1 else "s"
    basis = f"{stand.sessions} session{plural}"
    if stand.sessions < ENOUGH_SESSIONS:
        basis += f": provisional; record {ENOUGH_SESSIONS - stand.sessions} more"
    if state is VerdictKind.INCONCLUSIVE:
        noise = (
            "no session's windows tell the noise"
            if limit is None
            else f"within the noise of {percent(limit)}"
        )
        return f"{moved}: beyond the tolerance of {percent(tolerance)}, {noise} ({basis})"
    if state is VerdictKind.IMPROVED:
        return f"{moved}: better beyond noise, record it to tighten the gate ({basis})"
    return f"{moved} (limit {percent(limit)}, {basis})"
