"""The state of NVIDIA GPUs, from NVML: temperature, limits, and what is slowing them.

Without ``pynvml`` (the package nvidia-ml-py) or a working driver there are no GPUs; a figure that a
GPU does not give, or that a broken library cannot give, is None.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.deadline import Worker
from pytest_gaitperf.files import text_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REASONS = {
    0x04: "the software power cap",
    0x08: "a hardware slowdown",
    0x20: "the software thermal slowdown",
    0x40: "the hardware thermal slowdown",
    0x80: "the hardware power brake",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, nvmlClocksEventReason*) that slow a GPU
under load. Not among them: idle, application clocks, sync boost and display clocks."""

_POLICIES = {0: "power", 1: "thermal", 3: "board limit"}
"""nvmlPerfPolicyType_t of nvmlDeviceGetViolationStatus: nanoseconds held below the wished clocks.
Reliability (5) is left out: it is the ordinary limit of the voltage at full boost."""


_GPU_SENSOR, _SLOWDOWN_THRESHOLD = 0, 1  # NVML_TEMPERATURE_GPU, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
_SM_CLOCK = 1  # NVML_CLOCK_SM


_NVMAP_CLIENT = re.compile(r"^\S+\s+\S+\s+(\d+)\s+(\d+)([BKM]?)\s*$", re.MULTILINE)
"""A line of ``nvmap/iovmm/clients``: client, process, pid, size."""
_NVMAP_UNITS = {"": 0, "B": 0, "K": 10, "M": 20}


@dataclass(frozen=True, slots=True)
class GpuState:
    """One look at a GPU.

    ``reasons`` is what slows it at this moment, in words. ``held_s`` is, by policy (power, thermal,
    board limit), for how many seconds since the driver was loaded the GPU was held back by it. From
    ``slowdown_c`` on the hardware slows it.
    """

    name: str
    temperature_c: float | None
    power_limit_w: float | None
    reasons: tuple[str, ...]
    held_s: Mapping[str, float]
    slowdown_c: float | None = None


_ANSWER_S = 10.0
_WORKER = Worker("gaitperf-nvml")
"""A driver may hang in any call; it then has no GPUs any more."""


@cache
def _nvml() -> Any:
    """Return pynvml, initialised for the rest of the process, or None.

    Without persistence mode the driver takes a second to come up: once is enough.
    """
    with suppress(Exception):  # not installed, no driver, or a library that does not fit
        import pynvml  # noqa: PLC0415 - optional

        pynvml.nvmlInit()
        return pynvml
    return None


def _ask(query: str, *arguments: Any) -> Any:
    """Call an NVML function by name; None where this GPU, driver or library does not answer."""
    with suppress(
        Exception
    ):  # NVMLError, TimeoutError, or whatever a broken library makes pynvml raise
        return _WORKER.call(lambda: getattr(_nvml(), query)(*arguments), _ANSWER_S)
    return None


def _gpus() -> Iterator[tuple[str, Any]]:
    """Yield every GPU by the name that its rails have, with NVML's handle of it."""
    for number in range(_ask("nvmlDeviceGetCount") or 0):
        handle = _ask("nvmlDeviceGetHandleByIndex", number)
        if handle is not None:
            yield f"gpu{number}", handle


def read_gpus() -> dict[str, GpuState]:
    """Look at every GPU, by the names that its rails have: ``gpu0``, ``gpu1``..."""
    return {name: _read(handle) for name, handle in _gpus()}


def lowered_limits() -> dict[str, float]:
    """Return, by GPU, the power limit in watts where it is not the factory's.

    Such a limit (nvidia-smi -pl) makes another device of it, as a Jetson's power mode does.
    """
    limits = {}
    for name, handle in _gpus():
        now_mw = _ask("nvmlDeviceGetPowerManagementLimit", handle)
        usual_mw = _ask("nvmlDeviceGetPowerManagementDefaultLimit", handle)
        if now_mw is not None and usual_mw is not None and now_mw != usual_mw:
            limits[name] = now_mw * 1e-3
    return limits


class GpuUse(NamedTuple):
    """What a GPU is used for at this moment.

    ``busy`` is the share of the last moment (up to a second) in which a kernel ran, None where the
    GPU does not tell; ``processes`` are those with a context on it.
    """

    busy: float | None
    processes: tuple[int, ...]


