"""Sums up the requests of a cell: their distribution, and how it went over the windows; pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import completed_between
from pytest_gaitperf.measurement import Distribution, Timeline

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_POINTS = 60


def timeline_of(
    starts_ns: npt.NDArray[np.int64],
    ends_ns: npt.NDArray[np.int64],
    edges_ns: npt.NDArray[np.int64],
    done: npt.NDArray[np.float64],
) -> Timeline:
    """Sum up the requests of the windows; ``done`` has the inferences of each.

    ``ends_ns`` must not decrease.
    """
    windows = len(edges_ns) - 1
    parts = min(windows, MOST_POINTS)
    firsts = np.arange(parts + 1) * windows // parts
    edges = edges_ns[firsts]
    medians = []
    for low, high in pairwise(edges):
        latencies = completed_between(starts_ns, ends_ns, int(low), int(high))
        medians.append(float(np.median(latencies)) if latencies.size else None)
    sums = np.add.reduceat(done, firsts[:-1])
    return Timeline(
        edges_s=tuple(((edges - edges[0]) / 1e9).tolist()),
        throughput=tuple((sums / np.diff(edges) * 1e9).tolist()),
        latency_p50_s=tuple(medians),
    )


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
