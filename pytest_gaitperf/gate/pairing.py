"""Sequential paired comparison of two models, robust to outliers, and its verdicts.

The data are log-ratios of pairs: log(candidate / reference), with the sign that makes a change for
the worse positive. Which of the two went first in each pair was drawn by a fair coin. So, where
nothing differs, each ratio is as likely to have either sign whatever the machine did meanwhile: the
tests here are randomisation tests, and no assumption about noise, drift or autocorrelation enters
their error rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.text import scaled, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measurement import Measurement

DOUBT = 0.1
"""How often a change of exactly the tolerance may pass, and how often it may be red."""

_FIRST_STAGE = 6
_STAGE_RATIO = 1.5
_SPENDING_POWER = 2.0
# Two values that differ by rounding alone are equal, as in ``verdict``.
_ROUNDING = 1e-9


class Stage(NamedTuple):
    """A planned analysis of the data: after how many pairs, and its share of the levels."""

    pairs: int
    share: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What ``pairs`` ratios say, on the natural-log scale, positive for the worse.

    ``change`` is the Hodges-Lehmann estimate, ``low`` and ``high`` are its limits, each one-sided
    at the stage's share of ``DOUBT``; -inf and inf where so few pairs give none. ``kind`` is
    regressed, improved or pass, None while nothing is decided.
    """

    pairs: int
    change: float
    low: float
    high: float
    kind: VerdictKind | None


def plan(maximum: int) -> tuple[Stage, ...]:
    """Plan stages for up to ``maximum`` pairs: each at two thirds of the next, from 6 on.

    At n of N pairs ``(n/N)^2`` of a level is spent (Kim and DeMets 1987, Biometrika 74, the power
    family), and each stage is tested at what it adds: by Bonferroni's inequality all stages keep
    the level, however their tests depend on one another. The shares add up to 1, and the last is
    more than half.
    """
    counts = [maximum]
    while counts[-1] / _STAGE_RATIO >= _FIRST_STAGE:
        counts.append(int(counts[-1] / _STAGE_RATIO))
    counts.append(0)
    spent = [(count / maximum) ** _SPENDING_POWER for count in reversed(counts)]
    return tuple(
        Stage(count, after - before)
        for count, before, after in zip(reversed(counts[:-1]), spent, spent[1:], strict=False)
    )


def pairs_needed(level: float) -> int:
    """Return the fewest pairs that can reject at ``level``: all of one sign have chance 2^-n."""
    return math.ceil(-math.log2(level))


def compare(worse: Sequence[float], share: float, alpha: float, tolerance: float) -> Effect:
    """Judge the pairs so far, at a stage that spends ``share`` of the levels.

    ``worse`` holds the log-ratios, shape (pairs,), at least one and all finite. ``alpha`` is the
    false-alarm probability of this comparison over all stages, ``tolerance`` the relative change
    that does not matter (0.05 is 5 %).

    *Regressed*: worse at all, at alpha's share, **and** beyond the tolerance at ``DOUBT``'s share.
    The first bounds false alarms where nothing changed, the second where a change lies within the
    tolerance: two copies of one model need not be equal to the per mille (memory, placement).
    *Improved* is the mirror image. *Pass*: the upper limit at ``DOUBT``'s share lies below the
    tolerance, and the estimate does not hint at an improvement that more pairs may prove.

    The estimate is the median of the Walsh averages (d_i + d_j) / 2, i <= j, and the limits are
    order statistics of them (Hodges and Lehmann 1963; Hollander, Wolfe and Chicken, Nonparametric
    Statistical Methods, 3.2 and 3.3): the inversion of Wilcoxon's signed-rank test, with its exact
    distribution. An average of exactly a limit counts for neither side, so ties only make it more
    careful.
    """
    ratios = np.asarray(worse, dtype=np.float64)
    if ratios.size == 0 or not np.isfinite(ratios).all():
        raise ValueError("compare: at least one pair, and every ratio finite")
    averages = _walsh_averages(ratios)
    margin = math.log1p(tolerance)
    surely_low, surely_high = _limits(averages, ratios.size, alpha * share)
    low, high = _limits(averages, ratios.size, DOUBT * share)
    change = float(np.median(averages))
    kind: VerdictKind | None = None
    if surely_low > 0 and low > margin + _ROUNDING:
        kind = VerdictKind.REGRESSED
    elif surely_high < 0 and high < -margin - _ROUNDING:
        kind = VerdictKind.IMPROVED
    elif high < margin - _ROUNDING and change >= -margin:
        kind = VerdictKind.PASS
    return Effect(int(ratios.size), change, low, high, kind)


