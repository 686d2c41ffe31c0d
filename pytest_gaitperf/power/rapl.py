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
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError, chosen_rails
from pytest_gaitperf.power.sysfs import IntegerFile

if TYPE_CHECKING:
    from collections.abc import Sequence

_TREE = "sys/class/powercap"
_NOMINAL_PERIOD_S = 0.01  # the hardware's own is 1 ms
_LOOK_S = 0.05
_RESET_WITHIN_S = 1.0


class RaplReader:
    """Every domain's energy in joules, unwrapped.

    Parameters
    ----------
    domains
        Per rail the directory of its domain and the counter's range in microjoules.

    """

    def __init__(self, domains: Sequence[tuple[str, int]]) -> None:
        self._domains = [
            (IntegerFile(f"{directory}/energy_uj"), span, directory) for directory, span in domains
        ]
        self._last = [0] * len(domains)
        self._sums = [0] * len(domains)
        self._read_at_s: float | None = None

    def read(self) -> tuple[float, ...] | None:
        """Read every domain once, None when one of them is busy.

        Raises MeterError when a counter fell back without having reached its end.
        """
        counts = []
        for file, _, _ in self._domains:
            count = file.read()
            if count is None:
                return None
            counts.append(count)
        now_s = time.monotonic()
        if self._read_at_s is None:
            self._last = counts
        for number, (_, span, directory) in enumerate(self._domains):
            rise = (counts[number] - self._last[number]) % (span + 1)
            # Half the range takes minutes at any power a package can draw.
            if rise > span // 2 and now_s - (self._read_at_s or now_s) < _RESET_WITHIN_S:
                raise MeterError(
                    f"the energy counter {directory}/energy_uj fell from {self._last[number]} to "
                    f"{counts[number]} without having reached its end at {span}: it was reset; "
                    "measure this cell again"
                )
            self._sums[number] += rise
        self._last, self._read_at_s = counts, now_s
        return tuple(total * 1e-6 for total in self._sums)


def find(request: Request) -> Sensor:
    """Find the domains that count.

    Raises
    ------
    SensorAbsentError
        The kernel has no powercap domains (a virtual machine, an Arm CPU).
    MeterError
        The counters may not be read by this user.
    ConfigurationError
        The chosen rails do not exist.

    """
    tree = request.sysfs_root / _TREE
    domains = {}
    for directory in sorted(tree.glob("intel-rapl:*")):
        name, span = _text(directory / "name"), _text(directory / "max_energy_range_uj")
        if name and span and re.fullmatch("[0-9]{1,19}", span) and int(span) > 0:
            parent = directory.name.rpartition(":")[0]
            inside = _text(tree / parent / "name") if parent.count(":") else None
            domains[f"{inside}/{name}" if inside else name] = (str(directory), int(span))
    packages = tuple(rail for rail in domains if rail.startswith("package") and "/" not in rail)
    if not packages:
        raise SensorAbsentError(
            f"no RAPL package domain at {tree}/intel-rapl:*/ (a virtual machine, or a CPU without "
            "it; sudo modprobe intel_rapl_msr may help)"
        )
    silent = _silent(domains)
    dead = [rail for rail in packages if rail in silent]
    if dead:
        raise MeterError(
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
        reader="pytest_gaitperf.power.rapl:RaplReader",
        arguments={"domains": [list(domain) for domain in kept.values()]},
        chips={f"RAPL {rail} ({directory})": (rail,) for rail, (directory, _) in kept.items()},
        nominal_period_s=_NOMINAL_PERIOD_S,
        notes=tuple(f"{rail} does not count and is left out" for rail in silent),
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
        raise MeterError(
            f"cannot read {path}: {error.strerror}; since 2020 only root may read RAPL's counters. "
            f"Run as root, or let everybody read them until the next boot: sudo chmod a+r "
            f"{path.parents[1]}/intel-rapl:*/energy_uj"
        ) from error
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return None
