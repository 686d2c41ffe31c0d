"""The meter of one run: its idle power, and what it gave for a cell or for a block of code."""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import ConfigurationError, MeasurementError, MeterError
from pytest_gaitperf.power.calibration import MARK
from pytest_gaitperf.power.coverage import Known
from pytest_gaitperf.power.energy import ErrorBudget, error_budget, integrate
from pytest_gaitperf.power.foreign import ForeignMeter
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.trace import About, Recording, save

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Trace

WINDOWS = 5
"""How many of the meter's shortest windows a cell is measured for: its energy gets an interval."""

DRIFT_LIMIT = 0.05
"""Idle power before and after that differ by more than this share are flagged."""

_LAG_S = 0.25
_MOST_HUNG_S = 60.0
"""A meter that took so long in vain to begin, in all, is not asked again."""
_CELL = "a cell"


@dataclass(frozen=True, slots=True)
class Idle:
    """Mean power of each rail, in watts, while nothing was asked of the server."""

    watts: Mapping[str, float]
    duration_s: float
    trace: Trace

    def total_w(self, rails: Sequence[str]) -> float:
        """Sum over ``rails``, in watts."""
        return sum(self.watts[rail] for rail in rails)


def measure_idle(meter: Meter, seconds: float = 3.0) -> Idle:
    """Measure the power while the caller leaves the machine alone.

    At least the meter's minimum window long. Raises MeterError as ``Meter.trace`` does.
    """
    seconds = max(seconds, meter.minimum_window_s)
    meter.start()
    try:
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        end_ns = time.monotonic_ns()
    finally:
        meter.stop()
    trace = meter.trace(start_ns, end_ns)
    energy = integrate(trace, start_ns, end_ns)
    watts = {rail: joules / energy.duration_s for rail, joules in energy.joules.items()}
    return Idle(watts, energy.duration_s, trace)


def drift(idle: Sequence[Idle], rails: Sequence[str]) -> str | None:
    """Say that the idle power of ``rails`` changed by more than ``DRIFT_LIMIT``, else None.

    ``idle`` was measured before each session and after the last: the first is compared with that
    which is farthest from it.
    """
    watts = [one.total_w(rails) for one in idle]
    first_w = watts[0]
    place = max(range(len(watts)), key=lambda index: abs(watts[index] - first_w))
    last_w = watts[place]
    when = "after" if place == len(watts) - 1 else f"before session {place + 1}"
    # A hair more than the limit: 4.2 W is not more than 5 % above 4 W, whatever binary makes of it.
    if abs(last_w - first_w) <= (DRIFT_LIMIT + 1e-9) * abs(first_w):
        return None
    change = (last_w - first_w) / first_w if first_w else float("inf")
    return (
        f"idle power drifted by {change:+.1%} ({first_w:.2f} W before, {last_w:.2f} W {when}): "
        "something else ran or the device warmed up; energy above idle is uncertain by as much"
    )


def unmoved(idle: Trace, loaded: Trace, rails: Sequence[str]) -> str | None:
    """Say that a load left no trace in ``rails``: the sensor is stuck, or measures elsewhere.

    That is so when both traces hold the same few values of every rail; None otherwise.
    """
    for rail in rails:
        column, other = idle.rails.index(rail), loaded.rails.index(rail)
        if set(np.unique(idle.values[:, column])) != set(np.unique(loaded.values[:, other])):
            return None
    return (
        f"{', '.join(rails)} gave the same values idle and under load: the sensor is stuck or "
        "measures another board; check its driver (dmesg)"
    )


