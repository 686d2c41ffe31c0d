"""What one turn of one model tells: pure functions of what the load recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import work_done
from pytest_gaitperf.power.energy import integrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.power.metering import PowerReading


@dataclass(frozen=True, slots=True)
class LongTurn:
    """A turn that a power meter resolves: the load ran on past both ends of [start, end] (ns)."""

    record: LoadRecord
    start_ns: int
    end_ns: int


def seconds_per_request(record: LoadRecord) -> float:
    """Return the time of a whole turn, first send to last answer, over its requests.

    Nothing is cut off at its edges: turns of a few requests would lose most of what they tell.
    """
    return (record.drained_ns - record.first_send_ns) / 1e9 / record.requests


def settled_latencies(record: LoadRecord) -> npt.NDArray[np.float64]:
    """Return the latencies (s) of the requests sent once the first answer had come.

    Those before it met an empty queue. Where there were no others, of all.
    """
    starts, ends = record.times()
    settled = starts >= ends[0]
    latencies: npt.NDArray[np.float64] = (ends - starts) / 1e9
    return latencies[settled] if settled.any() else latencies


def ratio(candidate: float, reference: float) -> float:
    """Return log(candidate / reference) of two values for which more is worse."""
    return math.log(candidate / reference)


def percentile_ratios(
    candidate: Iterable[npt.NDArray[np.float64]],
    reference: Iterable[npt.NDArray[np.float64]],
    quantile: float,
    fewest: int,
) -> list[float]:
    """Return the log-ratios of a percentile, of groups of consecutive pairs.

    A turn has too few requests for its own p99: pairs are put together, in order, until each side
    has ``fewest`` requests. The pairs of the last, incomplete group are left out.
    """
    ratios: list[float] = []
    sides: tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]] = ([], [])
    for pair in zip(candidate, reference, strict=True):
        for side, latencies in zip(sides, pair, strict=True):
            side.append(latencies)
        if min(sum(map(len, side)) for side in sides) >= fewest:
            first, second = (float(np.quantile(np.concatenate(side), quantile)) for side in sides)
            ratios.append(ratio(first, second))
            sides = ([], [])
    return ratios


def joules_and_requests(
    turns: Sequence[LongTurn], power: PowerReading
) -> list[tuple[float, float]]:
    """Return the joules of the total, and the requests done, of each turn between its two ends.

    Raises MeterError when the trace does not cover a turn, or power has none.
    """
    assert power.trace is not None  # noqa: S101 - asked only where there is one
    found = []
    for turn in turns:
        starts, ends = turn.record.times()
        edges = np.array([turn.start_ns, turn.end_ns], dtype=np.int64)
        energy = integrate(power.trace, turn.start_ns, turn.end_ns)
        found.append((energy.total_j(power.rails), float(work_done(starts, ends, edges)[0])))
    return found
