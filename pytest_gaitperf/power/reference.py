"""A reference meter beside the board's own: gain, offset, and the share that the board misses.

The two clocks need not agree: the reference is shifted to where its power follows the board's most
closely (cross-correlation), and then fitted, reference = gain x board + offset, by least squares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import correlate

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.power.calibration import FILE, MARK, Calibration
from pytest_gaitperf.power.trace import changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.power.trace import Recording

    Values = npt.NDArray[np.float64]

_BINS_PER_UPDATE = 2.0
_SHORTEST_BIN_S = 0.1
_FEWEST_BINS = 30
_FINE = 20
_CORRELATED, _FEWEST_SWINGS = 0.9, 8
_GAINS = (0.5, 2.0)


def calibrate(board: Sequence[Recording], reference: Recording) -> Calibration:
    """Fit the reference to the board's recordings, which share a clock.

    Raises ConfigurationError: the two have no pattern in common, or too little of one.
    """
    first = board[0].about
    same = {(one.about.meter, one.about.total_rails, one.about.calibration) for one in board}
    if len(same) > 1:
        raise ConfigurationError(
            "the recordings are of several meters, totals or shunts: give those of one"
        )
    if MARK in first.calibration:
        raise ConfigurationError(
            "the recordings are of a meter that is calibrated already: move the profile's "
            f"{FILE} away, and record again"
        )
    ours, theirs = [_Curve(one) for one in board], _Curve(reference)
    bin_s = max(_SHORTEST_BIN_S, _BINS_PER_UPDATE * max(one.period_s for one in (*ours, theirs)))
    start_s = min(one.times_s[0] for one in ours)
    count = int((max(one.times_s[-1] for one in ours) - start_s) / bin_s)
    edges = start_s + bin_s * np.arange(count + 1)
    watts = _joined(ours, edges[:-1], edges[1:])
    seen = int(np.isfinite(watts).sum())
    if seen < _FEWEST_BINS:
        raise ConfigurationError(
            f"{seen * bin_s:.0f} s of the board's power at steps of {bin_s:.2g} s are too little "
            f"to compare: {_FEWEST_BINS * bin_s:.0f} s at least are needed"
        )
    # What the reference shows at a time is compared with the board's mean around it: blurred edges
    # of the board's own bins would make the gain too small.
    width_s, (at_s, shown_w) = max(theirs.period_s, bin_s / _BINS_PER_UPDATE), theirs.points(bin_s)

    def around(lag_s: float) -> Values:
        middle_s = at_s - lag_s
        return _joined(ours, middle_s - width_s / 2, middle_s + width_s / 2)

    def close(lag_s: float) -> float:
        found = around(lag_s)
        known = np.isfinite(found)
        return _correlation(found[known], shown_w[known])

    coarse_s = _lag_s(watts, edges, theirs)
    lag_s = float(max(coarse_s + bin_s * np.arange(-_FINE, _FINE + 1) / _FINE, key=close))
    found_w = around(lag_s)
    both = np.isfinite(found_w)
    x, y = found_w[both], shown_w[both]
    correlation = _correlation(x, y)
    if not correlation >= _CORRELATED or x.size < _FEWEST_BINS:
        raise ConfigurationError(
            f"{reference.about.label} does not follow the board's power (correlation "
            f"{correlation:.2f} at best, {_CORRELATED} is needed): it is of another time, or the "
            "load did not vary enough: record both over cells with pauses between"
        )
    spread = x - x.mean()
    if (swings := _swings(spread)) < _FEWEST_SWINGS:
        raise ConfigurationError(
            f"the board's power went up or down {swings} times: that fits many a log; "
            f"{_FEWEST_SWINGS} times are needed to tell that both meters saw the same, so measure "
            "more cells, with pauses between"
        )
    gain = float(spread @ (y - y.mean()) / (spread @ spread))
    offset_w = float(y.mean() - gain * x.mean())
    if not _GAINS[0] <= gain <= _GAINS[1]:
        raise ConfigurationError(
            f"{reference.about.label} shows {gain:.3g} times the board's changes: check the units "
            "of the log, and that it measures this board"
        )
    rest = y - gain * x - offset_w
    # Neighbouring bins share errors: what is left counts as often as it is independent.
    after = float(np.clip(_correlation(rest[1:], rest[:-1]), 0.0, 0.95))
    variance = float(rest @ rest) / (x.size - 2) * (1 + after) / (1 - after)
    gain_error = math.sqrt(variance / float(spread @ spread))
    return Calibration(
        gain=gain,
        gain_error=gain_error,
        offset_w=offset_w,
        offset_error_w=math.hypot(math.sqrt(variance / x.size), gain_error * float(x.mean())),
        unseen=float(1 - x.mean() / y.mean()),
        board_w=float(x.mean()),
        reference_w=float(y.mean()),
        correlation=correlation,
        seconds=x.size * float(np.median(np.diff(at_s))),
        lag_s=lag_s,
        meter=first.meter,
        rails=first.total_rails,
        sensor=first.calibration,
        reference=reference.about.label,
    )


class _Curve:
    """The energy of a recording's total as a function of time."""

    _readings: Values | None

    def __init__(self, recording: Recording) -> None:
        trace = recording.trace
        columns = [trace.rails.index(rail) for rail in recording.about.total_rails]
        total = trace.values[:, columns].sum(axis=1)
        times_s = trace.times_ns * 1e-9
        if trace.kind == "energy":
            moved = np.unique(np.concatenate([changes(trace, column) for column in columns]))
            self.times_s, self._joules, self._readings = times_s[moved], total[moved], None
        else:
            steps = np.diff(times_s) * (total[1:] + total[:-1]) / 2
            self.times_s, self._joules = times_s, np.concatenate(([0.0], np.cumsum(steps)))
            self._readings = total
        if self.times_s.size <= 1:
            raise ConfigurationError(f"{recording.about.label}: there is no power in it")
        self.period_s = float(np.median(np.diff(self.times_s)))

    def mean_w(self, low_s: Values, high_s: Values) -> Values:
        """Return the mean power from each time to another, NaN where that is not covered."""
        joules = np.interp(high_s, self.times_s, self._joules)
        watts = (joules - np.interp(low_s, self.times_s, self._joules)) / (high_s - low_s)
        covered = (low_s >= self.times_s[0]) & (high_s <= self.times_s[-1])
        return np.where(covered, watts, np.nan)

    def points(self, bin_s: float) -> tuple[Values, Values]:
        """Return times and powers: the readings, or means over bins where these are dense."""
        if self._readings is not None and _BINS_PER_UPDATE * self.period_s >= bin_s:
            return self.times_s, self._readings
        step_s = max(self.period_s, bin_s / _BINS_PER_UPDATE)
        edges = np.arange(self.times_s[0], self.times_s[-1], step_s)
        return (edges[:-1] + edges[1:]) / 2, self.mean_w(edges[:-1], edges[1:])


