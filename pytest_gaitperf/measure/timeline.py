"""How a cell's throughput and latency went over its windows: pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import completed_between

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_POINTS = 60


@dataclass(frozen=True, slots=True)
class Course:
    """Throughput and median latency over the measured span, in up to 60 parts of it.

    A part is one window or several in a row. Part i reaches from ``edges_s[i]`` to
    ``edges_s[i + 1]``, in seconds from the start of the span. ``throughput`` is in inferences/s,
    ``latency_p50_s`` None where no request was completed in the part.
    """

    edges_s: tuple[float, ...]
    throughput: tuple[float, ...]
    latency_p50_s: tuple[float | None, ...]


def course_of(
    starts_ns: npt.NDArray[np.int64],
    ends_ns: npt.NDArray[np.int64],
    edges_ns: npt.NDArray[np.int64],
    done: npt.NDArray[np.float64],
) -> Course:
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
    return Course(
        edges_s=tuple(((edges - edges[0]) / 1e9).tolist()),
        throughput=tuple((sums / np.diff(edges) * 1e9).tolist()),
        latency_p50_s=tuple(medians),
    )
