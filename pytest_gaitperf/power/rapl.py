"""The CPU's own energy counters (RAPL), through the kernel's powercap tree.

``sys/class/powercap/intel-rapl:N/`` (AMD's too): ``name`` (package-0, psys), ``energy_uj``, a
counter in microjoules that starts again at 0 after ``max_energy_range_uj``; subdomains (core,
uncore, dram) in ``intel-rapl:N:M/``. The total is the sum of the packages: core and uncore are
inside them, psys contains them, and dram differs by generation, so these are reported apart. Disks,
fans and power supplies are in none of them. (Linux, Documentation/power/powercap/powercap.rst)
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from pytest_gaitperf.files import text_at
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError, chosen_rails

_TREE = "sys/class/powercap"
_NOMINAL_PERIOD_S = 0.01  # the hardware's own is 1 ms
_INSIDE = re.compile("package-.*/(core|uncore)")
_LOOK_S = 0.05


def find(request: Request) -> Sensor:
    """Find the domains that count.

    Raises SensorAbsentError: the kernel has no powercap domains (a virtual machine, an Arm CPU),
    they do not count, or this user may not read them; ConfigurationError: the chosen rails do not
    exist.
    """
    tree = request.sysfs_root / _TREE
    domains = {}
    for directory in sorted(tree.glob("intel-rapl:*")):
        name, span = text_at(directory / "name"), text_at(directory / "max_energy_range_uj")
        if name and span and re.fullmatch("[0-9]{1,19}", span) and int(span) > 0:
            parent = directory.name.rpartition(":")[0]
            inside = text_at(tree / parent / "name") if parent.count(":") else None
            domains[f"{inside}/{name}" if inside else name] = (str(directory), int(span))
    packages = tuple(rail for rail in domains if rail.startswith("package") and "/" not in rail)
    if not packages:
        raise SensorAbsentError(
            f"no RAPL package domain at {tree}/intel-rapl:*/ (a virtual machine, or a CPU without "
            "it; sudo modprobe intel_rapl_msr may help)"
        )
    silent = _silent(domains)
    if dead := [rail for rail in packages if rail in silent]:
        raise SensorAbsentError(
            f"the energy counter {domains[dead[0]][0]}/energy_uj stands still: RAPL is not "
            "available on this machine (a virtual machine passes it on without counting)"
        )
    kept = {rail: domain for rail, domain in domains.items() if rail not in silent}
    rails = tuple(kept)
    total = chosen_rails(request.rails, rails) or packages
    return Sensor(
        name="rapl",
        description=f"RAPL of the CPU, total {' + '.join(total)} of {', '.join(rails)}, CPU only",
        rails=rails,
        total_rails=total,
        gpu_rails=(),
        kind="energy",
        reader="pytest_gaitperf.power.sysfs:RaplReader",
        arguments={
            "domains": [list(domain) for domain in kept.values()],
            "total": [rails.index(rail) for rail in total],
        },
        chips={f"RAPL {rail} ({directory})": (rail,) for rail, (directory, _) in kept.items()},
        nominal_period_s=_NOMINAL_PERIOD_S,
        notes=tuple(f"{rail} does not count and is left out" for rail in silent),
        parts=tuple(rail for rail in rails if _INSIDE.fullmatch(rail)) if total == packages else (),
    )


def _silent(domains: dict[str, tuple[str, int]]) -> list[str]:
    """Name the counters that do not move in a moment, in which even an idle CPU's do."""
    first = {rail: _count(directory) for rail, (directory, _) in domains.items()}
    deadline = time.monotonic() + 4 * _LOOK_S
    silent = list(first)
    while silent and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        silent = [rail for rail in silent if _count(domains[rail][0]) == first[rail]]
    return silent


def _count(directory: str) -> int | None:
    path = Path(directory) / "energy_uj"
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError as error:
        raise SensorAbsentError(
            f"cannot read {path}: {error.strerror}; since 2020 only root may read RAPL's counters. "
            f"Run as root, or let everybody read them until the next boot: sudo chmod a+r "
            f"{path.parents[1]}/intel-rapl:*/energy_uj"
        ) from error
    except (OSError, ValueError):
        return None
