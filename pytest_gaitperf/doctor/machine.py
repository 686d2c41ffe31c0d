"""Is the machine itself fit: clocks, heat, the load of others, the power sensor."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from pytest_gaitperf.doctor import Finding
from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.files import int_at, text_at
from pytest_gaitperf.host.gpu import gpu_use, lowered_limits
from pytest_gaitperf.host.identity import is_jetson, module_name
from pytest_gaitperf.host.quota import read_quota
from pytest_gaitperf.host.state import limiting_files, limits_raised
from pytest_gaitperf.host.utilisation import thermal_zones
from pytest_gaitperf.host.watch import SHARE
from pytest_gaitperf.power.meter import open_meter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor import Machine, Severity
    from pytest_gaitperf.host.state import DeviceState

NOISY, TOO_MUCH = 0.05, 0.25
"""Shares of a GPU's time in others' hands: a warning, and no measurement."""

_LITTLE_HEADROOM_C = 15.0
_SLOW_SOURCES = frozenset({"acpi_pm", "hpet", "jiffies", "refined-jiffies"})
_SLOWING = frozenset({"passive", "hot", "critical"})
_LOWEST_TRIP_MC = 1000
"""Trip points at or below 1 degree (in thousandths) are the firmware's way to say: none."""

_GUEST = re.compile(r"^flags\b.*\bhypervisor\b", re.MULTILINE)
_NO_SENSOR = ("estimate", "replay")


def power_mode(machine: Machine) -> Iterator[Finding]:
    """Tell a Jetson's power mode and whether its clocks are pinned, a GPU's power limit."""
    if is_jetson(machine.root):
        name, mode = module_name(machine.root), machine.state.power_mode
        if mode is None:
            what = f"{name}: nvpmodel does not tell the mode, so baselines of all modes mix"
            yield Finding("power mode", "warn", what, command="sudo nvpmodel -q")
        else:
            advice = "each mode has baselines of its own"
            yield Finding("power mode", "ok", f"{name} in mode {mode}", advice)
        if machine.state.pinned_clocks:
            yield Finding("jetson_clocks", "ok", "in force: clocks stand still")
        else:
            what = "not in force: clocks follow the load, which adds noise"
            advice = "until the next boot; pinned and free clocks have baselines of their own"
            yield Finding("jetson_clocks", "warn", what, advice, "sudo jetson_clocks")
    limits = lowered_limits() if machine.root == Path("/") else {}
    for gpu, watts in limits.items():
        what = f"the power limit of {gpu} is {watts:g} W, not the factory's"
        advice = "if it is not meant, see 'nvidia-smi -q -d POWER'; it is part of the profile"
        yield Finding("power limit", "warn", what, advice)


def governor(machine: Machine) -> Iterator[Finding]:
    """Tell what chooses the CPUs' clocks."""
    if machine.state.pinned_clocks and is_jetson(machine.root):
        return
    governors = Counter(machine.state.governors.values())
    if not governors:
        what = "the kernel shows no CPU clocks: they are the hypervisor's or the firmware's"
        yield Finding("governor", "ok", what)
        return
    listed = ", ".join(f"{name} on {count} CPUs" for name, count in sorted(governors.items()))
    if set(governors) == {"performance"}:
        yield Finding("governor", "ok", listed)
        return
    uneven = "; CPUs differ, so that it matters which one a thread gets" * (len(governors) > 1)
    yield Finding(
        "governor",
        "warn",
        f"{listed}: clocks follow the load, which adds noise{uneven}",
        "until the next boot:",
        "echo performance | sudo tee /sys/bus/cpu/devices/*/cpufreq/scaling_governor",
    )


def throttling(machine: Machine) -> Iterator[Finding]:
    """Tell what holds the device back at this moment."""
    raised = limits_raised(limiting_files(machine.root))
    raised += [f"{name}: {why}" for name, gpu in machine.state.gpus.items() for why in gpu.reasons]
    if raised:
        what = f"the device is slowed now, and cells would be invalid: {', '.join(raised)}"
        advice = "let it cool, give it air or a stronger supply, and look again"
        yield Finding("throttling", "fix", what, advice)
        return
    events = sum(machine.state.counters.values())
    since = f" ({events} events since boot)" if machine.state.counters else ""
    yield Finding("throttling", "ok", f"nothing slows the device{since}")


