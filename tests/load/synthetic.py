"""Records of loads that never were, whose truth is known."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import LoadRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

START_NS = 5 * 10**14


def closed_loop(latencies_s: npt.NDArray[np.float64], think_s: float = 0.0) -> LoadRecord:
    """The record of a closed loop from START_NS on; float64[slots, requests], the pauses alike."""
    think_ns = round(think_s * 1e9)
    passed = np.cumsum(latencies_s, axis=1) * 1e9 + think_ns * np.arange(latencies_s.shape[1])
    ends = START_NS + np.rint(passed).astype(np.int64)
    starts = np.concatenate([np.full((len(ends), 1), START_NS), ends[:, :-1] + think_ns], axis=1)
    order = np.argsort(ends, axis=None, kind="stable")
    return LoadRecord(
        starts_ns=array("q", starts.ravel()[order].tolist()),
        ends_ns=array("q", ends.ravel()[order].tolist()),
        first_send_ns=START_NS,
        stopped_ns=int(starts.max()),
        drained_ns=int(ends.max()),
        client_cpu_ns=int(0.1 * (ends.max() - START_NS)),
    )


def steady(concurrency: int, latency_s: float, duration_s: float) -> LoadRecord:
    """Every request takes the same time."""
    return closed_loop(np.full((concurrency, round(duration_s / latency_s)), latency_s))


def seen_at(record: LoadRecord, now_ns: int) -> LoadRecord:
    """What had completed by a time."""
    count = int(np.searchsorted(record.times()[1], now_ns, "right"))
    return LoadRecord(
        starts_ns=record.starts_ns[:count],
        ends_ns=record.ends_ns[:count],
        failures=record.failures,
        failure_reasons=record.failure_reasons,
        first_send_ns=record.first_send_ns,
    )


def open_loop(sent_s: npt.NDArray[np.float64], latencies_s: npt.NDArray[np.float64]) -> LoadRecord:
    """The record of an open loop from START_NS on; each request is sent in time."""
    starts = START_NS + np.rint(sent_s * 1e9).astype(np.int64)
    ends = starts + np.rint(latencies_s * 1e9).astype(np.int64)
    order = np.argsort(ends, kind="stable")
    return LoadRecord(
        starts_ns=array("q", starts[order].tolist()),
        ends_ns=array("q", ends[order].tolist()),
        first_send_ns=START_NS,
        stopped_ns=int(starts.max()),
        drained_ns=int(ends.max()),
        client_cpu_ns=int(0.1 * (ends.max() - START_NS)),
        delays_ns=array("q", [0] * len(starts)),
    )


def stops_at(
    observer: Callable[[LoadRecord, int], bool], record: LoadRecord, tick_s: float = 0.05
) -> float:
    """Return when the observer ends the load (s); the record must last until then."""
    for tick in range(1, 100_000):
        now_ns = START_NS + round(tick * tick_s * 1e9)
        if not observer(seen_at(record, now_ns), now_ns):
            return tick * tick_s
    raise AssertionError("it never stopped")
