"""The Meter that the rest of the plugin sees, and the choice of one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, Sensor

if TYPE_CHECKING:
    from pytest_gaitperf.power.trace import Trace

ENTRY_POINTS = "pytest_gaitperf.meters"

_BACKENDS = {
    "ina3221": "pytest_gaitperf.power.ina3221:find",
    "jtop": "pytest_gaitperf.power.jtop:find",
    "nvml": "pytest_gaitperf.power.nvml:find",
    "nvml-power": "pytest_gaitperf.power.nvml:find_power",
    "rapl": "pytest_gaitperf.power.rapl:find",
    "replay": "pytest_gaitperf.power.replay:open_replay",
    "estimate": "pytest_gaitperf.power.estimate:find",
}

_AUTO = ("ina3221", "jtop", "nvml", "rapl")
"""The backends that ``auto`` tries, in this order; those of other packages follow."""

_USAGE = {"replay": "replay:FILE", "estimate": "estimate:WATTS"}
"""The backends that take an argument, and how."""


class Meter(Protocol):
    """Something that measures the power of this machine.

    ``total_rails`` are the rails whose sum is the module's total, ``gpu_rails`` those that the GPU
    hangs on. ``update_period_s`` is the time between two values that can differ, as it was seen at
    the start; ``minimum_window_s`` the shortest window that this meter resolves. ``estimated``
    marks a figure that no sensor stands behind.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - described in the class
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def rails(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def total_rails(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def gpu_rails(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def minimum_window_s(self) -> float: ...  # noqa: D102
    @property
    def update_period_s(self) -> float: ...  # noqa: D102
    @property
    def estimated(self) -> bool: ...  # noqa: D102

    def start(self) -> None:
        """Begin sampling; from its return on, time is covered. Idempotent."""

    def stop(self) -> None:
        """End sampling; time up to the call is covered. Idempotent."""

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give the readings that cover [start_ns, end_ns] (CLOCK_MONOTONIC).

        Raises MeterError when the sensor or its sampler failed, or the readings are too few.
        """

    def close(self) -> None:
        """Release the sensor. Idempotent."""


Backend = Callable[[Request], "Sensor | Meter"]
"""What a backend is: finds a Sensor (sampled for it) or gives a Meter of its own."""


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """The meter, or None with the reasons: one per backend tried, ``name: why not``."""

    meter: Meter | None
    tried: tuple[str, ...]


def open_meter(
    choice: str,
    *,
    rails: tuple[str, ...] = (),
    sysfs_root: Path = Path("/"),
    server_pid: int | None = None,
) -> MeterChoice:
    """Open the meter of this name; ``auto`` takes the first that reads a value, ``none`` none.

    ``rails`` are the rails of the total instead of the module's rule. ``server_pid`` is what an
    estimate counts the CPU time of. Tests give another ``sysfs_root`` with a fake tree.

    Raises
    ------
    ConfigurationError
        No backend has this name, its argument is wrong, or a rail does not exist.
    MeterError
        The named backend cannot read, or rails were named and no meter was found.

    """
    if choice == "none":
        return MeterChoice(None, ("none: no meter was asked for",))
    outside = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    others = [name for name in sorted(outside) if name not in _BACKENDS]
    chosen, _, argument = choice.partition(":")
    if chosen not in {"auto", *_BACKENDS, *others}:
        offered = ", ".join(_USAGE.get(name, name) for name in (*_BACKENDS, *others))
        raise ConfigurationError(
            f"--power={choice} is unknown; choose one of auto, none, {offered}"
        )
    if ":" in choice and chosen not in {*_USAGE, *others}:
        raise ConfigurationError(f"--power={choice}: {chosen} takes nothing after its name")
    request = Request(tuple(rails), sysfs_root.resolve(), argument, server_pid)
    tried: list[str] = []
    for name in (*_AUTO, *others) if chosen == "auto" else (chosen,):
        try:
            return MeterChoice(_open(name, outside.get(name), request), tuple(tried))
        except MeterError as error:
            if chosen != "auto":
                raise MeterError(f"--power={choice}: {error}") from error
            tried.append(f"{name}: {error}")
    if rails:
        raise MeterError(
            f"--power-rails={','.join(rails)} was given, but no meter was found; tried "
            + "; ".join(tried)
        )
    return MeterChoice(None, tuple(tried))


def _open(name: str, outside: EntryPoint | None, request: Request) -> Meter:
    try:
        if name in _BACKENDS:
            module, _, attribute = _BACKENDS[name].partition(":")
            backend: Backend = getattr(importlib.import_module(module), attribute)
        else:
            assert outside is not None
            backend = outside.load()
    except (ImportError, AttributeError) as error:
        raise MeterError(f"its package cannot be imported ({error}); reinstall it") from error
    found = backend(request)
    return SampledMeter(found) if isinstance(found, Sensor) else found