def heat(machine: Machine) -> Iterator[Finding]:
    """Tell how far it is to the temperature at which the device slows down."""
    rooms = headrooms(machine.state, root=machine.root)
    hottest = machine.state.hottest_c
    if not rooms:
        what = "no temperature can be read" if hottest is None else f"{hottest:.0f} C at most"
        yield Finding("temperature", "ok", what + ", no trip point is known")
        return
    least = min(rooms, key=lambda room: room.left_c)
    what = (
        f"{least.zone} {least.temperature_c:.0f} C, {least.left_c:.0f} C below its limit of "
        f"{least.limit_c:.0f} C"
    )
    if least.left_c <= 0:
        yield Finding("temperature", "fix", what, "it is slowed by heat: let it cool, give it air")
    elif least.left_c < _LITTLE_HEADROOM_C:
        advice = "a load will slow it: give it air, or wait with --gaitperf-cooldown=CELSIUS"
        yield Finding("temperature", "warn", what, advice)
    else:
        yield Finding("temperature", "ok", what)


def clock_source(machine: Machine) -> Iterator[Finding]:
    """Tell what the times of requests come from."""
    folder = machine.root / "sys/devices/system/clocksource/clocksource0"
    source = text_at(folder / "current_clocksource")
    if not source:
        return
    offered = (text_at(folder / "available_clocksource")).split()
    if source in _SLOW_SOURCES:
        better = [name for name in offered if name not in _SLOW_SOURCES]
        command = f"echo {better[0]} | sudo tee {folder}/current_clocksource" if better else ""
        what = f"{source}: each time stamp costs a microsecond or more"
        yield Finding("clock source", "warn", what, "until the next boot:" * bool(command), command)
    else:
        yield Finding("clock source", "ok", source)


class Headroom(NamedTuple):
    """A zone or GPU, its temperature, and the one at which the kernel or the hardware slows it."""

    zone: str
    temperature_c: float
    limit_c: float

    @property
    def left_c(self) -> float:
        """Degrees that are left."""
        return self.limit_c - self.temperature_c


