"""Clocks and heat: power mode, governor, throttling, temperature, clock source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.host.files import text
from pytest_gaitperf.host.gpu import lowered_limits
from pytest_gaitperf.host.headroom import headrooms
from pytest_gaitperf.host.jetson import is_jetson, module_name
from pytest_gaitperf.host.state import limiting_files, limits_raised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine

_LITTLE_HEADROOM_C = 15.0
_SLOW_SOURCES = frozenset({"acpi_pm", "hpet", "jiffies", "refined-jiffies"})


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
    source = text(folder / "current_clocksource")
    if source is None:
        return
    offered = (text(folder / "available_clocksource") or "").split()
    if source in _SLOW_SOURCES:
        better = [name for name in offered if name not in _SLOW_SOURCES]
        command = f"echo {better[0]} | sudo tee {folder}/current_clocksource" if better else ""
        what = f"{source}: each time stamp costs a microsecond or more"
        yield Finding("clock source", "warn", what, "until the next boot:" * bool(command), command)
    else:
        yield Finding("clock source", "ok", source)


CHECKS = (power_mode, governor, throttling, heat, clock_source)