def _joined(curves: Sequence[_Curve], low_s: Values, high_s: Values) -> Values:
    watts = np.full(low_s.size, np.nan)
    for curve in curves:
        one = curve.mean_w(low_s, high_s)
        watts = np.where(np.isfinite(one), one, watts)
    return watts


def _lag_s(watts: Values, edges: Values, theirs: _Curve) -> float:
    """Return the shift of the reference's clock at which it follows the board's power most."""
    bin_s = float(edges[1] - edges[0])
    span_s = theirs.times_s[-1] - theirs.times_s[0]
    other_s = theirs.times_s[0] + bin_s * np.arange(int(span_s / bin_s) + 1)
    other = theirs.mean_w(other_s[:-1], other_s[1:])
    seen = np.isfinite(watts)
    x, mask = np.where(seen, watts - watts[seen].mean(), 0.0), seen.astype(float)
    y, ones = other - other.mean(), np.ones(other.size)

    def sums(one: Values, two: Values) -> Values:
        found: Values = correlate(one, two, mode="full", method="fft")
        return found

    count = np.maximum(sums(ones, mask), 1e-9)
    x_sum, y_sum = sums(ones, x), sums(y, mask)
    top = sums(y, x) - x_sum * y_sum / count
    below = (sums(ones, x * x) - x_sum**2 / count) * (sums(y * y, mask) - y_sum**2 / count)
    enough = count >= max(_FEWEST_BINS, 0.5 * min(seen.sum(), other.size)) - 0.5
    close = np.where(enough & (below > 0), top / np.sqrt(np.maximum(below, 1e-300)), -1.0)
    shift = int(np.argmax(close)) - (watts.size - 1)
    return float(theirs.times_s[0] - edges[0]) + shift * bin_s


def _swings(spread: Values) -> int:
    """Count how often a power went from clearly above its mean to clearly below, or back."""
    clear = np.sign(spread[np.abs(spread) > spread.std() / 2])
    return int(np.count_nonzero(np.diff(clear)))


def _correlation(x: Values, y: Values) -> float:
    if x.size <= 1 or not x.std() or not y.std():
        return -1.0
    return float(np.corrcoef(x, y)[0, 1])
