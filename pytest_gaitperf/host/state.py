"""What the device is doing: temperatures, clocks, limits in force.

Read around each cell, watched during one, and waited for while it cools down.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, final

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.files import int_at, text_at
from pytest_gaitperf.host.gpu import gpu_reasons, read_gpus
from pytest_gaitperf.host.identity import pinned_clocks
from pytest_gaitperf.host.modes import power_mode
from pytest_gaitperf.host.utilisation import Gauges, natural, thermal_zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_gaitperf.host.gpu import GpuState
    from pytest_gaitperf.host.utilisation import Look

HELD_SHARE = 0.01
"""A GPU that was held back for more than this share of the time between two looks was throttled."""

_HARMLESS = re.compile(
    r"fan|lcd|video|backlight|led|wifi|wlan|iwl|bluetooth|modem|charger|battery|"
    r"tcc.offset|hot-surface|shutdown|critical|[-_]floor$|gpu[-_]scaling",
    re.IGNORECASE,
)
"""Cooling devices that slow no inference: fans, displays, radios, what charges, an alert for hands
(hot-surface-alert of a Jetson), what acts on the way down only, Intel's TCC Offset, whose state is
a setting, and what raises voltages in the cold (CORE-floor, DFLL-floor and gpu_scaling of a Nano or
TX1: above 0 at room temperature; their caps lower clocks). All others count as throttling, known or
not: on Orin cpu-throttle-alert and the like, on JetPack 4 cpu-balanced, elsewhere cpufreq-cpuN,
devfreq-..., Processor, intel_powerclamp."""


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
    monitors = _monitors(root)
    load = re.match(r"(\d{1,9}\.\d\d) " * 3, text_at(root / "proc/loadavg"), re.ASCII)
    return DeviceState(
        temperatures_c={
            name: value_mc / 1e3
            for name, zone in thermal_zones(root)
            if (value_mc := int_at(zone / "temp")) is not None
        },
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
            for name, path, file, scale in _clocks(root)
            if (low := int_at(path / file.format("min"))) is not None
            and (high := int_at(path / file.format("max"))) is not None
        },
        # NVML speaks of the machine that runs this, not of a fake tree.
        gpus=read_gpus() if root == Path("/") else {},
        at_s=time.monotonic(),
    )


def _clocks(root: Path) -> list[tuple[str, Path, str, float]]:
    """Find what has a clock: its name, its directory, its files' names and their unit in Hz."""
    cpus = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    devices = sorted((root / "sys/class/devfreq").glob("*"))
    return [
        *((path.parent.name, path, "scaling_{}_freq", 1e3) for path in cpus),
        *((path.name, path, "{}_freq", 1.0) for path in devices),
    ]


