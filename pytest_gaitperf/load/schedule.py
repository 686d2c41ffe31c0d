"""When an open loop sends: constant or Poisson arrivals, from a stated seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.workload import Arrival

ARRIVAL_SEED = 20_26
"""Seed of the Poisson arrivals: the same schedule in every session."""

_CHUNK = 4096


def send_offsets_ns(rate_per_s: float, arrival: Arrival, seed: int = ARRIVAL_SEED) -> Iterator[int]:
    """Yield, without end, when each request is to be sent: ns after the start, ascending.

    Constant: the k-th at ``k / rate``, computed from k so that no rounding gathers. Poisson:
    exponential gaps with mean ``1 / rate`` (LoadGen's server scenario), drawn from ``seed``. The
    subjects of a gait cell, phases spread evenly over a frame, are a constant rate.
    """
    if arrival == "constant":
        count = 0
        while True:
            yield round(count * 1e9 / rate_per_s)
            count += 1
    generator = np.random.default_rng(seed)
    now_ns = 0.0
    while True:
        for gap_ns in generator.exponential(1e9 / rate_per_s, _CHUNK).tolist():
            yield round(now_ns)
            now_ns += gap_ns
