"""What the device is doing: temperatures, clocks, limits in force. Read around each cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.device.files import number, text
from pytest_gaitperf.device.jetson import pinned_clocks, power_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LIMITERS = re.compile(r"throttle|cpufreq|devfreq|^Processor$", re.IGNORECASE)
"""Cooling devices that cool by slowing down; a fan is none. On Orin, cpu-throttle-alert,
gpu-throttle-alert and the like; elsewhere cpufreq-cpuN, devfreq-..., and ACPI's Processor."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One look at the device; empty where it does not tell (a virtual machine).

    ``temperatures_c`` by thermal zone; ``cpu_frequencies_hz`` and ``governors`` by CPU;
    ``device_frequencies_hz`` by devfreq device (the GPU's among them); ``limits`` by cooling device
    that slows the machine, its state (0 is off); ``alarms`` by hwmon alarm, whether it is raised;
    ``counters`` of throttling and over-current events since boot; ``load_average`` over 1, 5 and 15
    minutes; ``power_mode`` and ``pinned_clocks`` of a Jetson.
    """

    temperatures_c: Mapping[str, float]
    cpu_frequencies_hz: Mapping[str, float]
    governors: Mapping[str, str]
    device_frequencies_hz: Mapping[str, float]
    limits: Mapping[str, int]
    alarms: Mapping[str, bool]
    counters: Mapping[str, int]
    load_average: tuple[float, float, float] | None
    power_mode: str | None
    pinned_clocks: bool


def read_state(*, root: Path = Path("/")) -> DeviceState:
    """Look at the machine below ``root``; takes milliseconds, needs no rights."""
    thermal, cpus = root / "sys/class/thermal", root / "sys/devices/system/cpu"
    policies = {path.parent.name: path for path in sorted(cpus.glob("cpu[0-9]*/cpufreq"))}
    monitors = _monitors(root)
    load = (text(root / "proc/loadavg") or "").split()
    return DeviceState(
        temperatures_c={
            name: value / 1e3 for name, value in _named(thermal, "thermal_zone*", "temp").items()
        },
        cpu_frequencies_hz={
            cpu: value * 1e3
            for cpu, path in policies.items()
            if (value := number(path / "scaling_cur_freq")) is not None
        },
        governors={
            cpu: governor
            for cpu, path in policies.items()
            if (governor := text(path / "scaling_governor")) is not None
        },
        device_frequencies_hz={
            path.name: float(value)
            for path in sorted((root / "sys/class/devfreq").glob("*"))
            if (value := number(path / "cur_freq")) is not None
        },
        limits={
            name: value
            for name, value in _named(thermal, "cooling_device*", "cur_state").items()
            if _LIMITERS.search(name.partition(" ")[0])
        },
        alarms={
            f"{monitor} {_rail(path)}": value != 0
            for monitor, directory in monitors.items()
            for path in sorted(directory.glob("curr*_alarm"))
            if (value := number(path)) is not None
        },
        counters={
            name: value
            for name, path in _counters(cpus, monitors)
            if (value := number(path)) is not None
        },
        load_average=(float(load[0]), float(load[1]), float(load[2])) if load else None,
        power_mode=power_mode(root),
        pinned_clocks=pinned_clocks(root),
    )


def throttled(before: DeviceState, after: DeviceState) -> str | None:
    """Say why a measurement between these two looks is not of an unhindered device, else None."""
    for name, value in after.counters.items():
        if value > before.counters.get(name, value):
            return f"{name} rose from {before.counters[name]} to {value}"
    for when, state in (("before", before), ("after", after)):
        for name, level in state.limits.items():
            if level > 0:
                return f"{name} was slowing the device {when} the measurement (level {level})"
        for name, raised in state.alarms.items():
            if raised:
                return f"the alarm {name} was raised {when} the measurement"
    if before.power_mode != after.power_mode:
        return f"the power mode changed from {before.power_mode} to {after.power_mode}"
    if before.pinned_clocks != after.pinned_clocks:
        return "jetson_clocks was switched during the measurement"
    return None


def _named(directory: Path, pattern: str, leaf: str) -> dict[str, int]:
    """Read a file of each device below a directory, by the device's type.

    Several devices of one type are told apart by their own name.
    """
    values: dict[str, int] = {}
    for device in sorted(directory.glob(pattern), key=_natural):
        value = number(device / leaf)
        if value is not None:
            name = text(device / "type") or device.name
            values[name if name not in values else f"{name} ({device.name})"] = value
    return values


def _monitors(root: Path) -> dict[str, Path]:
    """Find the hwmon chips, by a name that tells them apart: driver and bus address."""
    monitors: dict[str, Path] = {}
    found = [
        *sorted((root / "sys/class/hwmon").glob("hwmon*"), key=_natural),
        *sorted((root / "sys/bus/i2c/drivers").glob("ina3221*/*-*/hwmon/hwmon*")),
    ]
    seen = set()
    for directory in found:
        real = directory.resolve()
        if real not in seen:
            seen.add(real)
            # hwmonN changes from boot to boot, the address of its device does not.
            monitors[f"{text(directory / 'name') or 'hwmon'} {real.parent.parent.name}"] = directory
    return monitors


def _rail(alarm: Path) -> str:
    channel = re.match(r"curr(\d+)_(.+)", alarm.name)
    label = text(alarm.with_name(f"in{channel[1]}_label")) if channel else None
    return f"{label} {channel[2]}" if label and channel else alarm.name


def _counters(cpus: Path, monitors: Mapping[str, Path]) -> Iterable[tuple[str, Path]]:
    # x86: the core's and the package's thermal events. Orin: over-current events of the SoC.
    for path in sorted(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")):
        yield f"{path.parent.parent.name} {path.name}", path
    for monitor, directory in monitors.items():
        for path in sorted(directory.glob("oc*_event_cnt")):
            yield f"{monitor} {path.name}", path


def _natural(path: Path) -> tuple[str, int]:
    name = re.match(r"(.*?)(\d*)$", path.name)
    return (name[1], int(name[2] or 0)) if name else (path.name, 0)