def throttled(before: DeviceState, after: DeviceState) -> str | None:
    """Say why a measurement between these two looks is not of an unhindered device, else None."""
    reasons = chain(
        _counted(before, after),
        in_force("before", before),
        in_force("after", after),
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


def in_force(when: str, state: DeviceState) -> Iterator[str]:
    """Say what held the device back at a look, ``when`` it was."""
    for name, level in state.limits.items():
        if level > 0:
            yield f"{name} was slowing the device {when} the measurement (level {level})"
    for name, gpu in state.gpus.items():
        if gpu.reasons:
            yield f"{name} ({gpu.name}) was slowed by {gpu.reasons[0]} {when} the measurement"


def switched(before: DeviceState, after: DeviceState) -> Iterator[str]:
    """Say what somebody has set otherwise between two looks."""
    if before.power_mode != after.power_mode:
        yield f"the power mode changed from {before.power_mode} to {after.power_mode}"
    if before.pinned_clocks != after.pinned_clocks:
        yield "jetson_clocks was switched during the measurement"


def _changed(before: DeviceState, after: DeviceState) -> Iterator[str]:
    yield from switched(before, after)
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
    coolers = sorted((root / "sys/class/thermal").glob("cooling_device*"), key=natural)
    return {
        **{
            f"{kind} ({cooler.name})": cooler / "cur_state"
            for cooler in coolers
            if not _HARMLESS.search(kind := text_at(cooler / "type") or cooler.name)
        },
        **{f"the alarm {name}": path for name, path in _alarms(_monitors(root))},
    }


def limits_raised(files: Mapping[str, Path]) -> list[str]:
    """Name those of ``limiting_files`` that hold the device back now."""
    return [name for name, path in files.items() if (int_at(path) or 0) > 0]


def _read(files: Iterable[tuple[str, Path]]) -> dict[str, int]:
    return {name: value for name, path in files if (value := int_at(path)) is not None}


def _monitors(root: Path) -> dict[str, Path]:
    """Find the hwmon chips, by a name that tells them apart: driver and bus address."""
    monitors: dict[str, Path] = {}
    found = [
        *sorted((root / "sys/class/hwmon").glob("hwmon*"), key=natural),
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


_PERIOD_S = 1.0
_LONGEST_COOLING_S = 300.0


@final
class StateWatch:
    """Looks once a second, in a thread, at limits, alarms, GPUs and utilisation; a context manager.

    A look reads one small file per limiter, alarm, clock and zone, and asks each GPU five
    questions: about a millisecond on a Jetson. ``looks`` has how busy the machine was at each.
    Which files there are is found once, at the start. A limit that is lifted within the second may
    be missed; the counters of ``throttled`` catch those that have one. A watch over a ``long`` load
    looks at these, too, and at the highest clocks allowed, and ``held`` has when and by what the
    device was slowed.
    """

    def __init__(
        self, *, root: Path = Path("/"), period_s: float = _PERIOD_S, long: bool = False
    ) -> None:
        self._root, self._period_s = root, period_s
        self._files = limiting_files(root)
        self._seen = Counter[str]()
        self._long = long
        self._count = 0
        self.looks: list[Look] = []
        self.held: list[tuple[int, str]] = []
        self._gauges = Gauges(root)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gaitperf-state", daemon=True)

    def __enter__(self) -> StateWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._gauges.close()

    def hindered(self) -> str | None:
        """Say what slowed the device, and in how many of the looks; None when nothing did."""
        if not self._seen:
            return None
        seen = (f"{what} ({count} of {self._count} looks)" for what, count in self._seen.items())
        return f"during the measurement the device was slowed: {', '.join(seen)}"

    def take(self) -> list[Look]:
        """Return the looks since the last call, and keep them no longer."""
        looks, self.looks = self.looks, []
        return looks

    def _watch(self) -> None:
        rising, ceilings = self._bounds() if self._long else ({}, {})
        before, highest = _read(rising.items()), _read(ceilings.items())
        while not self._ended.wait(self._period_s):
            held = limits_raised(self._files)
            if self._root == Path("/"):
                held += [f"{gpu}: {word}" for gpu, words in gpu_reasons().items() for word in words]
            now = _read(rising.items())
            held += [f"{name} rose" for name in now if now[name] > before.get(name, now[name])]
            before = now
            held += [
                f"the highest clock of {name} was lowered"
                for name, clock in _read(ceilings.items()).items()
                if clock < highest.get(name, clock)
            ]
            self._seen.update(held)
            self._count += 1
            look = self._gauges.look(time.monotonic_ns())
            if held:
                self.held.append((look.at_ns, ", ".join(held)))
            self.looks.append(look)

    def _bounds(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Find the counters of throttling, and the highest clocks that are allowed."""
        cpus = self._root / "sys/devices/system/cpu"
        ceilings = {name: path / form.format("max") for name, path, form, _ in _clocks(self._root)}
        return dict(_counters(cpus, _monitors(self._root))), ceilings


def cool_down(
    limit_c: float,
    progress: Callable[[str], None],
    *,
    root: Path = Path("/"),
    longest_s: float = _LONGEST_COOLING_S,
    period_s: float = _PERIOD_S,
) -> None:
    """Wait until the hottest thermal zone and GPU has at most ``limit_c`` degrees Celsius.

    Raises MeasurementError: it is still hotter after ``longest_s`` seconds; ConfigurationError: no
    temperature can be read on this machine.
    """
    began = time.monotonic()
    while True:
        hottest_c = read_state(root=root).hottest_c
        waited_s = time.monotonic() - began
        if hottest_c is None:
            raise ConfigurationError(
                f"no temperature can be read at {root / 'sys/class/thermal'}/thermal_zone*/temp, "
                "nor from NVML: leave --gaitperf-cooldown out on this machine"
            )
        progress(f"cooling down: {hottest_c:.1f} C")
        if hottest_c <= limit_c:
            return
        if waited_s >= longest_s:
            raise MeasurementError(
                f"the device still had {hottest_c:.1f} C after {waited_s:.0f} s of cooling down to "
                f"{limit_c:g} C: improve its cooling or raise --gaitperf-cooldown"
            )
        time.sleep(min(period_s, max(0.0, longest_s - waited_s)))
