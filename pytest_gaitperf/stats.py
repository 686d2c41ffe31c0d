"""How sure one session can be: intervals of a mean and of a percentile, the spread of its lives."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = Sequence[float] | NDArray[np.float64]

GATE_CONFIDENCE = 0.99
"""The confidence whose minimum count a percentile needs before it is shown with an interval."""

PERCENTILE_MARGIN = 1.5
"""A percentile is recorded, and expected from then on, where there were so many times the requests
that it needs: a session with a few less must have it too."""

_TYPICAL_AUTOCORRELATION = 0.6
_TYPICAL_WEIGHT = 20.0
_LARGEST_AUTOCORRELATION = 0.9
_FEWEST_FOR_AN_AUTOCORRELATION = 5
_FEWEST_FOR_A_MEAN = 3


class Interval(NamedTuple):
    """A confidence interval, both ends in the unit of the values."""

    low: float
    high: float


class Ordered(Protocol):
    """Ascending values, of which those at some places are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> float: ...


class WindowNoise(NamedTuple):
    """How a session's windows vary, as an AR(1) process.

    ``variance`` (in the unit of the values, squared) and ``autocorrelation`` (of neighbouring
    windows, 0 to 0.9) are freed of their small-sample biases; so many ``windows`` told them.
    """

    mean: float
    variance: float
    autocorrelation: float
    windows: int

    def standard_error(self, count: int) -> float:
        """Return the standard error of the mean of ``count`` consecutive windows.

        It is ``sqrt(sigma^2 / n * f)`` with ``f = 1 + 2 sum_k (1 - k/n) rho^k`` (Box, Jenkins and
        Reinsel, Time Series Analysis, 2.1).
        """
        return math.sqrt(self.variance * _inflation(self.autocorrelation, count) / count)

    @property
    def dof(self) -> float:
        """Student's t for that error has ``(n - 1) (1 - rho^2) / (1 + rho^2)`` (Bartlett 1946)."""
        square = self.autocorrelation**2
        return max((self.windows - 1) * (1 - square) / (1 + square), 1.0)


def window_noise(values: Values) -> WindowNoise:
    """Estimate how windows vary; ``values`` in the order of time, shape (n,), n >= 3, finite.

    Three corrections keep what follows from it honest when windows are few:

    - the lag-1 autocorrelation is freed of its small-sample bias, ``(n r + 1) / (n - 3)``
      (Kendall 1954), then drawn towards 0.6, the value seen between windows of about one second,
      with the weight of 20 windows: a handful of windows cannot tell 0 from 0.6, and an estimate
      that is too low makes the interval too narrow;
    - ``sigma^2`` is freed of the bias that the same autocorrelation puts on the sample variance;
    - Student's t has fewer degrees of freedom than windows.
    """
    windows = np.asarray(values, dtype=np.float64)
    count, mean = windows.size, float(windows.mean())
    deviations = windows - mean
    squares = float(deviations @ deviations)
    rho = _TYPICAL_AUTOCORRELATION
    if count >= _FEWEST_FOR_AN_AUTOCORRELATION and squares:
        lag_1 = float(deviations[1:] @ deviations[:-1]) / squares
        seen = (count * lag_1 + 1) / (count - 3)
        rho = (count * seen + _TYPICAL_WEIGHT * rho) / (count + _TYPICAL_WEIGHT)
        rho = min(max(rho, 0.0), _LARGEST_AUTOCORRELATION)
    # The sample variance about the sample mean loses the mean's own share, inflation / n.
    variance = squares / count / max(1 - _inflation(rho, count) / count, 0.05)
    return WindowNoise(mean, variance, rho, count)


def _inflation(rho: float, count: int) -> float:
    lags = np.arange(1, count)
    return 1 + 2 * float(((1 - lags / count) * rho**lags).sum())