def gpu_use() -> dict[str, GpuUse]:
    """Ask every GPU how busy it is, and for whom."""
    uses = {}
    for name, handle in _gpus():
        rates = _ask("nvmlDeviceGetUtilizationRates", handle)
        found = _ask("nvmlDeviceGetComputeRunningProcesses", handle) or []
        busy = None if rates is None else rates.gpu / 100
        uses[name] = GpuUse(busy, tuple(process.pid for process in found))
    return uses


def process_memory(
    nvmap: Path = Path("/sys/kernel/debug/nvmap/iovmm/clients"),
) -> dict[int, int] | None:
    """Return the bytes of GPU memory that each process holds, by pid; None where nobody tells.

    NVML tells of a GPU with memory of its own. On a Jetson, whose GPU uses the machine's memory, it
    is the driver's list of clients, which only root may read.
    """
    found: dict[int, int] = {}
    told = False
    for _, handle in _gpus():
        here: dict[int, int] = {}  # one that computes and draws is in both lists
        for query in ("Compute", "Graphics"):
            for process in _ask(f"nvmlDeviceGet{query}RunningProcesses", handle) or ():
                if process.usedGpuMemory is not None:
                    here[process.pid] = max(here.get(process.pid, 0), process.usedGpuMemory)
        told |= bool(here)
        for pid, size in here.items():
            found[pid] = found.get(pid, 0) + size
    for client, size, unit in _NVMAP_CLIENT.findall(text_at(nvmap)):
        told = True
        found[int(client)] = found.get(int(client), 0) + (int(size) << _NVMAP_UNITS[unit])
    return found if told else None


def gpu_gauges() -> dict[tuple[str, str], float]:
    """Return how busy, how full, how fast and how hot each GPU is, by quantity and GPU."""
    found: dict[tuple[str, str], float] = {}
    for name, handle in _gpus():
        rates = _ask("nvmlDeviceGetUtilizationRates", handle)
        memory = _ask("nvmlDeviceGetMemoryInfo", handle)
        clock_mhz = _ask("nvmlDeviceGetClockInfo", handle, _SM_CLOCK)
        celsius = _ask("nvmlDeviceGetTemperature", handle, _GPU_SENSOR)
        known = {
            "gpus": None if rates is None else rates.gpu / 100,
            "gpu_memory_bytes": None if memory is None else memory.used,
            "clocks_hz": None if clock_mhz is None else clock_mhz * 1e6,
            "temperatures_c": celsius,
        }
        found |= {(key, name): float(value) for key, value in known.items() if value is not None}
    return found


def gpu_reasons() -> dict[str, tuple[str, ...]]:
    """Say, by GPU, what slows it at this moment: one call per GPU, microseconds."""
    return {name: _reasons(handle) for name, handle in _gpus()}


def _read(handle: Any) -> GpuState:
    name = _ask("nvmlDeviceGetName", handle) or "GPU"  # also where it is not UTF-8
    limit_mw = _ask("nvmlDeviceGetEnforcedPowerLimit", handle)
    celsius = _ask("nvmlDeviceGetTemperature", handle, _GPU_SENSOR)
    slowdown_c = _ask("nvmlDeviceGetTemperatureThreshold", handle, _SLOWDOWN_THRESHOLD)
    held = {}
    for policy, word in _POLICIES.items():
        status = _ask("nvmlDeviceGetViolationStatus", handle, policy)
        if status is not None:
            held[word] = status.violationTime * 1e-9
    return GpuState(
        name=name.decode(errors="replace") if isinstance(name, bytes) else name,
        temperature_c=None if celsius is None else float(celsius),
        power_limit_w=None if limit_mw is None else limit_mw * 1e-3,
        reasons=_reasons(handle),
        held_s=held,
        slowdown_c=None if slowdown_c is None else float(slowdown_c),
    )


def _reasons(handle: Any) -> tuple[str, ...]:
    # The name changed with driver 535 and nvidia-ml-py 12.535; either side may be the older one.
    for query in (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ):
        bits = _ask(query, handle)
        if bits is not None:
            return tuple(word for bit, word in _REASONS.items() if bits & bit)
    return ()
