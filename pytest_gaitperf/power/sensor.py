"""What a backend finds: a sensor, described so that the sampler's process can read it.

Stdlib only: the sampler imports this, and it must start fast and stay small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_gaitperf.errors import ConfigurationError, MeterError

if TYPE_CHECKING:
    from collections.abc import Mapping


class SensorAbsentError(MeterError):
    """A backend has nothing to read on this machine."""


class Reader(Protocol):
    """Reads every rail of a sensor, in the sampler's process."""

    def read(self) -> tuple[float, ...] | None:
        """Give one value per rail (watts, or joules of a counter), None when the sensor is busy.

        Raises
        ------
        MeterError
            The sensor cannot be read: says which file or device, and what to do.

        """


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked of a backend.

    ``rails`` are those of the total (empty: the module's rule), ``argument`` what followed the
    backend's name and a colon, ``server_pid`` the server's process on this host.
    """

    rails: tuple[str, ...] = ()
    sysfs_root: Path = Path("/")
    argument: str = ""
    server_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Sensor:
    """A readable sensor.

    ``reader`` names the Reader's factory as ``module:attribute``, called with ``arguments`` (JSON
    values) in the sampler's process; that module imports nothing heavy. ``total_rails`` are those
    whose sum is the module's total. ``chips`` gives, by the name that an error shall use, the rails
    that freeze together when that chip is stuck. ``nominal_period_s`` is assumed for the time
    between two updates where the probe at start sees too few of them.
    """

    name: str
    description: str
    rails: tuple[str, ...]
    total_rails: tuple[str, ...]
    gpu_rails: tuple[str, ...]
    kind: Literal["power", "energy"]
    reader: str
    arguments: Mapping[str, object]
    chips: Mapping[str, tuple[str, ...]]
    nominal_period_s: float
    estimated: bool = False
    notes: tuple[str, ...] = field(default=())


def chosen_rails(rails: tuple[str, ...], present: tuple[str, ...]) -> tuple[str, ...]:
    """Check the rails a user named against those the sensor has.

    Raises
    ------
    ConfigurationError
        A rail is unknown or named twice.

    """
    unknown = [rail for rail in rails if rail not in present]
    if unknown:
        raise ConfigurationError(
            f"--power-rails names {', '.join(unknown)}, which this sensor does not have; "
            f"it has {', '.join(present)}"
        )
    if len(set(rails)) != len(rails):
        raise ConfigurationError(f"--power-rails names a rail twice: {', '.join(rails)}")
    return rails
