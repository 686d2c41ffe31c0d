"""The meter of one run: opened once, its idle power known, its traces kept where asked."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.power.budget import ErrorBudget, error_budget
from pytest_gaitperf.power.idle import Idle, drift, measure_idle, unmoved
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.tracefile import recording_of, save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Trace

WINDOWS = 5
"""How many of the meter's shortest windows a cell is measured for: its energy gets an interval."""

_LAG_S = 0.25
_CELL = "a cell"


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

    @property
    def minimum_span_s(self) -> float:
        """How long a cell's load must be measured, in seconds; 0 without a meter."""
        return 0.0 if self.meter is None else WINDOWS * self.meter.minimum_window_s

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
            try:
                self.idle.append(measure_idle(self.meter))
            except MeterError:
                self.meter.stop()

    @property
    def idle_drift(self) -> str | None:
        """How far the idle power went from the first, None when it kept within 5 %."""
        if self.meter is None or len(self.idle) < 2:
            return None
        return drift(self.idle, self.meter.total_rails)

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
                self.meter.start()
        except MeterError as error:
            self._failure = str(error)

    def stop(self) -> None:
        """End sampling for a cell; nothing else is ended."""
        if self._used_by not in ("", _CELL):
            return
        self._used_by = ""
        if self.meter is not None:
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
            trace = meter.trace(start_ns, end_ns)
            stuck = unmoved(self.idle[0].trace, trace, meter.total_rails) if self.idle else None
            if stuck is not None:
                return PowerReading(None, stuck, failed=True)
            budget = error_budget(trace, meter.total_rails, start_ns, end_ns, meter.update_period_s)
        except MeterError as error:
            return PowerReading(None, str(error), failed=True)
        if self._trace_directory is not None:
            edges = [int(edge) for edge in edges_ns]
            self._kept[label] += 1
            recording = recording_of(meter, trace, edges, label)
            save(self._trace_directory, recording, self._kept[label])
        return PowerReading(
            trace,
            rails=meter.total_rails,
            gpu_rails=meter.gpu_rails,
            minimum_window_s=meter.minimum_window_s,
            estimated=meter.estimated,
            budget=budget,
        )
