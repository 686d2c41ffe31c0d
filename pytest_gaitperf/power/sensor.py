"""What a backend finds: a sensor, described so that the sampler's process can read it.

Stdlib only: the sampler imports this, and it must start fast and stay small.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


Kind = Literal["power", "energy"]
"""What a sensor gives: watts, or joules of a cumulative counter."""


class SensorAbsentError(MeterError):
    """A backend has nothing to read on this machine."""


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever another package's code raises in the block into a MeterError.

    A sick sensor then costs the energy, not the run.
    """
    try:
        yield
    except GaitperfError:
        raise
    except Exception as error:
        raise MeterError(f"{what} failed ({type(error).__name__}: {error})") from error


class Reader(Protocol):
    """Reads every rail of a sensor once, in the sampler's process.

    A reader may also have ``hasten()``, called where a reading takes longer than the sampler's
    interval: from then on it reads less at a time.
    """

    def read(self) -> tuple[float, ...] | None:
        """Return one value per rail (watts, or joules of a counter), None when the sensor is busy.

        Raises MeterError: the sensor cannot be read: says which file or device, and what to do.
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
    """A sensor that was found, described so that a process of its own can sample it.

    What a backend returns when it can read one value of every rail at a time; the plugin then
    paces, dates, integrates and checks the readings. A backend that has readings with times of
    their own returns a ``Meter`` instead.

    - ``name``: the backend's word for ``--power``.
    - ``description``: the sensor in one line: what it is, and what the total consists of.
    - ``rails``: every rail that is read, in the order of the reader's values; each name once.
    - ``total_rails``: the rails whose sum is the module's total: none of them contained in another.
    - ``gpu_rails``: the rails that the GPU hangs on, perhaps none.
    - ``kind``: "power": the reader gives watts, signed. "energy": joules of a counter that never
      falls.
    - ``reader``: the factory of the ``Reader`` as ``module:attribute``. That module imports nothing
      heavy: the sampler draws from the power that it measures.
    - ``arguments``: what the factory is called with, by keyword: JSON values.
    - ``chips``: by the name that an error shall use, the rails that freeze together when a chip is
      stuck.
    - ``nominal_period_s``: the time between two updates in seconds, where the start sees too few of
      them to tell.
    - ``estimated``: whether the figures are computed rather than sensed: they are marked, and not
      gated.
    - ``notes``: what a person should know besides, such as a rail that is disabled.
    """

    name: str
    description: str
    rails: tuple[str, ...]
    total_rails: tuple[str, ...]
    gpu_rails: tuple[str, ...]
    kind: Kind
    reader: str
    arguments: Mapping[str, object]
    chips: Mapping[str, tuple[str, ...]]
    nominal_period_s: float
    estimated: bool = False
    notes: tuple[str, ...] = ()


def chosen_rails(rails: tuple[str, ...], present: tuple[str, ...]) -> tuple[str, ...]:
    """Check the rails a user named against those the sensor has.

    Raises ConfigurationError: a rail is unknown or named twice.
    """
    if unknown := [rail for rail in rails if rail not in present]:
        raise ConfigurationError(
            f"--power-rails names {', '.join(unknown)}, which this sensor does not have; "
            f"it has {', '.join(present)}"
        )
    if len(set(rails)) != len(rails):
        raise ConfigurationError(f"--power-rails names a rail twice: {', '.join(rails)}")
    return rails


@dataclass(frozen=True, slots=True)
class Layout:
    """The rails of a module: which make its total, and which the GPU hangs on.

    ``apart`` are rails that are reported, but never part of the total: they are contained in it, or
    it is not known whether they are.
    """

    modules: str
    total: tuple[str, ...]
    gpu: tuple[str, ...]
    apart: tuple[str, ...]


LAYOUTS = (
    Layout("Jetson Nano", ("POM_5V_IN",), ("POM_5V_GPU",), ("POM_5V_GPU", "POM_5V_CPU")),
    Layout(
        "Jetson Orin Nano, Orin NX or Xavier NX",
        ("VDD_IN",),
        ("VDD_CPU_GPU_CV",),
        ("VDD_CPU_GPU_CV", "VDD_SOC"),
    ),
    Layout(
        "Jetson AGX Orin",
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        ("VDD_GPU_SOC",),
        ("VDDQ_VDD2_1V8AO",),
    ),
    Layout("Jetson AGX Xavier", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), ("GPU",), ()),
    Layout("Jetson Thor", ("VIN",), ("VDD_GPU",), ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
)
"""The rule for each module's total. On AGX Orin it is not settled whether VDDQ_VDD2_1V8AO hangs
behind VIN_SYS_5V0: it stays apart. Thor's VIN includes the carrier board."""

_INPUTS = frozenset(layout.total[0] for layout in LAYOUTS if len(layout.total) == 1)


class ModuleRails(NamedTuple):
    """What the rails of a board are: the module's name, "" if unknown, its total, its GPU's."""

    module: str
    total: tuple[str, ...]
    gpu: tuple[str, ...]


def module_rails(
    rails: tuple[str, ...], chosen: tuple[str, ...] = (), disabled: Sequence[str] = ()
) -> ModuleRails:
    """Find the rails whose sum is the module's total: the chosen ones, else the module's rule.

    The GPU's rails are those that papers on "GPU power" read; of an unknown module, the rails with
    GPU in their label.

    Raises ConfigurationError: a chosen rail does not exist, or counts something twice; MeterError:
    no rule is known for these rails and none were chosen, or a part of the total is missing.
    """
    # A disabled channel is missing here, so a subset is enough; a foreign rail is not.
    layouts = (one for one in LAYOUTS if {*rails} <= {*one.total, *one.apart})
    layout = next(layouts, Layout("", (), tuple(rail for rail in rails if "GPU" in rail), ()))
    gpu = tuple(rail for rail in layout.gpu if rail in rails)
    if chosen:
        whole = [rail for rail in chosen if rail in _INPUTS]
        if whole and len(chosen) > 1:
            raise ConfigurationError(
                f"--power-rails={','.join(chosen)} counts energy twice: {whole[0]} is the module's "
                "input and already contains the others; name it alone, or leave it out"
            )
        return ModuleRails(layout.modules, chosen_rails(chosen, rails), gpu)
    if not layout.total:
        raise MeterError(
            f"no rule for the total of the rails {', '.join(rails)}; say which ones add up to the "
            "module's power with --power-rails=RAIL[,RAIL...]"
        )
    if missing := [rail for rail in layout.total if rail not in rails]:
        why, remedy = "absent", "see whether the driver of its monitor is there (dmesg)"
        if missing[0] in disabled:
            why, remedy = "disabled", "enable its channel"
        raise MeterError(
            f"{missing[0]}, a part of the total of a {layout.modules}, is {why} (readable: "
            f"{', '.join(rails)}); {remedy}, or choose with --power-rails"
        )
    return ModuleRails(layout.modules, layout.total, gpu)
