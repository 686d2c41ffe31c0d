"""Sequential comparison of two models in blocks of fresh processes, and its verdicts.

A block gives one value per metric: log(candidate / reference), with the sign that makes a change
for the worse positive. Two equal models differ for as long as their processes live, so what is
tested is the blocks, not the requests. Which model was loaded first, and which ran first in each
turn, was drawn by a fair coin: where nothing differs, the values are symmetric about 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.gate.moderation import VariancePrior, fit_priors, moderated
from pytest_gaitperf.gate.prediction import Hurdle, smallest_detectable, student, upper_quantile
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.stats import trimmed
from pytest_gaitperf.text import scaled, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.measurement import Measurement

DOUBT = 0.1
"""How often a change of exactly the tolerance may pass, and how often it may be red."""

_CONFIRM_DOUBT = 0.5
_SUSPECT_DOUBT = DOUBT / _CONFIRM_DOUBT
"""How often it may be suspected; as the blocks that confirm it are others, the product counts."""

CONFIRM = 0.05
"""How often blocks that differ by nothing may confirm a suspicion."""

FEWEST_BLOCKS = 5
"""No fewer blocks raise a suspicion: all of one sign have a chance of 1 in 32 by the coin alone."""

FEWEST_FRESH = 5
"""No fewer blocks confirm one."""

LOOKS_RATIO = 1.4
"""How many times the blocks of one look the next one has."""

LIFE_SD = {True: 0.05, False: 0.2}
"""How much two equal models differ from life to life (SD of the log), on one CPU set or not.

What is assumed where the models' processes cannot be renewed, so that one life is all there is.
"""

_SPENDING_POWER, _CONFIRMING_POWER = 2.0, 3.0
_MOST_LOG = 20.0  # a limit further out is none
_ROUNDING = 1e-9  # what differs by that alone is equal, as in ``verdict``


class Stage(NamedTuple):
    """A planned look at the data: after how many blocks, and its share of the levels."""

    blocks: int
    share: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What ``blocks`` blocks say, on the natural-log scale, positive for the worse.

    ``change`` is their trimmed mean, ``low`` and ``high`` are its limits, each one-sided at the
    look's share of ``DOUBT``; -inf and inf where so few blocks give none. ``level`` is the mean log
    of both models' costs in the same blocks: they are ``exp(level + change / 2)`` and ``exp(level -
    change / 2)``. ``kind`` is regressed, improved or pass, None while nothing is decided.
    ``sensitivity`` is the smallest relative change that this many blocks find 9 times in 10, None
    where it is not known. ``doubted``: a suspicion was not confirmed.
    """

    blocks: int
    change: float
    low: float
    high: float
    kind: VerdictKind | None
    level: float = 0.0
    sensitivity: float | None = None
    doubted: bool = False


def plan(maximum: int, first: int = FEWEST_BLOCKS) -> tuple[Stage, ...]:
    """Plan looks at up to ``maximum`` blocks, from ``first`` on.

    At n of N blocks ``(n/N)^3`` of a level is spent (Kim and DeMets 1987, Biometrika 74, the power
    family), and each look is tested at what it adds: by Bonferroni's inequality all looks keep the
    level, however their tests depend on one another. The shares add up to 1.
    """
    counts = [maximum]
    while counts[-1] > first:
        counts.append(max(first, int(counts[-1] / LOOKS_RATIO)))
    counts.append(0)
    spent = [(count / maximum) ** _CONFIRMING_POWER for count in reversed(counts)]
    return tuple(
        Stage(count, after - before)
        for count, before, after in zip(reversed(counts[:-1]), spent, spent[1:], strict=False)
    )


def spent_at(part: float) -> float:
    """Return the share of the levels that is spent when this part of the time is over."""
    return float(min(max(part, 0.0), 1.0) ** _SPENDING_POWER)


