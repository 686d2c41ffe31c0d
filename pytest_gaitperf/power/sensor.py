"""What a backend finds: a sensor, described so that the sampler's process can read it.

Stdlib only: the sampler imports this, and it must start fast and stay small.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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

    A rail beside the total that cannot be read just now is no number (NaN): it is left out of the
    cell, with a note. A reader may also have ``hasten()``, called where a reading takes longer than
    the sampler's interval: from then on it reads less at a time.
    """

    def read(self) -> tuple[float, ...] | None:
        """Return one value per rail (watts, or joules of a counter).

        None when the sensor is busy, or has nothing newer than at the last call.

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
    - ``parts``: rails that are contained in the total. Where they draw more than it, the figures
      are impossible, and none is given.
    - ``calibration``: what besides the rails the total's figures rest on, such as its shunts.
      Joules are not compared with those of another one.
    - ``gain``, ``offset_w``: what turns the total's power into that of a reference meter.
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
    parts: tuple[str, ...] = ()
    calibration: str = ""
    gain: float = 1.0
    offset_w: float = 0.0


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
    it is not known whether they are. ``parts`` are those of them that are: together they cannot
    draw more than it.
    """

    modules: str
    total: tuple[str, ...]
    gpu: tuple[str, ...]
    apart: tuple[str, ...]
    parts: tuple[str, ...] = ()


_NX_PARTS = ("VDD_CPU_GPU_CV", "VDD_SOC")
_NANO_PARTS = ("POM_5V_GPU", "POM_5V_CPU")
_THOR_PARTS = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
_TX_CARRIER = (
    *("VDD_MUX", "VDD_5V_IO_SYS", "VDD_5V0_IO_SYS", "VDD_3V3_SYS", "VDD_3V3_IO"),
    *("VDD_3V3_IO_SLP", "VDD_1V8_IO", "VDD_M2_IN", "VDD_3V3_SYS_M2"),
)

LAYOUTS = (
    Layout("Jetson Nano", ("POM_5V_IN",), ("POM_5V_GPU",), _NANO_PARTS, _NANO_PARTS),
    Layout(
        "Jetson Orin Nano, Orin NX or Xavier NX",
        ("VDD_IN",),
        ("VDD_CPU_GPU_CV",),
        _NX_PARTS,
        _NX_PARTS,
    ),
    Layout(
        "Jetson AGX Orin",
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        ("VDD_GPU_SOC",),
        ("VDDQ_VDD2_1V8AO",),
    ),
    Layout("Jetson AGX Xavier", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), ("GPU",), ()),
    Layout("Jetson Thor", ("VIN",), ("VDD_GPU",), _THOR_PARTS, _THOR_PARTS),
    Layout(
        "Jetson TX2",
        ("VDD_IN",),
        ("VDD_SYS_GPU",),
        ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_SYS_CPU", "VDD_SYS_DDR", *_TX_CARRIER),
    ),
    Layout("Jetson TX1", ("VDD_IN",), ("VDD_GPU",), ("VDD_GPU", "VDD_CPU", *_TX_CARRIER)),
    # What tegrastats called the rails of a TX2.
    Layout(
        "Jetson TX2",
        ("VDD_IN",),
        ("VDD_GPU",),
        ("VDD_CPU", "VDD_GPU", "VDD_SOC", "VDD_WIFI", "VDD_DDR"),
    ),
)
"""The rule for each module's total. On AGX Orin it is not settled whether VDDQ_VDD2_1V8AO hangs
behind VIN_SYS_5V0: it stays apart. Thor's VIN includes the carrier board. Of TX1 and TX2 it is not
settled what VDD_IN contains."""

_INPUTS = frozenset(layout.total[0] for layout in LAYOUTS if len(layout.total) == 1)
_AN_INPUT = re.compile(r"(^|_)(V?IN|DCIN|VBUS|VBAT)$")
"""What the input of a board of an unknown kind may be called."""

SAME = "@"
"""Two rails of one label are told apart by what follows it: the chip's address and the channel."""


class ModuleRails(NamedTuple):
    """What the rails of a board are: the module's name, "" if unknown, its total, its GPU's.

    ``parts`` are rails that are contained in the total.
    """

    module: str
    total: tuple[str, ...]
    gpu: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the total of an unknown board."""
        if self.module or len(self.total) == 1:
            return ()
        sum_ = " + ".join(self.total)
        return (f"this board is not known: that no rail of {sum_} contains another is unchecked",)


def module_rails(rails: tuple[str, ...], chosen: tuple[str, ...] = ()) -> ModuleRails:
    """Find the rails whose sum is the module's total: the chosen ones, else the module's rule.

    ``rails`` are all that the board has, readable or not. The GPU's rails are those that papers on
    "GPU power" read; of an unknown module, the rails with GPU in their label.

    Raises ConfigurationError: a chosen rail does not exist, or counts something twice; MeterError:
    no rule is known for these rails and none were chosen, or a part of the total is missing.
    """
    labels = {rail: rail.partition(SAME)[0] for rail in rails}
    layouts = (one for one in LAYOUTS if {*labels.values()} <= {*one.total, *one.apart})
    layout = next(layouts, Layout("", (), tuple(rail for rail in rails if "GPU" in rail), ()))
    gpu = tuple(rail for rail in rails if {rail, labels[rail]} & {*layout.gpu})
    if chosen:
        chosen_rails(chosen, rails)
        whole = [rail for rail in chosen if labels[rail] in _INPUTS]
        if not layout.modules:
            whole += [rail for rail in chosen if _AN_INPUT.search(labels[rail])]
        if whole and len(chosen) > 1:
            raise ConfigurationError(
                f"--power-rails={','.join(chosen)} counts energy twice: {whole[0]} is the module's "
                "input and already contains the others; name it alone, or leave it out"
            )
        parts = layout.parts if chosen == layout.total else ()
        return ModuleRails(layout.modules, chosen, gpu, parts)
    if not layout.total:
        raise MeterError(
            f"no rule for the total of the rails {', '.join(rails)}; say which ones add up to the "
            "module's power with --power-rails=RAIL[,RAIL...]"
        )
    for label in layout.total:
        if label in rails:
            continue
        what = f"{label}, a part of the total of a {layout.modules}, is"
        if several := [rail for rail in rails if labels[rail] == label]:
            raise MeterError(
                f"{what} there {len(several)} times ({', '.join(several)}): say which one counts "
                "with --power-rails"
            )
        raise MeterError(
            f"{what} absent (the board shows {', '.join(rails)}); see whether the driver of its "
            "monitor is there (dmesg), or choose with --power-rails"
        )
    parts = tuple(rail for rail in layout.parts if rail in rails)
    return ModuleRails(layout.modules, layout.total, gpu, parts)
