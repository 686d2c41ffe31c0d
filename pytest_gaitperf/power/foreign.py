"""A meter of another package, in this process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_gaitperf.deadline import Worker
from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.boundary import DEADLINE_S, HANGS
from pytest_gaitperf.power.sensor import foreign
from pytest_gaitperf.power.trace import Trace, calibrated

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.power.calibration import Calibration

T = TypeVar("T")


class ForeignMeter:
    """A Meter of another package, kept at arm's length: it only raises MeterError.

    ``make`` returns it; all calls are made in one thread, each with a deadline. The profile's
    ``calibration`` is put on its total, where it is of this meter.
    """

    def __init__(
        self, backend: str, make: Callable[[], object], calibration: Calibration | None = None
    ) -> None:
        self._backend, self._worker = backend, Worker(f"gaitperf meter {backend}")

        def about() -> tuple[Any, tuple[Any, ...]]:
            meter: Any = make()
            return meter, (
                str(meter.name),
                str(meter.description),
                tuple(meter.rails),
                tuple(meter.total_rails),
                tuple(meter.gpu_rails),
                float(meter.minimum_window_s),
                float(meter.update_period_s),
                bool(meter.estimated),
            )

        self._meter, described = self._within(about)
        self.name, self.description, self.rails, self.total_rails, self.gpu_rails = described[:5]
        self.minimum_window_s, self.update_period_s, self.estimated = described[5:]
        self.calibration, self._correction = "", (1.0, 0.0)
        if calibration is None:
            return
        if note := calibration.misfit(self.name, self.total_rails):
            self.description += f"; {note}"
            return
        self.description += calibration.label
        self.calibration = calibration.text
        self._correction = calibration.gain, calibration.offset_w

    def start(self) -> None:
        """Begin sampling."""
        self._within(self._meter.start)

    def stop(self) -> None:
        """End sampling."""
        self._within(self._meter.stop)

    def close(self) -> None:
        """Release the sensor; what goes wrong then is nobody's loss any more."""
        with contextlib.suppress(MeterError):
            self._within(self._meter.close)

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give the readings of a window."""
        found = self._within(lambda: self._meter.trace(start_ns, end_ns))
        if not isinstance(found, Trace):
            raise MeterError(f"the backend {self._backend} gave a {type(found).__name__}, no Trace")
        with foreign(f"the backend {self._backend}"):
            return calibrated(found, self.total_rails, *self._correction)

    def _within(self, call: Callable[[], T]) -> T:
        with foreign(f"the backend {self._backend}"):
            try:
                return self._worker.call(call, DEADLINE_S)
            except TimeoutError:
                hangs = HANGS.format(DEADLINE_S)
                raise MeterError(f"the backend {self._backend} {hangs}") from None
            except SystemExit as error:
                raise MeterError(f"the backend {self._backend} tried to exit ({error})") from error