def compare(
    worse: Sequence[float],
    share: float,
    alpha: float,
    tolerance: float,
    *,
    prior: VariancePrior | None = None,
    life_sd: float = 0.0,
    doubt: float = DOUBT,
) -> Effect:
    """Judge the blocks so far, at a look that spends ``share`` of the levels.

    ``worse`` holds the blocks' log-ratios, shape (blocks,), at least one and all finite. ``alpha``
    is the false-alarm probability of this comparison over all looks, ``tolerance`` the relative
    change that does not matter (0.05 is 5 %). ``prior`` is what the other comparisons say of the
    variance between blocks; ``life_sd`` is that between lives, where all blocks are of one life.

    *Regressed*: worse at all, at alpha's share, **and** beyond the tolerance at ``doubt``'s share.
    The first bounds false alarms where nothing changed, the second where a change lies within the
    tolerance. *Improved* is the mirror image. *Pass*: the upper limit at ``DOUBT``'s share lies
    below the tolerance, and the estimate does not hint at an improvement that more blocks may
    prove.

    The mean is a trimmed one (``trimmed``), the limits are those of Student's t. Its variance is
    moderated, its degrees of freedom are the comparison's own: cells of one block share the
    processes, so they are no further evidence.
    """
    values = np.asarray(worse, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("compare: at least one block, and every ratio finite")
    change, scale, dof = _known(values, prior, life_sd)
    margin = math.log1p(tolerance)
    surely = _reach(alpha * share, scale, dof)
    reach = _reach(DOUBT * share, scale, dof)
    low, high = change - reach, change + reach
    beyond = max(surely, margin + _reach(doubt * share, scale, dof)) + _ROUNDING
    kind: VerdictKind | None = None
    if abs(change) > beyond:
        kind = VerdictKind.REGRESSED if change > 0 else VerdictKind.IMPROVED
    elif high < margin - _ROUNDING and change >= -margin:
        kind = VerdictKind.PASS
    return Effect(int(values.size), change, low, high, kind)


def _known(
    values: npt.NDArray[np.float64], prior: VariancePrior | None, life_sd: float
) -> tuple[float, float, float]:
    """Return the blocks' mean, its standard error and degrees of freedom (Satterthwaite)."""
    mean, own, dof = trimmed(values)
    if dof >= 1:
        own = moderated(own, dof, prior)
    elif life_sd:
        own = 0.0
    of_blocks, of_life = own / values.size, life_sd**2
    if of_blocks and of_life:
        dof *= ((of_blocks + of_life) / of_blocks) ** 2
    elif of_life:
        dof = math.inf
    return mean, math.sqrt(of_blocks + of_life), dof


def _reach(level: float, scale: float, dof: float) -> float:
    return math.inf if math.isinf(scale) else upper_quantile(level, dof) * scale


@dataclass(slots=True)
class BlockTest:
    """One comparison, one metric of one cell, block after block.

    Blocks that decide for worse or better only raise a *suspicion*; the blocks after them, alone,
    must show the same at the level ``CONFIRM``, in as many as raised it at most. So the numbers of
    a regression or an improvement come from blocks that had no part in choosing it. Otherwise they
    come from all blocks.
    """

    alpha: float
    tolerance: float
    life_sd: float = 0.0
    ratios: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    decided: Effect | None = None
    _suspicion: VerdictKind | None = None
    _first: int = 0
    _looks: list[Stage] = field(default_factory=list)
    _doubted: bool = False
    _share: float = 1.0

    def add(self, ratio: float, level: float) -> None:
        """Add a block: log(candidate / reference) of a cost, and the mean of both logs."""
        self.ratios.append(ratio)
        self.levels.append(level)

    @property
    def suspected(self) -> bool:
        """Whether blocks are awaited that confirm a suspicion, or do not."""
        return self._suspicion is not None

    @property
    def awaits(self) -> int:
        """How many blocks there must be in all before a suspicion can be confirmed; 0 without."""
        return self._first + FEWEST_FRESH if self.suspected else 0

    def look(
        self, share: float, prior: VariancePrior | None = None, most: float = math.inf
    ) -> None:
        """Look at all blocks, spending this share of the levels, unless it is decided.

        ``most`` is how many more blocks there is time for.
        """
        if self.decided or self.suspected or not self.ratios:
            return
        self._share = share
        effect = self._effect(0, share, self.alpha, prior, _SUSPECT_DOUBT)
        if effect.kind is VerdictKind.PASS:
            self.decided = effect
        elif effect.kind is not None and (self.life_sd or effect.blocks >= FEWEST_BLOCKS):
            self._suspicion, self._first = effect.kind, effect.blocks
            fresh = max(FEWEST_FRESH, int(min(effect.blocks, most)))
            self._looks = list(plan(fresh, FEWEST_FRESH))

    def confirm(self, prior: VariancePrior | None = None) -> None:
        """Look whether the blocks since a suspicion show it too; call it after each block."""
        if not self.suspected or len(self.ratios) - self._first < self._looks[0].blocks:
            return
        share = self._looks.pop(0).share
        effect = self._effect(self._first, share, CONFIRM, prior, _CONFIRM_DOUBT)
        if effect.kind is self._suspicion:
            self.decided, self._suspicion = effect, None
        elif not self._looks:
            self._suspicion, self._doubted = None, True

    def effect(self, prior: VariancePrior | None = None) -> Effect:
        """Return what is known now."""
        found = self.decided
        if found is None:
            found = self._effect(0, self._share, self.alpha, prior)
            doubted = self._doubted or self.suspected
            kind = found.kind if found.kind is VerdictKind.PASS else None
            found = replace(found, kind=kind, doubted=doubted)
        return replace(found, sensitivity=self._sensitivity(prior))

    def _effect(
        self,
        first: int,
        share: float,
        alpha: float,
        prior: VariancePrior | None,
        doubt: float = DOUBT,
    ) -> Effect:
        effect = compare(
            self.ratios[first:],
            share,
            alpha,
            self.tolerance,
            prior=prior,
            life_sd=self.life_sd,
            doubt=DOUBT if self.life_sd else doubt,  # the blocks of one life are no others
        )
        return replace(effect, level=math.fsum(self.levels[first:]) / effect.blocks)

    def _sensitivity(self, prior: VariancePrior | None) -> float | None:
        _, scale, dof = _known(np.asarray(self.ratios), prior, self.life_sd)
        enough = self.life_sd or len(self.ratios) >= FEWEST_BLOCKS + FEWEST_FRESH
        if not enough or math.isinf(scale):
            return None
        margin = math.log1p(self.tolerance)
        error = student(scale, dof)
        hurdles = [
            Hurdle(_reach(self.alpha, scale, dof), error),
            Hurdle(margin + _reach(DOUBT, scale, dof), error),
        ]
        least = smallest_detectable(hurdles)
        return math.expm1(least) if least < _MOST_LOG else None


def priors(tests: Mapping[str, Sequence[BlockTest]]) -> dict[str, VariancePrior]:
    """Return what the cells of one model, by metric, say of the variance between blocks."""
    known = {}
    for metric, each in tests.items():
        means = [trimmed(np.asarray(test.ratios)) for test in each if len(test.ratios) > 1]
        if any(one.variance for one in means):
            known[metric] = ([one.variance for one in means], [one.dof for one in means])
    return dict(zip(known, fit_priors(list(known.values())), strict=True))


def paired_verdicts(
    candidate: Measurement,
    reference: Measurement,
    effects: Mapping[str, Effect],
    tolerance: Callable[[str], float],
    must_hear: Callable[[str], float],
    *,
    undecided: Mapping[str, str],
) -> dict[str, Verdict]:
    """Return the verdict on each metric that was compared, by name.

    None at all where either measurement is invalid. ``must_hear`` is the relative change that an
    undecided comparison would have had to find, ``undecided`` says, by metric, what would decide
    more.
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
            must_hear=must_hear(metric),
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
    must_hear: float,
    undecided: str | None,
) -> Verdict:
    """Turn an effect, which is positive for the worse, into a verdict on the metric's own scale."""
    sign = METRICS[metric].worse_sign
    change, least, most = (
        _relative(sign * end) for end in (effect.change, effect.low, effect.high)
    )
    known = f"tolerance {tolerance:.1%}, {effect.blocks} blocks"
    kind = effect.kind or VerdictKind.INCONCLUSIVE
    if effect.kind is None and effect.high < math.log1p(tolerance):
        kind = (
            VerdictKind.PASS
        )  # better, by more than the tolerance perhaps: the budget did not tell
    if kind is VerdictKind.REGRESSED:
        reason = f"confirmed, {least:+.1%} or worse ({known})"
    elif kind is VerdictKind.IMPROVED:
        reason = f"confirmed, {most:+.1%} or better ({known})"
    elif kind is VerdictKind.PASS:
        reason = f"{most:+.1%} at worst ({known})"
    elif undecided is not None:
        reason = f"undecided: {undecided}"
    elif effect.doubted:
        reason = f"undecided: fresh blocks did not confirm it ({known}): raise --gaitperf-budget"
    elif math.isinf(most) or most == -1:
        reason = f"undecided: too few blocks ({known}): raise --gaitperf-budget"
    else:
        reason = f"undecided, {most:+.1%} at worst ({known}): raise --gaitperf-budget"
    beside = f"{shown(metric, now)} beside the reference's {scaled(metric, reference)}"
    low, high = (
        end if -1 < end < math.inf else None
        for end in ((most, least) if sign < 0 else (least, most))
    )
    return Verdict(
        metric,
        kind,
        f"{beside}: {change:+.1%} block by block, {reason}",
        baseline=reference,
        now=now,
        change=change,
        low=low,
        high=high,
        blocks=effect.blocks,
        sensitivity=effect.sensitivity,
        must_hear=must_hear if effect.kind is None else None,  # what is decided was heard
        sharpen="" if "undecided" in reason else undecided or "raise --gaitperf-budget",
    )


def _relative(end: float) -> float:
    """Return the relative change of a log ratio; -1 or inf for one that is no limit at all."""
    if abs(end) < _MOST_LOG:
        return math.expm1(end)
    return math.inf if end > 0 else -1.0
