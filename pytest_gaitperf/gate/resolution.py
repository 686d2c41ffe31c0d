"""How small a change a machine resolves, from a short load of one unchanged model: pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.gate.prediction import upper_quantile
from pytest_gaitperf.stats import window_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURED_S = 30.0
"""The time that is supposed to be spent on a cell."""

LEVEL = 0.05
POWER = 0.8

FEWEST_PAIRS = 6


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


def resolution(
    seconds: Sequence[float], first: Sequence[bool], window_s: float, measured_s: float = MEASURED_S
) -> Resolution:
    """Estimate what a machine resolves from windows of one model, taken in pairs.

    ``seconds`` are the seconds per request of consecutive windows, shape (2 pairs,); of each pair
    one window is called A and the other B, and ``first`` says for each pair whether A came first,
    by a fair coin. Each window took ``window_s``, pauses included.

    A slowdown of log size c is found by a one-sided t test at ``LEVEL`` with probability ``POWER``
    where ``c = (t(1 - LEVEL; d) + t(POWER; d)) * SE`` (the two quantiles of the usual sample-size
    formula, Cohen 1988, with Student's t since the noise was learnt from d degrees of freedom), and
    the ratio is exp(c) - 1. SE is that of a difference of logs after ``measured_s`` seconds:

    - apart: ``sqrt(2)`` times the standard error of the mean of ``measured_s / window_s`` windows,
      an AR(1) process whose variance and autocorrelation ``window_noise`` tells from all windows,
      A and B alike;
    - in turns: the standard deviation of the pairs' log(B / A) over the root of
      ``measured_s / (2 window_s)`` pairs; the coin makes the pairs independent.

    Assumed: windows that vary by a few tens of per cent at most, in a stationary way. Slower
    changes, from minutes to days, cannot be seen in seconds: they come on top of ``apart``, and
    mostly cancel in ``in_turns``. Raises ValueError for fewer than ``FEWEST_PAIRS`` pairs.
    """
    if len(first) < FEWEST_PAIRS or len(seconds) != 2 * len(first):
        raise ValueError(f"resolution: {len(seconds)} windows are not {FEWEST_PAIRS} pairs or more")
    logs = np.log(np.asarray(seconds, dtype=np.float64))
    noise = window_noise(logs)
    windows = max(round(measured_s / window_s), 1)
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
    return upper_quantile(LEVEL, dof) + upper_quantile(1 - POWER, dof)
