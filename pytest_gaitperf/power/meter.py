"""What a power meter is, and the choice of one: ``--power``.

A backend is a function from a ``Request`` to a ``Sensor``, which the plugin samples, or to a
``Meter`` of its own. Other packages add one by an entry point of the group
``pytest_gaitperf.meters``, whose name is the word for ``--power``:

    [project.entry-points."pytest_gaitperf.meters"]
    bench = "my_package.bench:find"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError
from pytest_gaitperf.power.boundary import look
from pytest_gaitperf.power.calibration import corrected
from pytest_gaitperf.power.foreign import ForeignMeter
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from pytest_gaitperf.power.calibration import Calibration
    from pytest_gaitperf.power.trace import Trace

ENTRY_POINTS = "pytest_gaitperf.meters"

_BUILT_IN = {
    "ina3221": "pytest_gaitperf.power.ina3221:find",
    "jtop": "pytest_gaitperf.power.jtop:find",
    "nvml": "pytest_gaitperf.power.nvml:find",
    "nvml-power": "pytest_gaitperf.power.nvml:find_power",
    "rapl": "pytest_gaitperf.power.rapl:find",
    "replay": "pytest_gaitperf.power.trace:open_replay",
    "estimate": "pytest_gaitperf.power.estimate:find",
}

_NOT_BY_AUTO = ("nvml-power", "replay", "estimate")
"""The backends that ``auto`` leaves out; it tries the others in order, then those of others."""

_OURS_ALONE = ("replay", "estimate")
"""The backends that ask no driver, service or library."""

_USAGE = {"replay": "replay:FILE", "estimate": "estimate:WATTS"}
"""The built-in backends that take an argument, and how."""


@runtime_checkable
class Meter(Protocol):
    """Something that measures the power of this machine.

    The cycle is ``start``, the load, ``trace`` of the load's window, ``stop``, many times over, and
    ``close`` at the end. Times are nanoseconds of CLOCK_MONOTONIC (``time.monotonic_ns()``).
    """

    @property
    def name(self) -> str:
        """The backend's word for ``--power``."""

    @property
    def description(self) -> str:
        """The meter in one line: what it reads, and how often."""

    @property
    def rails(self) -> tuple[str, ...]:
        """Every rail that a trace has, in the order of its columns."""

    @property
    def total_rails(self) -> tuple[str, ...]:
        """The rails whose sum is the module's total; no part is counted twice."""

    @property
    def gpu_rails(self) -> tuple[str, ...]:
        """The rails that the GPU hangs on, perhaps none."""

    @property
    def minimum_window_s(self) -> float:
        """The shortest window, in seconds, whose joules this meter resolves."""

    @property
    def update_period_s(self) -> float:
        """The time between two values that can differ, in seconds."""

    @property
    def estimated(self) -> bool:
        """Whether no sensor stands behind the figures: they are marked, and not gated."""

    def start(self) -> None:
        """Begin sampling; from its return on, time is covered. Idempotent."""

    def stop(self) -> None:
        """End sampling; time up to the call is covered. Idempotent."""

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Return the readings that cover [start_ns, end_ns], called before ``stop`` or after it.

        Raises MeterError: the sensor failed, or the readings do not cover the window or are too
        few.
        """

    def close(self) -> None:
        """Release the sensor. Idempotent."""


Backend = Callable[[Request], "Sensor | Meter"]
"""Raises SensorAbsentError where there is nothing to read, MeterError where it cannot be read,
ConfigurationError where the argument or the chosen rails are wrong."""


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """The meter, or None with the reasons: one per backend tried, ``name: why not``.

    ``sick``: the last one has a sensor, which cannot be read.
    """

    meter: Meter | None
    tried: tuple[str, ...]
    sick: bool = False


def check_choice(choice: str) -> None:
    """Raise ConfigurationError where ``--power`` names no backend, or gives one a wrong argument.

    Opens nothing.
    """
    name, colon, _ = choice.partition(":")
    backends = _backends()
    words = ("auto", "none", *backends)
    if name not in words:
        raise ConfigurationError(
            f"--power={choice} is unknown{did_you_mean(name, words)} "
            f"choose one of {', '.join(_USAGE.get(word, word) for word in words)}"
        )
    if colon and name not in _USAGE and name in ("auto", "none", *_BUILT_IN):
        raise ConfigurationError(f"--power={choice}: {name} takes nothing after its name")


def open_meter(
    choice: str,
    *,
    rails: tuple[str, ...] = (),
    sysfs_root: Path = Path("/"),
    server_pid: int | None = None,
    calibration: Calibration | None = None,
) -> MeterChoice:
    """Open the meter of this name; ``auto`` takes the first that is there, ``none`` none.

    One that is there and cannot be read ends the search of ``auto``: the next would measure
    something else.

    ``rails`` are the rails of the total instead of the module's rule. ``server_pid`` is what an
    estimate counts the CPU time of. ``calibration`` is the profile's. Tests give
    another ``sysfs_root`` with a fake tree.

    Raises ConfigurationError: as ``check_choice`` does; or a rail does not exist; MeterError: the
    named backend cannot read, or rails were named and no meter was found.
    """
    if choice == "none":
        return MeterChoice(None, ("none: no meter was asked for",))
    check_choice(choice)
    backends = _backends()
    chosen, _, argument = choice.partition(":")
    request = Request(tuple(rails), sysfs_root.resolve(), argument, server_pid)
    names = [name for name in backends if name not in _NOT_BY_AUTO]
    names = names if chosen == "auto" else [chosen]
    if chosen in _OURS_ALONE:
        return MeterChoice(_ours(backends[chosen], request, choice), ())
    tried: list[str] = []
    sick = False
    looked = look([backends[name].value for name in names], request)
    for name, found in zip(names[: len(looked)], looked, strict=True):
        try:
            meter = _opened(backends[name], request, found, calibration)
            return MeterChoice(meter, tuple(tried))
        except MeterError as error:
            if chosen != "auto":
                raise MeterError(f"--power={choice}: {error}") from error
            tried.append(f"{name}: {error}")
            sick = not isinstance(error, SensorAbsentError)
    if rails:
        raise MeterError(
            f"--power-rails={','.join(rails)} was given, but no meter was found; tried "
            + "; ".join(tried)
        )
    return MeterChoice(None, tuple(tried), sick)


def _backends() -> dict[str, EntryPoint]:
    """Return every backend by its word for ``--power``: ours, then those of other packages."""
    ours = [EntryPoint(name, value, ENTRY_POINTS) for name, value in _BUILT_IN.items()]
    others = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    others = [point for point in others if point.name not in _BUILT_IN]
    return {point.name: point for point in (*ours, *others)}


def _ours(point: EntryPoint, request: Request, choice: str) -> Meter:
    try:
        found: Sensor | Meter = point.load()(request)
        return SampledMeter(found) if isinstance(found, Sensor) else found
    except MeterError as error:
        raise MeterError(f"--power={choice}: {error}") from error


def _opened(
    point: EntryPoint,
    request: Request,
    found: Sensor | GaitperfError | None,
    calibration: Calibration | None,
) -> SampledMeter | ForeignMeter:
    if isinstance(found, GaitperfError):
        raise found
    if found is not None:
        return SampledMeter(found if calibration is None else corrected(found, calibration))

    def make() -> object:
        meter = point.load()(request)
        if not isinstance(meter, Meter):
            kind = type(meter).__name__
            raise MeterError(f"{point.value} gives a {kind}, neither a Sensor nor a Meter")
        return meter

    return ForeignMeter(point.value, make, calibration)
