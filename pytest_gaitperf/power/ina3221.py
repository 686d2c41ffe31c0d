"""The power monitors on Jetson boards: INA3221 (hwmon or IIO) and INA238, through sysfs.

hwmon (JetPack 5 and newer), ``sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmonN/``: ``inK_label``
the rail, ``inK_input`` mV, ``currK_input`` mA (signed), ``shuntK_resistor`` uOhm, K = 1..3; in4-6
are shunt voltages, in7 and curr4 sums. IIO (JetPack 4), in
``sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/``: ``rail_name_K``, ``in_voltageK_input`` mV,
``in_currentK_input`` mA, K = 0..2. INA238 (Thor, hwmon): ``power1_input`` uW.
The power of a rail is mV x mA / 1e6 W.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.files import text_at
from pytest_gaitperf.power.sensor import SAME, Request, Sensor, SensorAbsentError, module_rails
from pytest_gaitperf.power.sysfs import DisabledError, FileReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_DRIVERS = "sys/bus/i2c/drivers"
_NOMINAL_PERIOD_S = 0.05  # the chip's own is 6.6 ms; drivers that average make it longer


_UNCONNECTED = frozenset({"", "NC"})
_HWMON = ("ina3221*/*-*/hwmon/hwmon*", (1, 2, 3), "in{}_label", ("in{}_input", "curr{}_input"))
_IIO_CHIPS = "ina3221*/*-*/iio:device*"
_IIO = (_IIO_CHIPS, (0, 1, 2), "rail_name_{}", ("in_voltage{}_input", "in_current{}_input"))


@dataclass(frozen=True, slots=True)
class _Channel:
    rail: str
    chip: str
    place: str
    factors: tuple[Path, ...]
    shunt: Path
    scale: float = 1e-6


def find(request: Request) -> Sensor:
    """Find the board's monitors and the rule for its total.

    Only the rails of the total must be readable. Raises SensorAbsentError: no chip is there;
    MeterError: one of these cannot be read, or no rule is known for the board's rails and none were
    chosen; ConfigurationError: the chosen rails do not exist, or count something twice.
    """
    drivers = request.sysfs_root / _DRIVERS
    found = [*_labelled(drivers, *_HWMON), *_ina238(drivers)] or [*_labelled(drivers, *_IIO)]
    if not found:
        chips = [str(path) for path in sorted(drivers.glob("ina3221*/*-*"))]
        if chips:
            raise MeterError(
                f"the power monitor at {', '.join(chips)} has no labelled rail (inK_label or "
                "rail_name_K): is its driver's hwmon or IIO device there, and are its rails in the "
                "device tree?"
            )
        raise SensorAbsentError(
            f"no power monitor found at {drivers}/ina3221*/*/hwmon/hwmon*, "
            f"{drivers}/ina3221*/*/iio:device* or {drivers}/ina238/*/hwmon/hwmon*"
        )
    found = _told_apart(found)
    of_board = module_rails(tuple(channel.rail for channel in found), request.rails)
    module, total, gpu, parts = of_board
    channels, notes = [], [*of_board.notes]
    for channel in found:
        paths = [str(path) for path in channel.factors]
        try:
            with closing(FileReader([(paths, channel.scale)])) as reader:
                reader.read()
        except MeterError as error:
            if channel.rail in total:
                raise MeterError(
                    f"{channel.rail}, a part of the total of {module or 'this board'}, cannot be "
                    f"read: {error}"
                ) from error
            disabled = isinstance(error, DisabledError)
            notes.append(
                f"rail {channel.rail} is {'disabled' if disabled else f'left out: {error}'}"
            )
        else:
            channels.append(channel)
    rails = tuple(channel.rail for channel in channels)
    return Sensor(
        name="ina3221",
        description=(
            f"{module or 'INA3221 of an unknown module'}, "
            f"total {' + '.join(total)} of rails {', '.join(rails)}"
        ),
        rails=rails,
        total_rails=total,
        gpu_rails=tuple(rail for rail in gpu if rail in rails),
        kind="power",
        reader="pytest_gaitperf.power.sysfs:FileReader",
        arguments={
            "channels": [
                [[str(path) for path in channel.factors], channel.scale] for channel in channels
            ],
            "total": [rails.index(rail) for rail in total],
        },
        chips={
            chip: tuple(channel.rail for channel in channels if channel.chip == chip)
            for chip in dict.fromkeys(channel.chip for channel in channels)
        },
        nominal_period_s=_NOMINAL_PERIOD_S,
        notes=tuple(notes),
        parts=tuple(rail for rail in parts if rail in rails),
        calibration=_shunts([channel for channel in channels if channel.rail in total]),
    )


def _told_apart(channels: Sequence[_Channel]) -> list[_Channel]:
    """Name the channels of one label by their chip's address and number, too."""
    known = Counter(channel.rail for channel in channels)
    return [
        one if known[one.rail] == 1 else replace(one, rail=f"{one.rail}{SAME}{one.place}")
        for one in channels
    ]


def _labelled(
    drivers: Path, chips: str, numbers: Iterable[int], label: str, factors: tuple[str, str]
) -> Iterator[_Channel]:
    for device in sorted(drivers.glob(chips)):
        for number in numbers:
            rail = text_at(device / label.format(number))
            if rail not in _UNCONNECTED:
                files = tuple(device / one.format(number) for one in factors)
                shunt = device / f"shunt{number}_resistor"
                yield _Channel(rail, str(device), f"{_address(device)}:{number}", files, shunt)


def _ina238(drivers: Path) -> Iterator[_Channel]:
    for device in sorted(drivers.glob("ina238/*-*/hwmon/hwmon*")):
        rail = text_at(device / "power1_label") or "VIN"
        files = (device / "power1_input",)
        yield _Channel(rail, str(device), _address(device), files, device / "shunt_resistor")


def _shunts(channels: Sequence[_Channel]) -> str:
    """Name the shunts by which the driver turns volts into amperes; "" where it does not tell."""
    shunts = [text_at(channel.shunt) for channel in channels]
    return f"shunts of {' + '.join(shunts)} uOhm" if all(shunts) else ""


def _address(device: Path) -> str:
    """Return the bus and the address of a chip, as in 1-0040."""
    return device.parent.parent.name if device.parent.name == "hwmon" else device.parent.name
