"""A fake NVML: two GPUs of 100 W and 40 W whose figures step every 50 ms, as real ones do.

``FAKE_NVML`` says what they support: ``counter`` (all), ``power`` (no counter), ``average`` (an old
driver: no instantaneous power either) or ``orin`` (nothing). ``state`` can be set by a test of the
same process.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WATTS = (100.0, 40.0)
UPDATE_S = 0.05

NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED = 0, 3
NVML_TEMPERATURE_GPU = 0
NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 1
NVML_DEVICE_MIG_ENABLE = 1
_NOT_SUPPORTED = 3
_POWER_INSTANT = 186

state = SimpleNamespace(
    reasons=0x1, temperature=41, limit_mw=700_000, held_ns={0: 0, 1: 0}, mig=0, down=False
)
state.busy_percent, state.pids = 0, ()
state.computing, state.drawing = {}, {}
"""Bytes of the processes that compute, and draw, by GPU and pid."""
state.broken = state.odd_name = False
state.lost, state.plain = None, None
"""A GPU that fell off the bus, and one without a power sensor."""


class NVMLError(Exception):
    def __str__(self) -> str:
        return "Not Supported" if self.args == (_NOT_SUPPORTED,) else "Unknown Error"


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_NotReady(NVMLError):
    pass


def _not_supported() -> NVMLError:
    return NVMLError_NotSupported(_NOT_SUPPORTED)


def nvmlInit() -> None:
    if state.down:
        raise NVMLError(999)
    if state.broken:
        raise AttributeError("undefined symbol: nvmlInit_v2")


def nvmlShutdown() -> None:
    pass


def nvmlDeviceGetCount() -> int:
    return len(WATTS)


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    if index == state.lost:
        raise NVMLError(15)
    return index


def nvmlDeviceGetName(handle: int) -> bytes | str:
    # nvidia-ml-py gives text, its predecessors gave bytes.
    if state.odd_name:
        b"\xff".decode()  # as nvidia-ml-py does
    return f"Fake GPU {handle}" if handle else b"Fake GPU 0"


def nvmlDeviceGetMigMode(handle: int) -> list[int]:
    if handle:
        raise _not_supported()
    return [state.mig, state.mig]


def nvmlDeviceGetTotalEnergyConsumption(handle: int) -> int:
    if os.environ["FAKE_NVML"] != "counter" or handle == state.plain:
        raise _not_supported()
    updates = time.monotonic() // UPDATE_S
    return round(updates * UPDATE_S * WATTS[handle] * 1000)


def _milliwatts(handle: int) -> int:
    return round(WATTS[handle] * 1000) + round(time.monotonic() // UPDATE_S) % 2


def nvmlDeviceGetFieldValues(handle: int, fieldIds: Sequence[int]) -> list[SimpleNamespace]:
    assert list(fieldIds) == [_POWER_INSTANT]
    supported = os.environ["FAKE_NVML"] in {"counter", "power"} and handle != state.plain
    return [
        SimpleNamespace(
            nvmlReturn=NVML_SUCCESS if supported else _NOT_SUPPORTED,
            value=SimpleNamespace(uiVal=_milliwatts(handle)),
        )
    ]


def nvmlDeviceGetPowerUsage(handle: int) -> int:
    if os.environ["FAKE_NVML"] == "orin" or handle == state.plain:
        raise _not_supported()
    return _milliwatts(handle)


def nvmlDeviceGetCurrentClocksEventReasons(handle: int) -> int:
    return 0x1 if handle else int(state.reasons)


def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:
    return int(state.temperature) - handle


def nvmlDeviceGetEnforcedPowerLimit(handle: int) -> int:
    return int(state.limit_mw)


def nvmlDeviceGetViolationStatus(handle: int, policy: int) -> SimpleNamespace:
    if policy not in state.held_ns:
        raise _not_supported()
    held = 0 if handle else state.held_ns[policy]
    return SimpleNamespace(referenceTime=time.monotonic_ns() // 1000, violationTime=held)


def nvmlDeviceGetPowerManagementLimit(handle: int) -> int:
    return int(state.limit_mw)


def nvmlDeviceGetPowerManagementDefaultLimit(handle: int) -> int:
    return 700_000


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:
    return SimpleNamespace(gpu=0 if handle else state.busy_percent, memory=0)


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[SimpleNamespace]:
    at_work = [] if handle else [SimpleNamespace(pid=pid, usedGpuMemory=1) for pid in state.pids]
    return at_work + _holding(handle, state.computing)


def nvmlDeviceGetGraphicsRunningProcesses(handle: int) -> list[SimpleNamespace]:
    return _holding(handle, state.drawing)


def _holding(handle: int, sizes: dict[tuple[int, int], int | None]) -> list[SimpleNamespace]:
    """Return the processes on a GPU as nvidia-ml-py does: None is what a driver cannot tell."""
    return [
        SimpleNamespace(pid=pid, usedGpuMemory=size)
        for (on, pid), size in sizes.items()
        if on == handle
    ]


def nvmlDeviceGetTemperatureThreshold(handle: int, kind: int) -> int:
    if handle or kind != NVML_TEMPERATURE_THRESHOLD_SLOWDOWN:
        raise _not_supported()
    return 90
