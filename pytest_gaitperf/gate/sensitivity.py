"""How small a change is found: by a gate with a known limit, and by a machine in a short load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.gate.prediction import upper_quantile, upper_tail
from pytest_gaitperf.stats import window_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

POWER = 0.9
"""The probability with which a gate is to find a change."""

MEASURED_S = 30.0
"""The time that is supposed to be spent on a cell."""

LEVEL, RESOLVED_POWER = 0.05, 0.8
"""The level of a test on a machine's noise, and the probability with which it finds a change."""

FEWEST_PAIRS = 6

_BISECTIONS = 40


class Hurdle(NamedTuple):
    """What a change must exceed to be found, on the log scale, and how its measurement errs.

    A change of size c is measured as ``c + scale * T``, where T has Student's t distribution with
    ``dof`` degrees of freedom: ``scale`` was learnt from a few sessions itself.
    """

    height: float
    scale: float
    dof: float


def smallest_detectable(hurdles: Sequence[Hurdle], power: float = POWER) -> float:
    """Return the smallest change that clears all hurdles with at least probability ``power``.

    A single hurdle of height h is cleared by ``c = h + t(power; dof) * scale`` with probability
    ``power`` exactly, on average over the baselines that a device may give: ``scale`` is as
    random there as T's denominator (the argument of a prediction interval: Hahn and Meeker,
    Statistical Intervals, 4.7; no noncentral t is needed, since the limit of *this* baseline is
    known). Of several, the change is taken for which the probabilities to miss one add up to
    ``1 - power`` (Boole's inequality): whatever depends on what, it is found at least as often.
    Log scale, 0 or more; inf where a scale is unknown (inf). Raises ValueError without a hurdle.
    """
    low = max(0.0, *(hurdle.height for hurdle in hurdles))
    if any(math.isinf(hurdle.scale) or math.isinf(hurdle.height) for hurdle in hurdles):
        return math.inf

    def found(change: float) -> bool:
        missed = (upper_tail(change - h.height, h.scale, h.dof) for h in hurdles)
        return math.fsum(missed) <= 1 - power

    step = max(hurdle.scale for hurdle in hurdles)
    if step <= 0 or found(low):
        return low
    high = low + step
    while not found(high):
        step *= 2
        high = low + step
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


class Resolution(NamedTuple):
    """The smallest slowdowns that are found, as ratios (0.04 is 4 % more seconds per request).

    ``apart``: two measurements of ``MEASURED_S`` each, one after the other, as a stored baseline
    and a run are, but in one session. ``in_turns``: the same time in all, shared by the two models
    of a paired comparison. ``spread`` is the standard deviation of the log of a window (as a
    ratio), ``autocorrelation`` that of neighbouring windows, of ``window_s`` seconds each.
    """

    apart: float
    in_turns: float
    spread: float
    autocorrelation: float
    windows: int
    window_s: float

    def seconds_for(self, change: float) -> float:
        """Return how long a cell must be measured to resolve ``change`` (a ratio) apart."""
        return MEASURED_S * (math.log1p(self.apart) / math.log1p(change)) ** 2


def resolution(seconds: Sequence[float], first: Sequence[bool], window_s: float) -> Resolution:
    """Estimate what a machine resolves from windows of one model, taken in pairs.

    ``seconds`` are the seconds per request of consecutive windows, shape (2 pairs,); of each pair
    one window is called A and the other B, and ``first`` says for each pair whether A came first,
    by a fair coin. Each window took ``window_s``, pauses included.

    A slowdown of log size c is found by a one-sided t test at ``LEVEL`` with probability
    ``RESOLVED_POWER`` where ``c = (t(1 - level; d) + t(power; d)) * SE`` (the two quantiles of the
    usual sample-size formula, Cohen 1988, with Student's t since the noise was learnt from d
    degrees of freedom), and the ratio is exp(c) - 1. SE is that of a difference of logs after
    ``MEASURED_S`` seconds:

    - apart: ``sqrt(2)`` times the standard error of the mean of ``MEASURED_S / window_s`` windows,
      an AR(1) process whose variance and autocorrelation ``window_noise`` tells from all windows,
      A and B alike;
    - in turns: the standard deviation of the pairs' log(B / A) over the root of
      ``MEASURED_S / (2 window_s)`` pairs; the coin makes the pairs independent.

    Assumed: windows that vary by a few tens of per cent at most, in a stationary way. Slower
    changes, from minutes to days, cannot be seen in seconds: they come on top of ``apart``, and
    mostly cancel in ``in_turns``. Raises ValueError for fewer than ``FEWEST_PAIRS`` pairs.
    """
    if len(first) < FEWEST_PAIRS or len(seconds) != 2 * len(first):
        raise ValueError(f"resolution: {len(seconds)} windows are not {FEWEST_PAIRS} pairs or more")
    logs = np.log(np.asarray(seconds, dtype=np.float64))
    noise = window_noise(logs)
    windows = max(round(MEASURED_S / window_s), 1)
    apart = math.sqrt(2) * noise.standard_error(windows)
    ratios = (logs[1::2] - logs[::2]) * np.where(first, 1.0, -1.0)
    # Nothing differs, so the mean is known to be 0 and costs no degree of freedom.
    in_turns = math.sqrt(float(ratios @ ratios) / ratios.size) / math.sqrt(max(windows / 2, 1.0))
    return Resolution(
        math.expm1(_multiple(noise.dof) * apart),
        math.expm1(_multiple(ratios.size) * in_turns),
        math.sqrt(noise.variance),
        noise.autocorrelation,
        len(seconds),
        window_s,
    )


def _multiple(dof: float) -> float:
    return upper_quantile(LEVEL, dof) + upper_quantile(1 - RESOLVED_POWER, dof)
