"""How busy the machine is: CPUs, GPU, memory, clocks, temperatures, at one look.

Read by ``StateWatch`` at each of its looks. Files are opened once: a look takes some ten
microseconds for each.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import suppress
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.files import text_at
from pytest_gaitperf.host.gpu import gpu_gauges
from pytest_gaitperf.measurement import Utilisation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MOST_BYTES = 1 << 14
_BESIDE_NS = 10**9
_CPU = re.compile(rb"^cpu(\d{1,5}) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", re.MULTILINE)
_MEMORY = re.compile(rb"^(MemTotal|MemAvailable): +(\d{1,18}) kB", re.MULTILINE)
_CONSTANT_ZONE = "PMIC-Die"
"""On Jetsons up to Xavier it says 100 C, whatever the temperature."""


def thermal_zones(root: Path) -> Iterator[tuple[str, Path]]:
    """Give the thermal zones by type; a further one of a type has its own name behind it."""
    seen = set[str]()
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=natural):
        kind = text_at(zone / "type") or zone.name
        if kind != _CONSTANT_ZONE:
            yield kind if kind not in seen else f"{kind} ({zone.name})", zone
            seen.add(kind)


def natural(path: Path) -> tuple[str, int]:
    """Return what orders paths by the number at the end of their names."""
    name = re.match(r"(.*?)(\d*)$", path.name)
    return (name[1], int(name[2] or 0)) if name else (path.name, 0)


class Look(NamedTuple):
    """What was seen at a time: ``gauges`` by quantity and name, ``cpu_ticks`` (busy, all)."""

    at_ns: int
    cpu_ticks: dict[str, tuple[int, int]]
    gauges: dict[tuple[str, str], float]


class Gauges:
    """What can be read of a machine below ``root``; what cannot is left out."""

    def __init__(self, root: Path) -> None:
        self._nvml = root.parent == root  # it speaks of this machine, not of a fake tree
        self._files: dict[tuple[str, str], tuple[int, float]] = {}
        self._stat, self._memory = _opened(root / "proc/stat"), _opened(root / "proc/meminfo")
        for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
            self._add("clocks_hz", path.parent.name, path / "scaling_cur_freq", 1e3)
        for path in sorted((root / "sys/class/devfreq").glob("*")):
            if (path / "device/load").exists():  # a Jetson's GPU, in thousandths
                self._add("gpus", path.name, path / "device/load", 1e-3)
                self._add("clocks_hz", path.name, path / "cur_freq", 1.0)
        for name, zone in thermal_zones(root):
            self._add("temperatures_c", name, zone / "temp", 1e-3)

    def _add(self, quantity: str, name: str, path: Path, scale: float) -> None:
        file = _opened(path)
        if file is not None:
            self._files[quantity, name] = file, scale

    def look(self, at_ns: int) -> Look:
        """Read all of it."""
        gauges = gpu_gauges() if self._nvml else {}
        for key, (file, scale) in self._files.items():
            with suppress(OSError, ValueError):
                gauges[key] = int(os.pread(file, 64, 0)) * scale
        memory = {name: int(kib) * 1024 for name, kib in _MEMORY.findall(_text(self._memory))}
        if len(memory) > 1:
            gauges["memory_bytes", ""] = float(memory[b"MemTotal"] - memory[b"MemAvailable"])
        ticks = {}
        for number, *counts in _CPU.findall(_text(self._stat)):
            user, nice, system, idle, wait, irq, soft_irq, steal = map(int, counts)
            busy = user + nice + system + irq + soft_irq
            ticks[number.decode()] = busy, busy + idle + wait + steal
        return Look(at_ns, ticks, gauges)

    def close(self) -> None:
        """Close the files."""
        files = [file for file, _ in self._files.values()]
        for file in (*files, self._stat, self._memory):
            if file is not None:
                os.close(file)


def utilisation(runs: Iterable[tuple[Sequence[Look], tuple[int, int]]]) -> Utilisation | None:
    """Sum up the looks of one load or more within their spans (ns); None where there are none.

    A CPU's share is that of the time between the first look and the last one.
    """
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    busy: dict[str, int] = defaultdict(int)
    whole: dict[str, int] = defaultdict(int)
    count = 0
    for looks, (start_ns, end_ns) in runs:
        inside = [look for look in looks if start_ns <= look.at_ns <= end_ns]
        if len(inside) <= 1:  # a short load: those beside it, too
            near_ns = start_ns - _BESIDE_NS, end_ns + _BESIDE_NS
            inside = [look for look in looks if near_ns[0] <= look.at_ns <= near_ns[1]]
        count += len(inside)
        for look in inside:
            for (quantity, name), value in look.gauges.items():
                seen[quantity][name].append(value)
        for cpu, (ticks, every) in (inside[-1].cpu_ticks if inside else {}).items():
            first, first_every = inside[0].cpu_ticks.get(cpu, (ticks, every))
            busy[cpu] += ticks - first
            whole[cpu] += every - first_every
    if not count:
        return None
    memory = seen["memory_bytes"][""]
    return Utilisation(
        looks=count,
        cpus={cpu: busy[cpu] / every for cpu, every in whole.items() if every},
        gpus=_means(seen["gpus"]),
        memory_bytes=fmean(memory) if memory else None,
        gpu_memory_bytes=_means(seen["gpu_memory_bytes"]),
        clocks_hz=_means(seen["clocks_hz"]),
        temperatures_c={name: max(values) for name, values in seen["temperatures_c"].items()},
    )


def _means(seen: dict[str, list[float]]) -> dict[str, float]:
    return {name: fmean(values) for name, values in seen.items()}


def _opened(path: Path) -> int | None:
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _text(file: int | None) -> bytes:
    with suppress(OSError):
        return b"" if file is None else os.pread(file, _MOST_BYTES, 0)
    return b""
