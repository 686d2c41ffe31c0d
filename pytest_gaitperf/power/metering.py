"""The meter of one run: its idle power, and what it gave for a cell or for a block of code."""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.power.energy import ErrorBudget, error_budget, integrate
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import foreign
from pytest_gaitperf.power.trace import About, Recording, save

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Trace

WINDOWS = 5
"""How many of the meter's shortest windows a cell is measured for: its energy gets an interval."""

DRIFT_LIMIT = 0.05
"""Idle power before and after that differ by more than this share are flagged."""

_LAG_S = 0.25
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
    did not do its work from a machine that has none. ``rails`` make up the total, ``gpu_rails`` are
    the GPU's. ``minimum_window_s`` is the shortest window the meter resolves.
    """

    trace: Trace | None
    absent: str = ""
    failed: bool = False
    rails: tuple[str, ...] = ()
    gpu_rails: tuple[str, ...] = ()
    minimum_window_s: float = 0.0
    estimated: bool = False
    budget: ErrorBudget | None = None


class Metering:
    """Reads the run's meter, cell by cell; without a meter every reading says why there is none."""

    def __init__(
        self,
        meter: Meter | None = None,
        absent: str = "no power meter",
        trace_directory: Path | None = None,
    ) -> None:
        self.meter = meter
        self.absent = absent
        self._failure = ""
        self._used_by = ""
        self.idle: list[Idle] = []
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
            with suppress(MeterError), foreign("the meter"):
                self.idle.append(measure_idle(self.meter))

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
        self._failure = ""
        try:
            if self.meter is not None:
                with foreign("the meter"):
                    self.meter.start()
        except MeterError as error:
            self._failure = str(error)

    def stop(self) -> None:
        """End sampling for a cell; nothing else is ended."""
        if self._used_by not in ("", _CELL):
            return
        self._used_by = ""
        if self.meter is not None:
            with suppress(MeterError), foreign("the meter"):
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
        A meter that fails costs the energy, not the cell. Raises ConfigurationError when the trace
        cannot be written.
        """
        meter = self.meter
        if meter is None:
            return PowerReading(None, self.absent)
        if self._failure:
            return PowerReading(None, self._failure, failed=True)
        start_ns, end_ns = int(edges_ns[0]), int(edges_ns[-1])
        try:
            with foreign("the meter"):
                trace = meter.trace(start_ns, end_ns)
            stuck = unmoved(self.idle[0].trace, trace, meter.total_rails) if self.idle else None
            if stuck is not None:
                return PowerReading(None, stuck, failed=True)
            budget = error_budget(trace, meter.total_rails, start_ns, end_ns, meter.update_period_s)
        except MeterError as error:
            return PowerReading(None, str(error), failed=True)
        if self._trace_directory is not None:
            self._kept[label] += 1
            recording = recording_of(meter, trace, edges_ns, label)
            save(self._trace_directory, recording, self._kept[label])
        return PowerReading(
            trace,
            rails=meter.total_rails,
            gpu_rails=meter.gpu_rails,
            minimum_window_s=meter.minimum_window_s,
            estimated=meter.estimated,
            budget=budget,
        )


def recording_of(
    meter: Meter, trace: Trace, edges_ns: npt.NDArray[np.int64], label: str
) -> Recording:
    """Join a meter's trace with what the meter says of itself."""
    about = About(
        meter=meter.name,
        description=meter.description,
        rails=trace.rails,
        total_rails=meter.total_rails,
        gpu_rails=meter.gpu_rails,
        kind=trace.kind,
        estimated=meter.estimated,
        label=label,
    )
    return Recording(trace, edges_ns, about)


class Spent:
    """What a block took; its figures are there when it has ended.

    ``duration_s`` seconds; ``rails_j`` the joules of each rail, ``joules`` those of the module's
    total, ``mean_w`` the total's mean power in watts. ``above_idle_j`` is the total less the idle
    power that the run measured at its start, None where that is not known. ``relative_error`` is
    the standard error that sampling and rounding leave, relative to ``joules``, None where they are
    0. ``estimated``: no sensor stands behind the figures.
    """

    joules: float
    rails_j: Mapping[str, float]
    duration_s: float
    mean_w: float
    above_idle_j: float | None
    relative_error: float | None
    estimated: bool

    def __getattr__(self, name: str) -> NoReturn:
        """Tell a figure that is not there yet from one that never will be."""
        if name in Spent.__annotations__:
            raise AttributeError(
                f"{name} is known when the block of power_meter.measure() has ended: use it after "
                "the 'with'"
            )
        raise AttributeError(
            f"{name!r} is no figure of a block; it has {', '.join(Spent.__annotations__)}"
        )


@contextmanager
def spending(metering: Metering, meter: Meter) -> Iterator[Spent]:
    """Measure the energy of a block.

    Raises MeasurementError: the meter is measuring another block or a cell, or this one was shorter
    than the meter resolves: no figure is given then; MeterError: the meter failed.
    """
    with metering.reserved("a block of power_meter.measure()"):
        spent = Spent()
        with foreign("the meter"):
            meter.start()
        try:
            start_ns = time.monotonic_ns()
            yield spent
            end_ns = time.monotonic_ns()
            duration_s = (end_ns - start_ns) / 1e9
            if duration_s < meter.minimum_window_s:
                raise MeasurementError(
                    f"the block took {duration_s:.3g} s, and {meter.name} resolves "
                    f"{meter.minimum_window_s:.3g} s or more: repeat the work in it until it is "
                    "long enough, and divide"
                )
            with foreign("the meter"):
                trace = meter.trace(start_ns, end_ns)
            budget = error_budget(trace, meter.total_rails, start_ns, end_ns, meter.update_period_s)
        finally:
            meter.stop()
    energy, rails = integrate(trace, start_ns, end_ns), meter.total_rails
    spent.joules = energy.total_j(rails)
    spent.rails_j = energy.joules
    spent.duration_s = energy.duration_s
    spent.mean_w = energy.mean_power_w(rails)
    spent.above_idle_j = (
        above_idle_j(energy.joules, energy.duration_s, 1, rails, metering.idle)
        if metering.idle
        else None
    )
    spent.relative_error = None if budget is None else budget.relative
    spent.estimated = meter.estimated
