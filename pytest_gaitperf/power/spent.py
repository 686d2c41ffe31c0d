"""The energy of a block of code: what ``power_meter.measure()`` gives."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.metering import above_idle_j

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.metering import Metering


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
            trace = meter.trace(start_ns, end_ns)
            budget = metering.budget(meter, trace, start_ns, end_ns)
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
