"""Joules of a window, from a trace: pure functions, no clock and no sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of a window.

    ``joules`` is per rail. ``samples`` counts the readings inside the window, ``fresh`` those of
    them that differ from the reading before (a counter of several rails: the rail that moved least
    often). ``longest_gap_s`` is the longest time between two neighbouring readings that touch the
    window.
    """

    joules: Mapping[str, float]
    duration_s: float
    samples: int
    fresh: int
    longest_gap_s: float

    def total_j(self, rails: Iterable[str]) -> float:
        """Sum over ``rails``, in joules."""
        return sum(self.joules[rail] for rail in rails)

    def mean_power_w(self, rails: Iterable[str]) -> float:
        """Mean power of ``rails`` together over the window, in watts."""
        return self.total_j(rails) / self.duration_s


def changes(trace: Trace, rail: int) -> npt.NDArray[np.intp]:
    """Give the indices of the readings of one rail that differ from the reading before."""
    return np.flatnonzero(np.diff(trace.values[:, rail])) + 1


def summed(trace: Trace, rails: Sequence[str]) -> Trace:
    """Give the trace of the sum of ``rails``, as one rail named ``total``."""
    columns = [trace.rails.index(rail) for rail in rails]
    return Trace(
        ("total",), trace.times_ns, trace.values[:, columns].sum(axis=1, keepdims=True), trace.kind
    )


def gap(trace: Trace, start_ns: int, end_ns: int, longest_s: float) -> str | None:
    """Say that two readings around or in the window lie more than ``longest_s`` apart, else None.

    The trace must cover the window.
    """
    first = int(np.searchsorted(trace.times_ns, start_ns, "right")) - 1
    last = int(np.searchsorted(trace.times_ns, end_ns, "left"))
    gap_s = float(np.max(np.diff(trace.times_ns[first : last + 1]), initial=0)) * 1e-9
    if gap_s <= longest_s:
        return None
    return f"no reading for {gap_s:.3f} s inside a window of {_s(end_ns - start_ns)} s"


def uncovered(trace: Trace, start_ns: int, end_ns: int) -> str | None:
    """Say why the trace cannot give the energy of [start_ns, end_ns], None when it can.

    Power needs a reading at or before the start and one at or after the end. A counter needs an
    *update* of every rail on either side: between updates it repeats an old value.
    """
    for rail, name in enumerate(trace.rails):
        if trace.kind == "energy":
            times, what = trace.times_ns[changes(trace, rail)], f"an update of {name}"
        else:
            times, what = trace.times_ns, "a reading"
        if times.size == 0:
            return f"it has not {what}"
        if times[0] > start_ns:
            return f"{what} is missing before the start (first {_s(times[0] - start_ns)} s after)"
        if times[-1] < end_ns:
            return f"{what} is missing after the end (last {_s(end_ns - times[-1])} s before)"
    return None


def integrate(trace: Trace, start_ns: int, end_ns: int) -> Energy:
    """Give the energy of the window [start_ns, end_ns] (CLOCK_MONOTONIC).

    Power: the trapezoidal rule over the readings inside the window and a reading at each edge,
    interpolated linearly between its neighbours. A counter: the difference between its values at
    the two edges, each interpolated between the *updates* around it. An update is dated by the
    reading that first shows it; the counter's steps are far apart (20 to 100 ms with NVML), and
    interpolating between mere readings would be wrong by up to one step at each edge.

    Raises
    ------
    MeterError
        The trace does not cover the window, or a counter ran backwards.

    """
    if end_ns <= start_ns:
        raise ValueError(f"a window must end after its start ({start_ns} to {end_ns} ns)")
    reason = uncovered(trace, start_ns, end_ns)
    if reason is not None:
        raise MeterError(
            f"the power trace does not cover the window of {_s(end_ns - start_ns)} s: {reason}"
            "; start the meter before the load and stop it after"
        )
    times, first, last = trace.times_ns, *_inside(trace, start_ns, end_ns)
    touching = times[max(0, first - 1) : last + 1]
    joules = {
        name: (
            _counter_j(trace, rail, start_ns, end_ns)
            if trace.kind == "energy"
            else _power_j(trace, rail, start_ns, end_ns)
        )
        for rail, name in enumerate(trace.rails)
    }
    return Energy(
        joules=joules,
        duration_s=(end_ns - start_ns) * 1e-9,
        samples=last - first,
        fresh=_fresh(trace, start_ns, end_ns),
        longest_gap_s=float(np.max(np.diff(touching), initial=0)) * 1e-9,
    )


def _inside(trace: Trace, start_ns: int, end_ns: int) -> tuple[int, int]:
    first = int(np.searchsorted(trace.times_ns, start_ns, "left"))
    return first, int(np.searchsorted(trace.times_ns, end_ns, "right"))


def _fresh(trace: Trace, start_ns: int, end_ns: int) -> int:
    first, last = _inside(trace, start_ns, end_ns)
    rows = trace.values[max(0, first - 1) : last]
    moved = np.diff(rows, axis=0) != 0
    if trace.kind == "energy":
        return int(moved.sum(axis=0).min(initial=len(rows)))
    return int(moved.any(axis=1).sum())


def _power_j(trace: Trace, rail: int, start_ns: int, end_ns: int) -> float:
    times, watts = trace.times_ns, trace.values[:, rail]
    # Strictly inside: a reading exactly on an edge is what the interpolation there returns.
    first = int(np.searchsorted(times, start_ns, "right"))
    last = int(np.searchsorted(times, end_ns, "left"))

    def between(left: int, at_ns: int) -> float:
        span = int(times[left + 1] - times[left])
        share = int(at_ns - times[left]) / span if span else 0.0
        return float(watts[left] + (watts[left + 1] - watts[left]) * share)

    at_start = between(first - 1, start_ns) if first < times.size else float(watts[-1])
    at_end = between(last - 1, end_ns) if last > 0 else float(watts[0])
    seconds = np.concatenate(([start_ns], times[first:last], [end_ns])) - start_ns
    curve = np.concatenate(([at_start], watts[first:last], [at_end]))
    return float(np.sum((curve[1:] + curve[:-1]) * np.diff(seconds)) * 0.5e-9)


def _counter_j(trace: Trace, rail: int, start_ns: int, end_ns: int) -> float:
    updates = changes(trace, rail)
    level = trace.values[updates, rail]
    if np.any(np.diff(level) < 0):
        raise MeterError(
            f"the energy counter {trace.rails[rail]} ran backwards inside the trace: the driver "
            "was reloaded or the counter reset; measure this cell again"
        )
    edges = np.array([0, end_ns - start_ns], dtype=np.float64)
    at = np.interp(edges, (trace.times_ns[updates] - start_ns).astype(np.float64), level)
    return float(at[1] - at[0])


def _s(nanoseconds: float) -> str:
    return f"{nanoseconds * 1e-9:.3f}"
