"""Joules of a window, their error budget and their timeline: pure functions of a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.measurement import PowerTimeline
from pytest_gaitperf.power.coverage import Known, unseen
from pytest_gaitperf.power.trace import Trace, changes, uncovered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


MOST_BINS = 100
"""How many bins of a timeline the measured span is cut into at most."""

MOST_BINS_BESIDE = 10
"""How many bins of the same width are kept before the span, and as many after it, at most."""

MOST_UNSEEN = 0.1
"""Where more than this share of a window was not seen, what was seen does not tell the range."""

_INTERLEAVED = 8
_FEWEST_READINGS = 4 * _INTERLEAVED


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


def integrate(trace: Trace, start_ns: int, end_ns: int) -> Energy:
    """Give the energy of the window [start_ns, end_ns] (CLOCK_MONOTONIC).

    Power: the trapezoidal rule over the readings inside the window and a reading at each edge,
    interpolated linearly between its neighbours. A counter: the difference between its values at
    the two edges, each interpolated between the *updates* around it. An update is dated by the
    reading that first shows it; the counter's steps are far apart (20 to 100 ms with NVML), and
    interpolating between mere readings would be wrong by up to one step at each edge.

    Raises MeterError: the trace does not cover the window, or a counter ran backwards.
    """
    if end_ns <= start_ns:
        raise ValueError(f"a window must end after its start ({start_ns} to {end_ns} ns)")
    reason = uncovered(trace, start_ns, end_ns)
    if reason is not None:
        raise MeterError(
            f"the power trace does not cover the window of {(end_ns - start_ns) * 1e-9:.3f} s: "
            f"{reason}; start the meter before the load and stop it after"
        )
    first = int(np.searchsorted(trace.times_ns, start_ns, "left"))
    last = int(np.searchsorted(trace.times_ns, end_ns, "right"))
    before = max(0, first - 1)
    rows = trace.values[before:last]
    moved = np.diff(rows, axis=0) != 0
    counter = trace.kind == "energy"
    joules_of = _counter_j if counter else _power_j
    return Energy(
        joules={
            name: joules_of(trace, rail, start_ns, end_ns) for rail, name in enumerate(trace.rails)
        },
        duration_s=(end_ns - start_ns) * 1e-9,
        samples=last - first,
        fresh=int(moved.sum(axis=0).min(initial=len(rows)) if counter else moved.any(axis=1).sum()),
        longest_gap_s=float(np.max(np.diff(trace.times_ns[before : last + 1]), initial=0)) * 1e-9,
    )


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


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """The relative standard errors of a window's joules, by cause.

    ``averages`` is whether the rounding varied within the window, so that a longer one averages it.
    ``unseen`` is no standard error but a bound: how far the joules can be off for the shares of the
    window in which no reading came (``paused``) and in which a chip stood still (``stale``).
    """

    duration_s: float
    quantisation: float
    edges: float
    sampling: float
    averages: bool
    unseen: float = 0.0
    paused: float = 0.0
    stale: float = 0.0

    @property
    def relative(self) -> float:
        """All causes together: the root of the sum of squares, and what was not seen on top."""
        return math.hypot(self.quantisation, self.edges, self.sampling) + self.unseen

    def unknown(self, tolerance: float) -> str | None:
        """Say that too little was seen for joules within ``tolerance`` (a ratio), else None.

        Also where so much was not seen that what was seen does not tell the range.
        """
        if self.unseen <= tolerance and self.paused + self.stale <= MOST_UNSEEN:
            return None
        causes = {
            "no reading came (the sampler was not scheduled, or the driver blocked)": self.paused,
            "the values stood still (a stuck chip, or a service that stopped)": self.stale,
        }
        said = " and ".join(f"in {share:.0%} {cause}" for cause, share in causes.items() if share)
        return (
            f"too little was seen of a load of {self.duration_s:.2f} s: {said}, so that its energy "
            f"can be off by {self.unseen:.1%} (the tolerance is {tolerance:.1%}) or more"
        )

    def cut(self, seconds: float, pieces: int) -> ErrorBudget:
        """Return the budget where only ``seconds`` of the window count, in so many pieces."""
        longer = self.duration_s / seconds
        return ErrorBudget(
            duration_s=seconds,
            quantisation=self.quantisation * (math.sqrt(longer) if self.averages else 1.0),
            edges=self.edges * longer * math.sqrt(pieces),
            sampling=self.sampling * math.sqrt(longer),
            averages=self.averages,
            unseen=self.unseen * longer,
            paused=self.paused * longer,
            stale=self.stale * longer,
        )

    def describe(self) -> str:
        """Say it in one line."""
        return (
            f"energy known to {self.relative:.2%} (rounding {self.quantisation:.2%}, edges "
            f"{self.edges:.2%}, sampling {self.sampling:.2%}, unseen {self.unseen:.2%})"
        )


def error_budget(
    trace: Trace,
    rails: Sequence[str],
    start_ns: int,
    end_ns: int,
    update_period_s: float,
    *,
    known: Known | None = None,
) -> ErrorBudget | None:
    """Estimate the errors of the joules of ``rails`` over [start_ns, end_ns], from the trace.

    With T the window, P the mean power, tau the sensor's update period, h the time between readings
    and m readings that are new values:

    - *quantisation*, q / (sqrt(12) P sqrt(m)): rounding to steps of q is uniform over one step
      (variance q^2 / 12), the same while the value stays, independent when it has moved. q is the
      smallest step seen; where voltage and current both step, an estimate from below. A counter's
      own steps (1 mJ or less) are negligible.
    - *edges*, sqrt(h^2 + (c tau)^2) / (sqrt(6) T): what is read at an edge is uniformly up to one
      update old (variance tau^2 / 12, two edges), and shifts the window by so much; that matters as
      far as the power at the two edges differs, by its relative deviation c. A counter's update is
      besides dated by the reading that first shows it, up to h late (for power that term is 0).
    - *sampling*: the window is integrated again from every 8th reading, in 8 interleaved ways; the
      variance of the 8 results, divided by 8, is that of their mean (Mahalanobis' interpenetrating
      samples), times tau / h where the sensor updates less often than it is read, because repeated
      values are no new information. Too large for a periodic load, whose errors cancel from period
      to period. 0 for a counter: the hardware integrates.
    - *unseen*, the seconds without a reading and those of stale values, each times the range that
      the rails were seen to have (``known``; by default in this trace), over the joules.

    Assumed: the load repeats with no fixed relation to the sampling, and the power at the edges is
    that of the window (the load runs on past both). With too few readings for 8 ways, they are
    taken as independent draws: the deviation of the power over the root of their number.

    None where the joules are 0, which have no relative error.

    Raises MeterError when the trace does not cover the window.
    """
    energy = integrate(trace, start_ns, end_ns)
    joules = energy.total_j(rails)
    if joules == 0:
        return None
    columns = [trace.rails.index(rail) for rail in rails]
    summed = trace.values[:, columns].sum(axis=1, keepdims=True)
    total = Trace(("total",), trace.times_ns, summed, trace.kind)
    inside = (total.times_ns >= start_ns) & (total.times_ns <= end_ns)
    moved = changes(total, 0)
    fresh = int(np.sum(inside[moved]))
    interval_s = float(np.median(np.diff(total.times_ns))) * 1e-9
    mean_w = joules / energy.duration_s
    lost = unseen(trace, rails, start_ns, end_ns, known or Known().learn(trace))
    blind = {
        "unseen": lost.joules / abs(joules),
        "paused": lost.paused_s / energy.duration_s,
        "stale": lost.stale_s / energy.duration_s,
    }
    if trace.kind == "energy":
        times, levels = total.times_ns[moved], total.values[moved, 0]
        watts = np.diff(levels) / np.maximum(np.diff(times) * 1e-9, 1e-9)
        variation = float(np.std(watts)) / abs(mean_w) if watts.size > 1 else 0.0
        edges = _edges(interval_s, variation, update_period_s, energy.duration_s)
        return ErrorBudget(energy.duration_s, 0.0, edges, 0.0, averages=True, **blind)
    values = total.values[inside, 0]
    variation = float(np.std(values)) / abs(mean_w) if values.size > 1 else 0.0
    steps = np.abs(np.diff(total.values[:, 0]))
    # Below a millionth of the power it is the float's rounding, not the sensor's.
    steps = steps[steps > 1e-6 * abs(mean_w)]
    quantum_w = float(steps.min(initial=math.inf)) if steps.size else 0.0
    return ErrorBudget(
        duration_s=energy.duration_s,
        quantisation=quantum_w / math.sqrt(12 * max(1, fresh)) / abs(mean_w),
        edges=_edges(0.0, variation, update_period_s, energy.duration_s),
        sampling=_sampling(total, start_ns, end_ns, update_period_s / max(interval_s, 1e-9))
        / abs(joules),
        averages=fresh > 0,
        **blind,
    )


def pooled_budget(budgets: Sequence[ErrorBudget]) -> ErrorBudget:
    """Return the budget of several windows together, at least one, each at about the same power.

    Their errors are independent; what was not seen adds up.
    """
    seconds = sum(one.duration_s for one in budgets)

    def shares(values: Iterable[float]) -> Iterable[float]:
        return (
            value * one.duration_s / seconds for value, one in zip(values, budgets, strict=True)
        )

    def together(errors: Iterable[float]) -> float:
        return math.hypot(*shares(errors))

    return ErrorBudget(
        duration_s=seconds,
        quantisation=together(one.quantisation for one in budgets),
        edges=together(one.edges for one in budgets),
        sampling=together(one.sampling for one in budgets),
        averages=any(one.averages for one in budgets),
        unseen=sum(shares(one.unseen for one in budgets)),
        paused=sum(shares(one.paused for one in budgets)),
        stale=sum(shares(one.stale for one in budgets)),
    )


def window_for(budget: ErrorBudget, relative: float) -> float:
    """Give the window in seconds whose joules would be known to ``relative``.

    Rounding and sampling fall with the root of the window, the edges with the window: solved from
    the budget of a window that was measured. Infinite where the value never moved: no window
    averages a constant rounding error, nor what is not seen.
    """
    if relative <= 0:
        raise ValueError(f"a precision must be positive ({relative})")
    relative -= budget.unseen
    if relative <= 0 or (not budget.averages and budget.quantisation > relative):
        return math.inf
    random = budget.quantisation**2 * budget.averages + budget.sampling**2
    wanted = relative**2 - (0 if budget.averages else budget.quantisation**2)
    if wanted <= 0 or not math.isfinite(random + budget.edges):
        return math.inf
    # edges^2 x^2 + random x = wanted, where x is the measured window over the one asked for; in
    # the form that stays exact where edges is 0.
    root = math.hypot(random, 2 * budget.edges * math.sqrt(wanted))
    share = 2 * wanted / (random + root) if random + root else math.inf
    return budget.duration_s / share


def _edges(late_s: float, variation: float, update_period_s: float, duration_s: float) -> float:
    return math.hypot(late_s, variation * update_period_s) / (math.sqrt(6) * duration_s)


def _sampling(trace: Trace, start_ns: int, end_ns: int, readings_per_update: float) -> float:
    """Give the standard error in joules that the distance between the readings leaves."""
    first = int(np.searchsorted(trace.times_ns, start_ns, "right")) - 1
    last = int(np.searchsorted(trace.times_ns, end_ns, "left"))
    if last - first < _FEWEST_READINGS:
        # Without the first and the last reading, which may lie outside.
        draws = max(1.0, (last - first - 1) / max(1.0, readings_per_update))
        deviation_w = float(np.std(trace.values[first : last + 1, 0]))
        return deviation_w * (end_ns - start_ns) * 1e-9 / math.sqrt(draws)
    results = []
    for offset in range(_INTERLEAVED):
        kept = np.unique([first, *range(first + 1 + offset, last, _INTERLEAVED), last])
        part = Trace(trace.rails, trace.times_ns[kept], trace.values[kept], "power")
        results.append(integrate(part, start_ns, end_ns).joules[trace.rails[0]])
    variance = float(np.var(results, ddof=1)) / _INTERLEAVED * max(1.0, readings_per_update)
    return math.sqrt(variance)


def power_timeline(trace: Trace, start_ns: int, end_ns: int) -> PowerTimeline:
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
