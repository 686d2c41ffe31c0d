"""The power sensor, and the right to read one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.host.jetson import is_jetson
from pytest_gaitperf.power.meter import open_meter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine, State

_NO_SENSOR = ("estimate", "replay")


def sensor(machine: Machine) -> Iterator[Finding]:
    """Open the meter as a run would, and tell what it resolves."""
    power, rails = machine.settings.power, machine.settings.power_rails
    lacking: State = "fix" if machine.needs_energy else "warn"
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


CHECKS = (sensor, rights)
