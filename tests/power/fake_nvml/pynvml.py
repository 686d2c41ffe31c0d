"""A fake NVML: two GPUs of 100 W and 40 W whose figures step every 50 ms, as real ones do.

``FAKE_NVML`` says what they support: ``counter``, ``power`` or ``orin`` (neither).
"""

# ruff: noqa: N801, N802, N818 - the names are NVML's own
from __future__ import annotations

import os
import time

WATTS = (100.0, 40.0)
UPDATE_S = 0.05


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


def nvmlInit() -> None:
    pass


def nvmlShutdown() -> None:
    pass


def nvmlDeviceGetCount() -> int:
    return len(WATTS)


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetName(handle: int) -> str:
    return f"Fake GPU {handle}"


def nvmlDeviceGetTotalEnergyConsumption(handle: int) -> int:
    if os.environ["FAKE_NVML"] != "counter":
        raise NVMLError_NotSupported("Not Supported")
    updates = time.monotonic() // UPDATE_S
    return round(updates * UPDATE_S * WATTS[handle] * 1000)


def nvmlDeviceGetPowerUsage(handle: int) -> int:
    if os.environ["FAKE_NVML"] == "orin":
        raise NVMLError_NotSupported("Not Supported")
    return round(WATTS[handle] * 1000) + round(time.monotonic() // UPDATE_S) % 2
