"""The rules that other tools gate by, each written down from its documentation.

Each takes logs of costs (see ``gate_simulation``): ``past`` of shape (runs, sessions, ..., windows)
and ``now`` of shape (runs, ..., windows), and returns which comparisons are red, shape (runs, ...).
A window stands for what the tool calls a round or a sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Red = NDArray[np.bool_]


def benchmark_mean(past: Array, now: Array) -> Red:
    """Apply pytest-benchmark's ``--benchmark-compare-fail=mean:10%``.

    Red where the mean of the rounds is more than 10 % slower than in the run compared with, which
    is the latest that was saved (pytest-benchmark's documentation, *Comparing past runs*).
    """
    red: Red = np.exp(now).mean(-1) > 1.10 * np.exp(past[:, -1]).mean(-1)
    return red


def benchmark_median(past: Array, now: Array) -> Red:
    """Apply pytest-benchmark's ``--benchmark-compare-fail=median:5%``: the same on medians."""
    red: Red = np.median(now, axis=-1) > np.median(past[:, -1], axis=-1) + math.log(1.05)
    return red


def asv_compare(past: Array, now: Array) -> Red:
    """Apply the rule of ``asv continuous`` and ``asv compare``.

    Red where the median is worse than the other revision's by more than the factor 1.1, the
    default of ``--factor``, and the samples differ by a two-sided Mann-Whitney U test at p < 0.002
    (asv's documentation, *Commands*: ``--no-stats`` is to use *only factor and the median result*).
    """
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - slow to import

    before = past[:, -1]
    red: Red = np.median(now, axis=-1) > np.median(before, axis=-1) + math.log(1.1)
    if red.any():  # the test, which is slow, only where it decides
        found = mannwhitneyu(now[red], before[red], axis=-1, method="exact")
        red[red] = found.pvalue < 0.002
    return red


def fixed_median(past: Array, now: Array) -> Red:
    """Red where the median is 10 % worse than the median of the sessions' medians."""
    usual = np.median(np.median(past, axis=-1), axis=1)
    red: Red = np.median(now, axis=-1) > usual + math.log(1.1)
    return red


PEERS: dict[str, Callable[[Array, Array], Red]] = {
    "pytest-benchmark mean:10%": benchmark_mean,
    "pytest-benchmark median:5%": benchmark_median,
    "asv p<.002, factor 1.1": asv_compare,
    "fixed 10 % on medians": fixed_median,
}
