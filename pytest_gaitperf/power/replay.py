"""A recorded trace in place of a sensor: ``--power=replay:FILE``.

The recording begins at ``start()``: a window asked for as long after it as it was when recorded
gives the same joules. They are those of the run that was recorded, not of the one that is going on,
so the meter is marked *estimated*.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.energy import uncovered
from pytest_gaitperf.power.sensor import Request, chosen_rails
from pytest_gaitperf.power.tracefile import Recording, load

if TYPE_CHECKING:
    from pytest_gaitperf.power.trace import Trace

_READINGS_PER_WINDOW = 20
_SHORTEST_WINDOW_S = 0.5


class ReplayMeter:
    """A Meter that plays a recording from each ``start()`` on."""

    estimated = True

    def __init__(self, recording: Recording, rails: tuple[str, ...], source: str) -> None:
        trace = recording.trace
        self.name = "replay"
        self.rails = trace.rails
        self.total_rails = rails or recording.total_rails
        self.gpu_rails = recording.gpu_rails
        # What is covered begins at the first reading, of a counter at the first update.
        self._origin_ns = max(
            int(trace.times_ns[_first(trace, rail)]) for rail in range(len(trace.rails))
        )
        self.update_period_s = float(np.median(np.diff(trace.times_ns))) * 1e-9
        readings_s = _READINGS_PER_WINDOW * self.update_period_s
        self.minimum_window_s = max(_SHORTEST_WINDOW_S, readings_s)
        self._recording, self._source = recording, source
        self._shift_ns: int | None = None

    @property
    def description(self) -> str:
        """The recording in words."""
        trace = self._recording.trace
        seconds = int(trace.times_ns[-1] - trace.times_ns[0]) * 1e-9
        return (
            f"ESTIMATED: {seconds:.1f} s recorded in {self._source} of {self._recording.label} "
            f"({self._recording.description})"
        )

    def start(self) -> None:
        """Begin the recording anew, at this moment."""
        self._shift_ns = time.monotonic_ns() - self._origin_ns

    def stop(self) -> None:
        """Do nothing: the recording has its end."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give the recording, moved onto the clock as it was at ``start()``.

        Raises MeterError when it does not cover the window.
        """
        if self._shift_ns is None:
            raise MeterError("the replay was not started; start the meter before the load")
        trace = self._recording.trace
        moved = replace(trace, times_ns=trace.times_ns + self._shift_ns)
        reason = uncovered(moved, start_ns, end_ns)
        if reason is not None:
            raise MeterError(
                f"the recording {self._source} does not cover a window of "
                f"{(end_ns - start_ns) * 1e-9:.2f} s: {reason}; record a longer one"
            )
        return moved


def open_replay(request: Request) -> ReplayMeter:
    """Open the recording that the request names.

    Raises
    ------
    ConfigurationError
        No file is named, it cannot be read, is too short, or lacks a chosen rail.

    """
    if not request.argument:
        raise ConfigurationError(
            "--power=replay needs a file that --power-trace recorded, as in "
            "--power=replay:traces/CELL.power.npz"
        )
    recording = load(Path(request.argument))
    trace = recording.trace
    if any(_first(trace, rail) >= trace.times_ns.size - 1 for rail in range(len(trace.rails))):
        raise ConfigurationError(
            f"{request.argument}: {trace.times_ns.size} readings are too few to replay"
        )
    rails = chosen_rails(request.rails, trace.rails)
    return ReplayMeter(recording, rails, request.argument)


def _first(trace: Trace, rail: int) -> int:
    """Give the index of a rail's first reading that can begin a window."""
    if trace.kind == "power":
        return 0
    moved = np.flatnonzero(np.diff(trace.values[:, rail]))
    return int(moved[0]) + 1 if moved.size else trace.times_ns.size
