"""NVIDIA GPUs through NVML: the energy counter where there is one, polled power otherwise.

- ``nvml``: ``nvmlDeviceGetTotalEnergyConsumption``, millijoules since the driver was loaded,
  updated every 20 to 100 ms; GPUs without it are polled.
- ``nvml-power``: always polled. ``NVML_FI_DEV_POWER_INSTANT`` where the driver has it, else
  ``nvmlDeviceGetPowerUsage``; both milliwatts. NVML's manual: the latter is an average over the
  last second on Ampere (except GA100) and newer, so a window's edges are then blurred by a second.

The figures are those of the GPU boards; the host is not in them. ``pynvml`` (the package
nvidia-ml-py) is imported when this backend is tried, and in the sampler's process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError, chosen_rails, foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Quantity = Literal["energy", "instant", "average"]

_NOMINAL_PERIOD_S = 0.1
_POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT, driver 530 and newer
_HOW = {
    "energy": "energy counter",
    "instant": "polled instantaneous power",
    "average": "polled power (an average over up to 1 s)",
}
_PASSING = ("NVMLError_InUse", "NVMLError_NotReady", "NVMLError_Timeout")


class NvmlReader:
    """Every GPU's energy in joules, or power in watts, in the order of ``devices``."""

    def __init__(self, devices: Sequence[int], quantity: Quantity) -> None:
        import pynvml  # noqa: PLC0415 - optional, and only this process needs it

        self._error = pynvml.NVMLError
        self._passing = tuple(getattr(pynvml, name) for name in _PASSING if hasattr(pynvml, name))
        with foreign("NVML"):
            self._query = _query(pynvml, quantity)
            try:
                pynvml.nvmlInit()
                self._handles = [pynvml.nvmlDeviceGetHandleByIndex(device) for device in devices]
            except pynvml.NVMLError as error:
                raise MeterError(
                    f"NVML cannot open the GPUs ({error}); check the driver (nvidia-smi)"
                ) from error

    def read(self) -> tuple[float, ...] | None:
        """Read every GPU once, None when one of them does not answer just now."""
        values = []
        for number, handle in enumerate(self._handles):
            try:
                values.append(self._query(handle) * 1e-3)
            except self._passing:
                return None
            except self._error as error:
                raise MeterError(
                    f"NVML stopped answering for gpu{number} ({error}); "
                    "check the driver (nvidia-smi, dmesg)"
                ) from error
        return tuple(values)


def find(
    request: Request,
    name: str = "nvml",
    quantities: Sequence[Quantity] = ("energy", "instant", "average"),
) -> Sensor:
    """Find the GPUs that answer, by the first of ``quantities`` that all have.

    Raises SensorAbsentError: no nvidia-ml-py, no driver, no GPU, or GPUs without power readings
    (Jetson's); ConfigurationError: the chosen rails do not exist.
    """
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        raise SensorAbsentError(
            "the package nvidia-ml-py is not installed; pip install pytest-gaitperf[nvidia]"
        ) from None
    with foreign("NVML"):
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise SensorAbsentError(f"no NVIDIA driver answers NVML ({error})") from error
        try:
            count = pynvml.nvmlDeviceGetCount()
            handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
            names = [_name(pynvml, handle) for handle in handles]
            quantity, refusals = _best(pynvml, handles, quantities)
            split = [f"gpu{number}" for number in range(count) if _split(pynvml, handles[number])]
        except pynvml.NVMLError as error:
            raise SensorAbsentError(f"NVML cannot read the GPUs ({error})") from error
        finally:
            pynvml.nvmlShutdown()
    if not names:
        raise SensorAbsentError("NVML sees no GPU")
    if quantity is None:
        raise SensorAbsentError(
            f"{', '.join(names)}: NVML gives neither energy nor power, as on a Jetson, whose own "
            f"sensors are ina3221 ({'; '.join(refusals)})"
        )
    rails = tuple(f"gpu{number}" for number in range(count))
    total = chosen_rails(request.rails, rails) or rails
    notes = []
    if split:
        notes.append(f"MIG is on ({', '.join(split)}): the figure is of the whole board")
    if "CUDA_VISIBLE_DEVICES" in os.environ and not request.rails:
        notes.append("CUDA_VISIBLE_DEVICES does not narrow the total, --power-rails=gpu0 does")
    return Sensor(
        name=name,
        description=(
            f"NVML {_HOW[quantity]} of "
            f"{', '.join(f'{r} ({n})' for r, n in zip(rails, names, strict=True))}, "
            f"total {' + '.join(total)}, GPU boards only"
        ),
        rails=rails,
        total_rails=total,
        gpu_rails=total,
        kind="energy" if quantity == "energy" else "power",
        reader="pytest_gaitperf.power.nvml:NvmlReader",
        arguments={"devices": list(range(count)), "quantity": quantity},
        chips={f"NVML {rail} ({name})": (rail,) for rail, name in zip(rails, names, strict=True)},
        nominal_period_s=_NOMINAL_PERIOD_S,
        notes=tuple(notes),
    )


def find_power(request: Request) -> Sensor:
    """Find the GPUs that answer, polling their power; raise as ``find`` does."""
    return find(request, "nvml-power", ("instant", "average"))


def _query(nvml: Any, quantity: Quantity) -> Callable[[Any], int]:
    """Give the function that reads one GPU: millijoules or milliwatts."""

    def instant(handle: Any) -> int:
        (field,) = nvml.nvmlDeviceGetFieldValues(handle, [_POWER_INSTANT])
        # The call succeeds as a whole even when the field is refused.
        if field.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(field.nvmlReturn)
        return int(field.value.uiVal)

    queries: dict[Quantity, Callable[[Any], int]] = {
        "energy": nvml.nvmlDeviceGetTotalEnergyConsumption,
        "instant": instant,
        "average": nvml.nvmlDeviceGetPowerUsage,
    }
    return queries[quantity]


def _best(
    nvml: Any, handles: Sequence[Any], quantities: Sequence[Quantity]
) -> tuple[Quantity | None, list[str]]:
    """Give the first quantity that every GPU answers, so that one trace holds one kind.

    With it, what was said of those before it.
    """
    refusals = []
    for quantity in quantities:
        query = _query(nvml, quantity)
        try:
            for handle in handles:
                query(handle)
        except nvml.NVMLError as error:
            refusals.append(f"{quantity}: {error}")
        else:
            return quantity, refusals
    return None, refusals


def _split(nvml: Any, handle: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # most GPUs do not know MIG
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _name(nvml: Any, handle: Any) -> str:
    try:
        name: str | bytes = nvml.nvmlDeviceGetName(handle)
        return name.decode() if isinstance(name, bytes) else name
    except UnicodeDecodeError:
        return "GPU"
