"""How the requests' latencies were distributed: what a histogram or a box plot needs; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Distribution:
    """A sample of latencies in seconds, summed up.

    ``percentiles_s`` has the 101 percentiles from 0 (the least) to 100 (the most). ``sd_outliers``
    counts the requests beyond one standard deviation from the mean; ``tukey_outliers`` those
    beyond 1.5 interquartile ranges from the quartiles, ``tukey_low_s`` and ``tukey_high_s`` are
    the outermost of the others (J. W. Tukey, "Exploratory Data Analysis", 1977).
    """

    percentiles_s: tuple[float, ...]
    sd_s: float
    sd_outliers: int
    tukey_outliers: int
    tukey_low_s: float
    tukey_high_s: float

    @property
    def quartiles_s(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        return self.percentiles_s[25], self.percentiles_s[50], self.percentiles_s[75]


def distribution(latencies_s: npt.NDArray[np.float64]) -> Distribution:
    """Sum up latencies, at least one; the standard deviation of a single one is 0."""
    percentiles = np.percentile(latencies_s, np.arange(101))
    low, high = percentiles[25], percentiles[75]
    fence = 1.5 * (high - low)
    inside = latencies_s[(latencies_s >= low - fence) & (latencies_s <= high + fence)]
    sd_s = float(latencies_s.std(ddof=1)) if latencies_s.size > 1 else 0.0
    return Distribution(
        percentiles_s=tuple(float(value) for value in percentiles),
        sd_s=sd_s,
        sd_outliers=int((np.abs(latencies_s - latencies_s.mean()) > sd_s).sum()),
        tukey_outliers=int(latencies_s.size - inside.size),
        tukey_low_s=float(inside.min()),
        tukey_high_s=float(inside.max()),
    )
