"""What a meter did not see of a window: pauses of its readings, and stretches of stale values.

In neither does anything show what the power was. It can have been whatever else the rail was seen
at, which bounds the error of the joules: unseen seconds x observed range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.power.trace import changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.power.trace import Trace

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]

_PAUSE = 2.0
"""Two readings that lie this many times the usual apart: a pause, the whole of it."""

_CHANCE = 1e-6
"""A chip that stands for so long that a living one does so with this chance is stale."""

_STEADIEST = 1.1
"""Updates from change to change at least: also where each seems to bring one, some do not."""

_FEWEST_RUNS = 4
_RANGE = {"power": (0.01, 0.99), "energy": (0.1, 0.9)}
"""Quantiles that count as a rail's range. A counter's steps are dated late by up to a reading, so
that the power between two of them scatters."""


@dataclass(slots=True)
class Known:
    """What a meter's rails were seen to do so far, idle or under load.

    ``watts`` is by rail the lowest and the highest power, ``still_s`` by chip (the
    rails on it) how long it can stand still, by what it did while the machine was idle.
    """

    watts: dict[str, tuple[float, float]] = field(default_factory=dict)
    still_s: dict[tuple[str, ...], float] = field(default_factory=dict)

    def learn(self, trace: Trace, *, idle: bool = False) -> Known:
        """Add what a trace shows; return this very object."""
        for rail, name in enumerate(trace.rails):
            watts = _watts(trace, rail)
            if watts.size:
                low, high = np.quantile(watts, _RANGE[trace.kind])
                old_low, old_high = self.watts.get(name, (low, high))
                self.watts[name] = float(min(low, old_low)), float(max(high, old_high))
        for chip in _chips(trace) if idle else ():
            still_s = _still_s(_runs(trace, chip)[1])
            self.still_s[chip] = max(still_s, self.still_s.get(chip, 0.0))
        return self

    def range_w(self, rail: str) -> float:
        """Return how far apart the highest and the lowest power of a rail are, in watts."""
        low, high = self.watts.get(rail, (0.0, 0.0))
        return high - low


@dataclass(frozen=True, slots=True)
class Unseen:
    """Seconds of a window in which no reading came, and in which a chip's values were stale.

    ``joules`` is by how much those of the window can be off for it.
    """

    paused_s: float
    stale_s: float
    joules: float


def unseen(trace: Trace, rails: Sequence[str], start_ns: int, end_ns: int, known: Known) -> Unseen:
    """Tell what the trace, which covers [start_ns, end_ns], does not show of ``rails`` in it."""
    if trace.kind == "energy":
        return _unseen_counters(trace, rails, start_ns, end_ns, known)
    lengths_s = np.diff(trace.times_ns) * 1e-9
    inside_s = _inside_s(trace.times_ns, start_ns, end_ns)
    paused = lengths_s > _PAUSE * np.median(lengths_s)
    paused_s = float(inside_s[paused].sum())
    joules = paused_s * sum(map(known.range_w, rails))
    stale = np.zeros_like(paused)
    for chip in _chips(trace):
        some = [rail for rail in chip if rail in rails]
        run, runs_s = _runs(trace, chip, ~paused)
        longest_s = max(_still_s(runs_s), known.still_s.get(chip, 0.0))
        if some and longest_s:
            still = (runs_s > longest_s)[run] & ~paused
            joules += float(inside_s[still].sum()) * sum(map(known.range_w, some))
            stale |= still
    return Unseen(paused_s, float(inside_s[stale].sum()), joules)


def _unseen_counters(
    trace: Trace, rails: Sequence[str], start_ns: int, end_ns: int, known: Known
) -> Unseen:
    """Tell it of counters, which count on through a pause.

    Lost are a stretch without an update in which an edge lies, and one after which the counter had
    not made up for it.
    """
    stale_s, joules = 0.0, 0.0
    for name in rails:
        rail = trace.rails.index(name)
        times = trace.times_ns[changes(trace, rail)]
        lengths_s, inside_s = np.diff(times) * 1e-9, _inside_s(times, start_ns, end_ns)
        watts, (low_w, high_w) = _watts(trace, rail), known.watts.get(name, (0.0, 0.0))
        late = lengths_s > _PAUSE * np.median(lengths_s)
        cut = (inside_s > 0) & (inside_s < lengths_s)
        lost = late & (cut | (watts < low_w - 0.5 * abs(low_w)))
        stale_s = max(stale_s, float(inside_s[lost].sum()))
        joules += float((inside_s * (high_w - np.minimum(watts, low_w)))[lost].sum())
    return Unseen(0.0, stale_s, joules)


def _inside_s(times_ns: Times, start_ns: int, end_ns: int) -> Values:
    """Return how much of each interval between two times lies in a window, in seconds."""
    clipped: Values = np.diff(np.clip(times_ns, start_ns, end_ns)) * 1e-9
    return clipped


def _watts(trace: Trace, rail: int) -> Values:
    """Return the power of a rail at each reading; of a counter, between each two updates."""
    if trace.kind == "power":
        return trace.values[:, rail]
    moved = changes(trace, rail)
    seconds = np.diff(trace.times_ns[moved]) * 1e-9
    watts: Values = np.diff(trace.values[moved, rail]) / np.maximum(seconds, 1e-9)
    return watts


def _chips(trace: Trace) -> tuple[tuple[str, ...], ...]:
    return trace.chips or (trace.rails,)


def _runs(
    trace: Trace, chip: Sequence[str], seen: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int64], Values]:
    """Cut the trace into runs in which no rail of the chip moved.

    Return for each interval between two readings its run, and for each run its seconds, pauses
    (what is not ``seen``) left out.
    """
    columns = [trace.rails.index(rail) for rail in chip if rail in trace.rails]
    moved = np.any(np.diff(trace.values[:, columns], axis=0) != 0, axis=1)
    run = np.cumsum(np.r_[False, moved[:-1]]).astype(np.int64)
    seconds = np.diff(trace.times_ns) * 1e-9
    counted = seconds if seen is None else seconds * seen
    return run, np.bincount(run, counted).astype(np.float64)


def _still_s(runs_s: Values) -> float:
    """Return how long a chip can stand still and live; 0 where there are too few runs to tell.

    In each update, of which the shortest runs have one, its value moves with a chance p of 1 over
    the mean run, so that n updates pass without a change with a chance of (1 - p)^n. The longest
    run tells nothing of what is usual.
    """
    if runs_s.size < _FEWEST_RUNS:
        return 0.0
    usual_s = np.sort(runs_s)[:-1]
    update_s = float(np.quantile(usual_s, 0.25))
    updates = max(float(usual_s.mean()) / max(update_s, 1e-9), _STEADIEST)
    return update_s * math.log(_CHANCE) / math.log(1 - 1 / updates)
