"""Idle power, before and after, and what a load's energy is above it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.power.energy import integrate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Trace

DRIFT_LIMIT = 0.05
"""Idle power before and after that differ by more than this share are flagged."""


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