def headrooms(state: DeviceState, *, root: Path = Path("/")) -> list[Headroom]:
    """Give the headroom of every zone below ``root`` with a trip point, and of every GPU.

    The lowest passive, hot or critical trip point counts; an active one only turns a fan on
    (Linux, Documentation/driver-api/thermal/sysfs-api.rst).
    """
    found = []
    for name, zone in thermal_zones(root):
        now_mc = int_at(zone / "temp")
        trips_mc = [
            trip
            for kind in zone.glob("trip_point_*_type")
            if text_at(kind) in _SLOWING
            and (trip := int_at(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
            and trip > _LOWEST_TRIP_MC
        ]
        if now_mc is not None and trips_mc:
            found.append(Headroom(name, now_mc / 1e3, min(trips_mc) / 1e3))
    for name, gpu in state.gpus.items():
        if gpu.temperature_c is not None and gpu.slowdown_c is not None:
            found.append(Headroom(name, gpu.temperature_c, gpu.slowdown_c))
    return found


def _severity(share: float, noisy: float = NOISY, too_much: float = TOO_MUCH) -> Severity:
    if share < noisy:
        return "ok"
    return "warn" if share < too_much else "fix"


def cpu(machine: Machine) -> Iterator[Finding]:
    """Name those who keep the CPUs busy."""
    usage = machine.usage
    state = _severity(usage.others / usage.cpus, SHARE / 2, SHARE)
    top = ", ".join(f"{one.name} ({one.pid}) {one.cpus:.2f}" for one in usage.top)
    what = f"others keep {usage.others:.2f} of {usage.cpus} CPUs busy" + (f": {top}" if top else "")
    if state == "ok":
        yield Finding("other load", "ok", what)
    else:
        advice = "end them, or measure when they rest; what cannot be seen is outside a container"
        if state == "fix":
            advice = f"cells are invalid beside more than {SHARE:.0%} of the CPUs: {advice}"
        yield Finding("other load", state, what, advice, "top -o %CPU")
    if usage.stolen / usage.cpus >= SHARE / 5:
        what = f"the hypervisor took {usage.stolen:.2f} of {usage.cpus} CPUs for other guests"
        state = _severity(usage.stolen / usage.cpus, SHARE / 2, SHARE)
        yield Finding("steal", state, what, "use a machine of your own")
    elif _GUEST.search(text_at(machine.root / "proc/cpuinfo")):
        what = "a virtual machine: its neighbours' load comes and goes unseen"
        advice = "recorded sessions show what the gate detects in spite of them:"
        yield Finding("hypervisor", "warn", what, advice, "gaitperf baseline sensitivity")


def quota(machine: Machine) -> Iterator[Finding]:
    """Name a CPU quota on this process: what it stops, a meter in it does not see."""
    found = read_quota(root=machine.root)
    if found is None:
        return
    what = f"a quota of {found.cpus:g} CPUs on this container or control group"
    what += f", which stopped it for {found.throttled_s:.1f} s so far" * (found.throttled_s > 0)
    advice = (
        "it stops client, server and power sampler in the middle of a load: latencies are then its "
        "own, and energy is not measured; give it CPUs of its own instead (--cpuset-cpus)"
    )
    yield Finding("CPU quota", "warn", what, advice)


def gpu(machine: Machine) -> Iterator[Finding]:
    """Tell how busy the GPUs are, and name the processes on them."""
    for path in sorted((machine.root / "sys/class/devfreq").glob("*/device/load")):
        permille = int_at(path)
        if permille is not None:  # a Jetson's: 0 to 1000
            name = path.parents[1].name
            yield _busy(name, permille / 1000, "")
    for name, use in (gpu_use() if machine.root == Path("/") else {}).items():
        others = [text for pid in use.processes if (text := _other(pid))]
        who = f", used by {', '.join(others)}" if others else ""
        if use.busy is None:
            yield Finding("GPU load", "ok", f"{name} does not tell how busy it is{who}")
        else:
            yield _busy(name, use.busy, who)


def _busy(name: str, share: float, who: str) -> Finding:
    state = _severity(share)
    advice = "" if state == "ok" else "end what uses it, or measure when it rests"
    return Finding("GPU load", state, f"{name} is {share:.0%} busy{who}", advice)


def _other(pid: int) -> str:
    """Name a process, "" for a Triton or this very process; a container's may have no name here."""
    with suppress(psutil.Error):
        family = [psutil.Process(pid), *psutil.Process(pid).parents()]
        if pid == os.getpid() or any(member.name() == "tritonserver" for member in family):
            return ""
        return f"{family[0].name()} ({pid})"
    return f"process {pid}"


def power_sensor(machine: Machine) -> Iterator[Finding]:
    """Open the meter as a run would, and tell what it resolves."""
    power, rails = machine.settings.power, machine.settings.power_rails
    lacking: Severity = "fix" if machine.needs_energy else "warn"
    if power.partition(":")[0] in _NO_SENSOR:
        what = f"--power={power} is no sensor: its figures are shown, and gated only on request"
        yield Finding("power", lacking, what, "use --power=auto where there is a sensor")
        return
    try:
        choice = open_meter(power, rails=rails, sysfs_root=machine.root)
    except MeterError as error:
        # It was asked for by name: a run would be red.
        yield Finding("power", "fix", str(error), "or let --power=auto choose")
        return
    if choice.meter is None:
        what = "no sensor: throughput and latency are measured, energy is skipped"
        if choice.sick:
            lacking, what = "fix", "there is a sensor that cannot be read: energy is unmeasured"
        yield Finding("power", lacking, what, "\n".join(("tried:", *choice.tried)))
        return
    meter = choice.meter
    try:
        what = f"{meter.name}: {meter.description}"
        resolves = f"a window of {meter.minimum_window_s:.2g} s or more has joules"
        advice = "\n".join((resolves, *(f"not {reason}" for reason in choice.tried)))
        yield Finding("power", "ok", what, advice)
    finally:
        meter.close()


def rights(machine: Machine) -> Iterator[Finding]:
    """Find sensors that are there and that this user may not read."""
    counters = sorted(machine.root.glob("sys/class/powercap/intel-rapl:*/energy_uj"))
    jetson = is_jetson(machine.root)
    if counters and not jetson and not os.access(counters[0], os.R_OK):
        yield Finding(
            "rights",
            "warn",
            "only root may read the CPU's energy counters (RAPL)",
            "until the next boot, for everybody (other users can then watch your load):",
            "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
        )
    socket = machine.root / "run/jtop.sock"
    if jetson and socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
        what = "jtop's service runs, but you are not in its group"
        command = "sudo usermod -aG jtop $USER"
        yield Finding("rights", "warn", what, "then log in again", command)
    chips = [
        *machine.root.glob("sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/curr[123]_input"),
        *machine.root.glob("sys/bus/i2c/drivers/ina3221*/*/iio:device*/in_current?_input"),
    ]
    closed = [str(path) for path in sorted(chips) if not os.access(path, os.R_OK)]
    if closed:
        command = f"sudo chmod a+r {closed[0].rpartition('/')[0]}/*_input"
        yield Finding("rights", "fix", f"the power monitor {closed[0]} is closed", "", command)
