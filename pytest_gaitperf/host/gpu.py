"""The state of NVIDIA GPUs, from NVML: clocks, limits, and what is slowing them.

Where ``pynvml`` (the package nvidia-ml-py) or a driver is missing there are no GPUs to speak of; a
figure that a GPU does not give is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


@dataclass(frozen=True, slots=True)
class GpuState:
    """One look at a GPU.

    ``reasons`` is what slows it at this moment, in words. ``held_s`` is, by policy (power, thermal,
    board limit), for how many seconds since the driver was loaded the GPU was held back by it.
    """

    name: str
    temperature_c: float | None
    power_limit_w: float | None
    sm_clock_hz: float | None
    memory_clock_hz: float | None
    reasons: tuple[str, ...]
    held_s: Mapping[str, float]


@cache
def _nvml() -> Any:
    """Give pynvml, initialised for the rest of the process, or None.

    Without persistence mode the driver takes a second to come up: once is enough.
    """
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _gpus() -> Iterator[tuple[str, Any, Any]]:
    """Yield every GPU by the name that its rails have, with pynvml and NVML's handle of it."""
    nvml = _nvml()
    if nvml is None:
        return
    for number in range(_asked(nvml, nvml.nvmlDeviceGetCount) or 0):
        handle = _asked(nvml, nvml.nvmlDeviceGetHandleByIndex, number)
        if handle is not None:
            yield f"gpu{number}", nvml, handle


def read_gpus() -> dict[str, GpuState]:
    """Look at every GPU, by the names that its rails have: ``gpu0``, ``gpu1``..."""
    return {name: _read(nvml, handle) for name, nvml, handle in _gpus()}


def lowered_limits() -> dict[str, float]:
    """Give, by GPU, the power limit in watts where it is not the factory's.

    Such a limit (nvidia-smi -pl) makes another device of it, as a Jetson's power mode does.
    """
    limits = {}
    for name, nvml, handle in _gpus():
        now_mw = _asked(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)
        usual_mw = _asked(nvml, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
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
    for name, nvml, handle in _gpus():
        rates = _asked(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
        found = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        uses[name] = GpuUse(
            None if rates is None else rates.gpu / 100, tuple(process.pid for process in found)
        )
    return uses


def slowdown_temperatures_c() -> dict[str, float]:
    """Give, by GPU, the temperature at which the hardware slows it, where it tells."""
    limits = {}
    for name, nvml, handle in _gpus():
        kind = nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        limit_c = _asked(nvml, nvml.nvmlDeviceGetTemperatureThreshold, handle, kind)
        if limit_c is not None:
            limits[name] = float(limit_c)
    return limits


def gpu_reasons() -> dict[str, tuple[str, ...]]:
    """Say, by GPU, what slows it at this moment: one call per GPU, microseconds."""
    return {name: _reasons(nvml, handle) for name, nvml, handle in _gpus()}


def _read(nvml: Any, handle: Any) -> GpuState:
    name = _asked(nvml, nvml.nvmlDeviceGetName, handle) or "GPU"
    limit_mw = _asked(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    celsius = _asked(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
    sm_mhz = _asked(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM)
    memory_mhz = _asked(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM)
    held = {}
    for policy, word in _POLICIES.items():
        status = _asked(nvml, nvml.nvmlDeviceGetViolationStatus, handle, policy)
        if status is not None:
            held[word] = status.violationTime * 1e-9
    return GpuState(
        name=name.decode() if isinstance(name, bytes) else name,
        temperature_c=None if celsius is None else float(celsius),
        power_limit_w=None if limit_mw is None else limit_mw * 1e-3,
        sm_clock_hz=None if sm_mhz is None else sm_mhz * 1e6,
        memory_clock_hz=None if memory_mhz is None else memory_mhz * 1e6,
        reasons=_reasons(nvml, handle),
        held_s=held,
    )


def _reasons(nvml: Any, handle: Any) -> tuple[str, ...]:
    # The name changed with driver 535 and nvidia-ml-py 12.535; either side may be the older one.
    for name in (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ):
        query = getattr(nvml, name, None)
        bits = None if query is None else _asked(nvml, query, handle)
        if bits is not None:
            return tuple(word for bit, word in _REASONS.items() if bits & bit)
    return ()


def _asked(nvml: Any, query: Callable[..., Any], *arguments: Any) -> Any:
    """Ask NVML; what this GPU or driver does not tell is None."""
    try:
        return query(*arguments)
    except nvml.NVMLError:
        return None
