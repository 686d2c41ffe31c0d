"""What the device is doing: temperatures, clocks, limits in force. Read around each cell."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.files import int_at, text_at
from pytest_gaitperf.host.gpu import read_gpus
from pytest_gaitperf.host.identity import pinned_clocks
from pytest_gaitperf.host.modes import power_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_gaitperf.host.gpu import GpuState

HELD_SHARE = 0.01
"""A GPU that was held back for more than this share of the time between two looks was throttled."""

_LIMITERS = re.compile(r"throttle|balanced|cpufreq|devfreq|^Processor$", re.IGNORECASE)
"""Cooling devices that cool by slowing down; a fan is none. On Orin, cpu-throttle-alert,
gpu-throttle-alert and the like, on JetPack 4 cpu-balanced, gpu-balanced and emergency-balanced;
elsewhere cpufreq-cpuN, devfreq-..., and ACPI's Processor."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One look at the device; empty where it does not tell (a virtual machine).

    ``temperatures_c`` by thermal zone; ``governors`` by CPU; ``clock_limits_hz`` the lowest and
    highest frequency allowed now, by CPU and devfreq device (the GPU's among them).
    ``limits``: by cooling device that slows the machine, its state (0 is off), and by over-current
    alarm, whether it is raised. ``counters`` of throttling and over-current events since boot.
    ``gpus`` are those that NVML sees. ``load_average`` over 1, 5 and 15 minutes; ``power_mode`` and
    ``pinned_clocks`` of a Jetson; ``at_s`` the time of the look on the monotonic clock.
    """

    temperatures_c: Mapping[str, float]
    governors: Mapping[str, str]
    limits: Mapping[str, int]
    counters: Mapping[str, int]
    load_average: tuple[float, float, float] | None
    power_mode: str | None
    pinned_clocks: bool
    clock_limits_hz: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gpus: Mapping[str, GpuState] = field(default_factory=dict)
    at_s: float = 0.0

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature of all zones and GPUs, None where there is none to read."""
        gpus = (gpu.temperature_c for gpu in self.gpus.values() if gpu.temperature_c is not None)
        return max((*self.temperatures_c.values(), *gpus), default=None)


def read_state(*, root: Path = Path("/")) -> DeviceState:
    """Look at the machine below ``root``; takes milliseconds, needs no rights."""
    cpus = root / "sys/devices/system/cpu"
    policies = {path.parent.name: path for path in sorted(cpus.glob("cpu[0-9]*/cpufreq"))}
    devices = {path.name: path for path in sorted((root / "sys/class/devfreq").glob("*"))}
    monitors = _monitors(root)
    load = re.match(
        r"(\d{1,9}\.\d\d) (\d{1,9}\.\d\d) (\d{1,9}\.\d\d) ",
        text_at(root / "proc/loadavg"),
        re.ASCII,
    )
    return DeviceState(
        temperatures_c=_temperatures_c(root),
        governors={
            cpu: governor
            for cpu, path in policies.items()
            if (governor := text_at(path / "scaling_governor"))
        },
        limits=_read(limiting_files(root).items()),
        counters=_read(_counters(cpus, monitors)),
        load_average=(float(load[1]), float(load[2]), float(load[3])) if load else None,
        power_mode=power_mode(root),
        pinned_clocks=pinned_clocks(root),
        clock_limits_hz={
            name: (low * scale, high * scale)
            for name, low_file, high_file, scale in (
                *(
                    (c, p / "scaling_min_freq", p / "scaling_max_freq", 1e3)
                    for c, p in policies.items()
                ),
                *((d, p / "min_freq", p / "max_freq", 1.0) for d, p in devices.items()),
            )
            if (low := int_at(low_file)) is not None and (high := int_at(high_file)) is not None
        },
        # NVML speaks of the machine that runs this, not of a fake tree.
        gpus=read_gpus() if root == Path("/") else {},
        at_s=time.monotonic(),
    )


def throttled(before: DeviceState, after: DeviceState) -> str | None:
    """Say why a measurement between these two looks is not of an unhindered device, else None."""
    reasons = chain(
        _counted(before, after),
        _in_force("before", before),
        _in_force("after", after),
        _changed(before, after),
    )
    return next(reasons, None)


def _counted(before: DeviceState, after: DeviceState) -> Iterator[str]:
    for name, value in after.counters.items():
        if value > before.counters.get(name, value):
            yield f"{name} rose from {before.counters[name]} to {value}"
    elapsed_s = after.at_s - before.at_s
    for gpu in sorted(after.gpus.keys() & before.gpus.keys()):
        for policy, held_s in after.gpus[gpu].held_s.items():
            rise_s = held_s - before.gpus[gpu].held_s.get(policy, held_s)
            if rise_s > HELD_SHARE * elapsed_s:
                yield (
                    f"{gpu} ({after.gpus[gpu].name}) was held back by its {policy} policy for "
                    f"{rise_s:.2f} s of {elapsed_s:.2f} s"
                )


def _in_force(when: str, state: DeviceState) -> Iterator[str]:
    for name, level in state.limits.items():
        if level > 0:
            yield f"{name} was slowing the device {when} the measurement (level {level})"
    for name, gpu in state.gpus.items():
        if gpu.reasons:
            yield f"{name} ({gpu.name}) was slowed by {gpu.reasons[0]} {when} the measurement"


def _changed(before: DeviceState, after: DeviceState) -> Iterator[str]:
    if before.power_mode != after.power_mode:
        yield f"the power mode changed from {before.power_mode} to {after.power_mode}"
    if before.pinned_clocks != after.pinned_clocks:
        yield "jetson_clocks was switched during the measurement"
    for name, (low, high) in after.clock_limits_hz.items():
        old_low, old_high = before.clock_limits_hz.get(name, (low, high))
        if (old_low, old_high) != (low, high):
            yield (
                f"the clock limits of {name} changed from {old_low / 1e6:g}-{old_high / 1e6:g} to "
                f"{low / 1e6:g}-{high / 1e6:g} MHz during the measurement"
            )
    if before.gpus.keys() != after.gpus.keys():
        yield f"the GPUs changed from {', '.join(before.gpus)} to {', '.join(after.gpus)}"
    for name in sorted(after.gpus.keys() & before.gpus.keys()):
        old_w, new_w = before.gpus[name].power_limit_w, after.gpus[name].power_limit_w
        if old_w != new_w:
            yield f"the power limit of {name} changed from {old_w} to {new_w} W"


def limiting_files(root: Path) -> dict[str, Path]:
    """Find the files whose being other than 0 means that the device is held back now.

    The states of the cooling devices that slow it, and the monitors' over-current alarms.
    """
    coolers = sorted((root / "sys/class/thermal").glob("cooling_device*"), key=_natural)
    return {
        **{
            f"{kind} ({cooler.name})": cooler / "cur_state"
            for cooler in coolers
            if _LIMITERS.search(kind := text_at(cooler / "type") or cooler.name)
        },
        **{f"the alarm {name}": path for name, path in _alarms(_monitors(root))},
    }


def limits_raised(files: Mapping[str, Path]) -> list[str]:
    """Name those of ``limiting_files`` that hold the device back now."""
    return [name for name, path in files.items() if (int_at(path) or 0) > 0]


def _read(files: Iterable[tuple[str, Path]]) -> dict[str, int]:
    return {name: value for name, path in files if (value := int_at(path)) is not None}


def _temperatures_c(root: Path) -> dict[str, float]:
    """Read every thermal zone; several of one type are told apart by their own name."""
    values: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_natural):
        value_mc = int_at(zone / "temp")
        if value_mc is not None:
            name = text_at(zone / "type") or zone.name
            values[name if name not in values else f"{name} ({zone.name})"] = value_mc / 1e3
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
            monitors[f"{text_at(directory / 'name') or 'hwmon'} {real.parent.parent.name}"] = (
                directory
            )
    return monitors


def _alarms(monitors: Mapping[str, Path]) -> Iterable[tuple[str, Path]]:
    for monitor, directory in monitors.items():
        for path in sorted(directory.glob("curr*_alarm")):
            yield f"{monitor} {_rail(path)}", path


def _rail(alarm: Path) -> str:
    channel = re.match(r"curr(\d+)_(.+)", alarm.name)
    label = text_at(alarm.with_name(f"in{channel[1]}_label")) if channel else ""
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
