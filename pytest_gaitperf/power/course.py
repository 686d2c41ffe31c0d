"""A cell's power trace, cut down to what a picture of it needs: pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.measurement import PowerTimeline
from pytest_gaitperf.power.energy import integrate, uncovered

if TYPE_CHECKING:
    from pytest_gaitperf.power.trace import Trace

MOST_BINS = 100
"""How many bins the measured span is cut into at most."""

MOST_BINS_BESIDE = 10
"""How many bins of the same width are kept before the span, and as many after it, at most."""


def power_course(trace: Trace, start_ns: int, end_ns: int) -> PowerTimeline:
    """Cut a trace down to the mean power of at most 120 bins, 100 of them in [start_ns, end_ns].

    Each is the energy of the bin, as ``integrate`` gives it, over its width. There are no more bins
    than readings in the span, of a counter no more than updates. What the trace has beside the span
    is kept for up to ten bins on either side. Raises MeterError as ``integrate`` does.
    """
    whole = integrate(trace, start_ns, end_ns)
    known = whole.fresh if trace.kind == "energy" else whole.samples
    bins = min(max(known, 1), MOST_BINS)
    width_ns = (end_ns - start_ns) / bins

    def edge_ns(index: int) -> int:
        return start_ns + round(index * width_ns)

    first, last = 0, bins
    while -first < MOST_BINS_BESIDE and uncovered(trace, edge_ns(first - 1), end_ns) is None:
        first -= 1
    while last < bins + MOST_BINS_BESIDE and uncovered(trace, start_ns, edge_ns(last + 1)) is None:
        last += 1
    edges = [edge_ns(index) for index in range(first, last + 1)]
    joules = [integrate(trace, low, high).joules for low, high in pairwise(edges)]
    widths_s = np.diff(np.array(edges) - start_ns) * 1e-9
    return PowerTimeline(
        start_s=first * width_ns * 1e-9,
        bin_s=width_ns * 1e-9,
        span_s=(end_ns - start_ns) * 1e-9,
        watts={
            rail: tuple(
                float(one[rail] / width_s) for one, width_s in zip(joules, widths_s, strict=True)
            )
            for rail in trace.rails
        },
        readings=whole.samples,
        kind=trace.kind,
    )