def mean_interval(values: Values, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean of autocorrelated windows.

    ``values`` are the windows' values in the order of time, shape (n,), in any unit. With fewer
    than 3 of them nothing is known, and the interval is (-inf, inf). Raises ValueError for values
    that are not finite.

    The windows are taken as an AR(1) process; see ``window_noise`` for its estimate. The constants
    there were chosen by the coverage that ``tests/gate/test_intervals.py`` simulates: at 95 % it
    is 0.92 to 0.95 at an autocorrelation of 0.6, 0.97 to 0.995 at 0, for 6 to 60 windows; the plain
    t interval covers 0.67 to 0.71 at 0.6.
    """
    windows = np.asarray(values, dtype=np.float64)
    if not np.isfinite(windows).all():
        raise ValueError("mean_interval: every value must be finite")
    if windows.size < _FEWEST_FOR_A_MEAN:
        return Interval(-math.inf, math.inf)
    noise = window_noise(windows)
    half = float(special.stdtrit(noise.dof, 0.5 + confidence / 2)) * noise.standard_error(
        noise.windows
    )
    return Interval(noise.mean - half, noise.mean + half)


def ratio_values(totals: Values, counts: Values) -> NDArray[np.float64]:
    """Return values, one for each window, whose mean is ``sum(totals) / sum(counts)``.

    ``totals`` (say, the seconds of the requests of each window) and ``counts`` (their number) have
    the shape (n,); some counts may be 0, not all. The values are the ratio's linearisation,
    ``m + (total - m count) / mean(counts)``, so that ``mean_interval`` of them is the interval of
    the ratio (Cochran, Sampling Techniques, 6.4), windows with few requests weighing less.
    """
    sums, numbers = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
    ratio = float(sums.sum()) / float(numbers.sum())
    values: NDArray[np.float64] = ratio + (sums - ratio * numbers) / numbers.mean()
    return values


@lru_cache(maxsize=64)
def minimum_count(q: float, confidence: float = GATE_CONFIDENCE) -> int:
    """Return how many values the ``q`` quantile (0 < q < 1) needs before it can be trusted.

    It is the smallest n whose *second* most extreme value bounds the quantile at the one-sided
    ``confidence``: for q >= 0.5 the chance that at most one of n values lies above the true
    quantile, ``P(Binomial(n, 1 - q) <= 1)``, is at most ``1 - confidence``. One value beyond is
    granted, so that no bound rests on the single worst outlier. This is the early-stopping rule of
    MLPerf's LoadGen with one over-latency query and no tolerance. At 99 %: p90 64, p95 130,
    p99 662, p99.9 6636. Below the median the same holds for the values under the quantile.
    """
    if not (0 < q < 1 and 0 < confidence < 1):
        raise ValueError(f"minimum_count: q {q} and confidence {confidence} must be within (0, 1)")
    beyond = min(q, 1 - q)
    low, high = 1, 2
    while special.bdtr(1, high, beyond) > 1 - confidence:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if special.bdtr(1, middle, beyond) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def quantile_interval(
    sorted_values: Ordered, q: float, confidence: float = 0.95
) -> Interval | None:
    """Return the order-statistic interval of the ``q`` quantile, None where values are too few.

    ``sorted_values`` ascend, shape (n,), in any unit. The ends are the order statistics whose
    exact binomial tails are each at most ``(1 - confidence) / 2`` (Conover, Practical
    Nonparametric Statistics, 3.2; David and Nagaraja, Order Statistics, 7.1): no distribution is
    assumed, but independent values are. None below ``minimum_count`` at the larger of
    ``confidence`` and 99 %: how many values a percentile needs is a matter of the gate, not of how
    wide an interval is shown.
    """
    count = len(sorted_values)
    if count < minimum_count(q, max(confidence, GATE_CONFIDENCE)):
        return None
    tail = (1 - confidence) / 2
    # Rank r (from 1) is too high a lower end when P(Bin(n, q) < r) = P(X_(r) > quantile) > tail.
    lower = int(special.bdtrik(tail, count, q)) + 2
    while lower > 0 and special.bdtr(lower - 1, count, q) > tail:
        lower -= 1
    # Rank s is too low an upper end when P(Bin(n, q) >= s) = P(X_(s) < quantile) > tail.
    upper = max(int(special.bdtrik(1 - tail, count, q)) - 1, 0)
    while upper <= count and special.bdtrc(upper - 1, count, q) > tail:
        upper += 1
    if lower < 1 or upper > count:
        return None
    return Interval(float(sorted_values[lower - 1]), float(sorted_values[upper - 1]))


def log_spread(values: Values) -> float:
    """Return the standard deviation of the logarithms of the lives' values (dimensionless).

    ``values`` has shape (n,), in any unit; 0.02 reads as "lives differ by about 2 %". Values
    that are not finite and positive have no logarithm and are left out. With fewer than 2 left
    nothing is known and the answer is NaN, which the verdict reads as unknown, never as quiet.

    The plain SD is taken, not a robust one: the gate uses the spread as its allowance for noise,
    and a life that was unlucky is part of that noise. A median absolute deviation would call such a
    session quiet and its next unlucky life a regression.
    """
    lives = np.asarray(values, dtype=np.float64)
    lives = lives[np.isfinite(lives) & (lives > 0)]
    if lives.size <= 1:
        return math.nan
    return float(np.log(lives).std(ddof=1))


class Trimmed(NamedTuple):
    """A trimmed mean of n values; its standard error is ``sqrt(variance / n)``, with ``dof``."""

    mean: float
    variance: float
    dof: float


def trimmed(values: NDArray[np.float64]) -> Trimmed:
    """Return the mean of blocks without those at both ends, shape (n,), n >= 1.

    A life now and then differs by tens of percent where others by one or two: on a shared host of
    16 CPUs one block in six (56 of equal models: an SD of 12.8 %, of the inner 80 % one of 1.5 %).
    So ``g = floor((n - 4) / 4)`` are left out at each end, and the error is that of Yuen (1974,
    Biometrika 61): ``s_w / ((1 - 2 g / n) sqrt(n))`` with the winsorised SD and ``n - 2 g - 1``
    degrees of freedom. Of fewer than 8 it is the mean and its error. In draws from 425 blocks of
    such a host a change of 2 % was found in 90 of 100, with half as many left out in 74.
    """
    count = values.size
    cut = max(count - 4, 0) // 4
    ordered = np.sort(values)
    inner = ordered[cut : count - cut]
    clipped = np.clip(ordered, inner[0], inner[-1])
    variance = float(clipped.var(ddof=1)) if count > 1 else math.inf
    share = 1 - 2 * cut / count
    return Trimmed(float(inner.mean()), variance / share**2, float(inner.size - 1))