def paired_verdicts(
    candidate: Measurement,
    reference: Measurement,
    effects: Mapping[str, Effect],
    tolerance: Callable[[str], float],
    undecided: Mapping[str, str],
) -> dict[str, Verdict]:
    """Return the verdict on each metric that was compared, by name.

    None at all where either measurement is invalid. ``undecided`` says, by metric, what would
    decide more.
    """
    if candidate.invalid or reference.invalid:
        return {}
    return {
        metric: _verdict(
            metric,
            effect,
            now=candidate.metrics[metric].value,
            reference=reference.metrics[metric].value,
            tolerance=tolerance(metric),
            undecided=undecided.get(metric),
        )
        for metric, effect in effects.items()
        if metric in candidate.metrics and metric in reference.metrics
    }


def _verdict(
    metric: str,
    effect: Effect,
    *,
    now: float,
    reference: float,
    tolerance: float,
    undecided: str | None,
) -> Verdict:
    """Turn an effect, which is positive for the worse, into a verdict on the metric's own scale."""
    sign = METRICS[metric].worse_sign
    change, least, most = (
        math.expm1(sign * end) for end in (effect.change, effect.low, effect.high)
    )
    known = f"tolerance {tolerance:.1%}, {effect.pairs} pairs"
    kind = effect.kind or VerdictKind.INCONCLUSIVE
    if effect.kind is None and effect.high < math.log1p(tolerance):
        kind = (
            VerdictKind.PASS
        )  # better, by more than the tolerance perhaps: the budget did not tell
    if kind is VerdictKind.REGRESSED:
        reason = f"{least:+.1%} or worse ({known})"
    elif kind is VerdictKind.IMPROVED:
        reason = f"{most:+.1%} or better ({known})"
    elif kind is VerdictKind.PASS:
        reason = f"{most:+.1%} at worst ({known})"
    elif undecided is not None:
        reason = f"undecided: {undecided}"
    else:
        reason = f"undecided, {most:+.1%} at worst ({known}): raise --gaitperf-budget"
    beside = f"{shown(metric, now)} beside the reference's {scaled(metric, reference)}"
    low, high = (
        end if math.isfinite(end) and end > -1 else None
        for end in ((most, least) if sign < 0 else (least, most))
    )
    return Verdict(
        metric,
        kind,
        f"{beside}: {change:+.1%} pair by pair, {reason}",
        baseline=reference,
        now=now,
        change=change,
        low=low,
        high=high,
        pairs=effect.pairs,
    )


def centres(ratios: Sequence[float], size: int) -> list[float]:
    """Return the Hodges-Lehmann estimate of each ``size`` consecutive ratios; a rest is left out.

    As symmetric about 0 as the ratios themselves where nothing differs.
    """
    return [
        float(np.median(_walsh_averages(np.asarray(ratios[start : start + size]))))
        for start in range(0, len(ratios) - size + 1, size)
    ]


def _walsh_averages(ratios: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (d_i + d_j) / 2 for i <= j, sorted."""
    first, second = np.triu_indices(ratios.size)
    averages: npt.NDArray[np.float64] = (ratios[first] + ratios[second]) / 2
    averages.sort()
    return averages


def _limits(averages: npt.NDArray[np.float64], pairs: int, level: float) -> tuple[float, float]:
    """Return the lower and the upper limit, each at ``level``, from the sorted Walsh averages."""
    rank = signed_rank_quantile(pairs, level)
    if rank < 0:
        return -math.inf, math.inf
    return float(averages[rank]), float(averages[-1 - rank])


@lru_cache(maxsize=4096)
def signed_rank_quantile(pairs: int, level: float) -> int:
    """Return the largest k with P(T <= k) <= level, -1 where there is none.

    T is Wilcoxon's signed-rank statistic of ``pairs`` differences, symmetric about 0: the sum of
    those of the ranks 1..n whose difference is positive.
    """
    return int(np.searchsorted(_signed_rank_cdf(pairs), level, "right")) - 1


@lru_cache(maxsize=512)
def _signed_rank_cdf(pairs: int) -> npt.NDArray[np.float64]:
    """Return P(T <= k) for k up to the middle of T's range: a coin for each rank, in or out."""
    total = pairs * (pairs + 1) // 2
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for rank in range(1, pairs + 1):
        top = rank * (rank + 1) // 2
        chances[rank : top + 1] = (chances[rank : top + 1] + chances[: top + 1 - rank]) / 2
        chances[:rank] /= 2
    cdf: npt.NDArray[np.float64] = np.cumsum(chances[: total // 2 + 1])
    return cdf