def above_idle_j(
    joules: Mapping[str, float],
    duration_s: float,
    inferences: float,
    rails: Sequence[str],
    idle: Sequence[Idle],
) -> float:
    """Return the energy per inference (J) above the idle power: (E - P_idle T) / N.

    E is that of ``rails`` in ``joules``; E, T and N are of the same window; P_idle is the mean of
    the idle measurements, at least one. Signed: below zero is noise, or an idle power that fell.
    """
    idle_w = sum(one.total_w(rails) for one in idle) / len(idle)
    return (sum(joules[rail] for rail in rails) - idle_w * duration_s) / inferences


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What the meter gave for the measured span of a cell.

    ``trace`` covers the span; it is None where ``absent`` says why. ``failed`` tells a meter that
    did not do its work from a machine that has none, and ``again`` that the cell is worth measuring
    once more for it: the meter did its work until then. ``rails`` make up the total, ``gpu_rails``
    are the GPU's. ``minimum_window_s`` is the shortest window the meter resolves. ``note`` says
    what of the rest could not be read.
    """

    trace: Trace | None
    absent: str = ""
    failed: bool = False
    again: bool = False
    rails: tuple[str, ...] = ()
    gpu_rails: tuple[str, ...] = ()
    minimum_window_s: float = 0.0
    estimated: bool = False
    budget: ErrorBudget | None = None
    note: str = ""


class Metering:
    """Reads the run's meter, cell by cell; without a meter every reading says why there is none.

    Joules that can be off by more than ``tolerance``, a ratio, for what the meter did not see are
    none. ``sick``: there is a sensor, and ``absent`` says why it cannot be read. ``unsaved`` says
    why a trace could not be written, "" where none was lost.
    """

    def __init__(
        self,
        meter: Meter | None = None,
        absent: str = "no power meter",
        trace_directory: Path | None = None,
        tolerance: float = 0.05,
        *,
        sick: bool = False,
    ) -> None:
        self.meter = meter
        self.absent = absent
        self._sick = sick
        self._tolerance = tolerance
        self._known = Known()
        self._failures = 0
        self._failure = ""
        self._used_by = ""
        self.idle: list[Idle] = []
        self.unsaved = ""
        self._hung_s = 0.0
        self._trace_directory = trace_directory
        self._kept: Counter[str] = Counter()

    def minimum_span_s(self, lives: int = 1) -> float:
        """Return how long a cell's load must be measured in each of its lives, in seconds.

        0 without a meter.
        """
        if self.meter is None:
            return 0.0
        return math.ceil(WINDOWS / lives) * self.meter.minimum_window_s

    @property
    def lag_s(self) -> float:
        """How far the load must reach past the measured span on either side, in seconds.

        A tenth of the shortest window is two of the sensor's updates.
        """
        return 0.0 if self.meter is None else max(_LAG_S, self.meter.minimum_window_s / 10)

    def measure_idle(self) -> None:
        """Measure the idle power, once more; not of an estimate, which knows none.

        A meter that fails here will fail again in a cell.
        """
        if self.meter is not None and not self.meter.estimated:
            with suppress(MeterError):
                self.idle.append(measure_idle(self.meter))
                self._known.learn(self.idle[-1].trace, idle=True)

    @property
    def idle_drift(self) -> str | None:
        """How far the idle power went from the first, None when it kept within 5 %."""
        if self.meter is None or len(self.idle) <= 1:
            return None
        return drift(self.idle, self.meter.total_rails)

    @property
    def helpers(self) -> tuple[int, ...]:
        """The processes that sample for this one."""
        return (self.meter.sampler_pid,) if isinstance(self.meter, SampledMeter) else ()

    @property
    def calibration(self) -> str:
        """What besides the rails the joules rest on, such as the shunts; "" where nobody tells."""
        return "" if self.meter is None else _calibration(self.meter)

    @property
    def correction(self) -> str:
        """By which reference meter the total's figures are corrected, "" by none."""
        _, mark, how = self.calibration.rpartition(MARK)
        return mark + how

    def power_now_w(self) -> float | None:
        """Return about the present power of the total, in watts, for a person to see.

        None where the meter cannot say at once: a load is going on, and nobody waits for a sensor.
        """
        return self.meter.power_now_w() if isinstance(self.meter, SampledMeter) else None

    def start(self) -> None:
        """Begin sampling for a cell. Where that fails, ``read`` says why."""
        if self._used_by != _CELL:  # a search goes from load to load without an end between
            self.check_free()
        self._used_by = _CELL
        if self._hung_s > _MOST_HUNG_S:  # for good: ``read`` says what was the last of it
            return
        self._failure, began_s = "", time.monotonic()
        try:
            if self.meter is not None:
                self.meter.start()
        except MeterError as error:
            self._failure = str(error)
            self._hung_s += time.monotonic() - began_s

    def stop(self) -> None:
        """End sampling for a cell; nothing else is ended."""
        if self._used_by not in ("", _CELL):
            return
        self._used_by = ""
        if self.meter is not None:
            with suppress(MeterError):
                self.meter.stop()

    def check_free(self) -> None:
        """Raise MeasurementError while something is measured: a second end would cut it short."""
        if self._used_by:
            raise MeasurementError(
                f"the power meter is measuring {self._used_by}: one thing at a time, so measure "
                "this one before or after it"
            )

    @contextmanager
    def reserved(self, user: str) -> Iterator[None]:
        """Keep the meter for one user, in words. Raises MeasurementError while it has another."""
        self.check_free()
        self._used_by = user
        try:
            yield
        finally:
            self._used_by = ""

    def read(self, label: str, edges_ns: npt.NDArray[np.int64]) -> PowerReading:
        """Fetch the trace of the span between the first and the last edge, before ``stop``.

        It is kept under ``label`` where traces are kept, numbered when the cell is measured again.
        A meter that fails costs the energy, not the cell; a trace that cannot be written costs
        neither, and ``unsaved`` says so.
        """
        meter = self.meter
        if meter is None:
            return PowerReading(None, self.absent, failed=self._sick)
        rails, estimated = meter.total_rails, meter.estimated
        failed = partial(PowerReading, None, failed=True, rails=rails, estimated=estimated)
        start_ns, end_ns = int(edges_ns[0]), int(edges_ns[-1])
        span_s = (end_ns - start_ns) / 1e9
        if span_s < meter.minimum_window_s and not self._failure:
            short = (
                f"{span_s:.1f} s were measured, {meter.name} needs {meter.minimum_window_s:.1f} s: "
                "raise --gaitperf-budget"
            )
            return failed(short)
        try:
            trace, budget = self.seen(meter, start_ns, end_ns)
            stuck = unmoved(self.idle[0].trace, trace, meter.total_rails) if self.idle else None
        except MeterError as error:
            self._failures += 1
            return failed(str(error), again=self._failures == 1)
        self._failures = 0
        if stuck is not None:  # another measurement would find it so again
            return failed(stuck)
        if self._trace_directory is not None:
            self._kept[label] += 1
            recording = recording_of(meter, trace, edges_ns, label)
            try:
                save(self._trace_directory, recording, self._kept[label])
            except ConfigurationError as error:
                self.unsaved = self.unsaved or str(error)
        return PowerReading(
            trace,
            rails=rails,
            gpu_rails=_gpu_rails(meter, trace),
            minimum_window_s=meter.minimum_window_s,
            estimated=estimated,
            budget=budget,
            note=rails_left_out(meter, trace.rails),
        )

    def seen(self, meter: Meter, start_ns: int, end_ns: int) -> tuple[Trace, ErrorBudget | None]:
        """Return the trace of a span of a load that may go on, with its budget.

        Raises MeterError where the meter failed, or saw too little of it.
        """
        if self._failure:
            raise MeterError(self._failure)
        trace = meter.trace(start_ns, end_ns)
        if not np.isfinite(trace.values).all():
            raise MeterError(f"{meter.name} gave values that are no numbers")
        return trace, self.budget(meter, trace, start_ns, end_ns)

    def budget(self, meter: Meter, trace: Trace, start_ns: int, end_ns: int) -> ErrorBudget | None:
        """Return the error budget of the total's joules, None where these are 0.

        Raises MeterError where the meter saw too little of the window.
        """
        rails, period_s = meter.total_rails, meter.update_period_s
        known = self._known.learn(trace)
        budget = error_budget(trace, rails, start_ns, end_ns, period_s, known=known)
        unknown = budget.unknown(self._tolerance) if budget is not None else None
        if unknown is not None:
            raise MeterError(f"{meter.name}: {unknown}")
        return budget


def rails_left_out(meter: Meter, rails: Container[str]) -> str:
    """Say which of the meter's rails are not among these, "" where all are."""
    gone = ", ".join(rail for rail in meter.rails if rail not in rails)
    return gone and (
        f"{gone}, beside the total, could not be read or did not count all the time and is left "
        "out: check its driver (dmesg)"
    )


def _gpu_rails(meter: Meter, trace: Trace) -> tuple[str, ...]:
    """Return the GPU's rails where the trace has all of them, else none."""
    return meter.gpu_rails if {*meter.gpu_rails} <= {*trace.rails} else ()


def _calibration(meter: Meter) -> str:
    return meter.calibration if isinstance(meter, (SampledMeter, ForeignMeter)) else ""


def recording_of(
    meter: Meter, trace: Trace, edges_ns: npt.NDArray[np.int64], label: str
) -> Recording:
    """Join a meter's trace with what the meter says of itself."""
    about = About(
        meter=meter.name,
        description=meter.description,
        rails=trace.rails,
        total_rails=meter.total_rails,
        gpu_rails=_gpu_rails(meter, trace),
        kind=trace.kind,
        estimated=meter.estimated,
        label=label,
        calibration=_calibration(meter),
    )
    return Recording(trace, edges_ns, about)
