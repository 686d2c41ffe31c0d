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

import math
import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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
_NO_DRIVER = (9, 12)  # NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIBRARY_NOT_FOUND
_PASSING = ("NVMLError_InUse", "NVMLError_NotReady", "NVMLError_Timeout")


class NvmlReader:
    """Every GPU's energy in joules, or power in watts, in the order of ``devices``.

    Those of ``total`` must answer.
    """

    def __init__(self, devices: Sequence[int], quantity: Quantity, total: Sequence[int]) -> None:
        import pynvml  # noqa: PLC0415 - optional, and only this process needs it

        self._error, self._devices, self._total = pynvml.NVMLError, devices, total
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
        """Read every GPU once, None when one of the total's does not answer just now.

        NaN stands for another one that does not answer.
        """
        values = []
        for device, handle in zip(self._devices, self._handles, strict=True):
            try:
                values.append(self._query(handle) * 1e-3)
            except self._error as error:
                if device not in self._total:
                    values.append(math.nan)
                    continue
                if isinstance(error, self._passing):
                    return None
                raise MeterError(
                    f"NVML stopped answering for gpu{device} ({error}); "
                    "check the driver (nvidia-smi, dmesg)"
                ) from error
        return tuple(values)


def find(
    request: Request,
    name: str = "nvml",
    quantities: Sequence[Quantity] = ("energy", "instant", "average"),
) -> Sensor:
    """Find the GPUs that answer, by the first of ``quantities`` that all of the total have.

    Raises SensorAbsentError: no nvidia-ml-py, no driver, no GPU, or GPUs without power readings
    (Jetson's); MeterError: the driver fails; ConfigurationError: the chosen rails do not exist.
    """
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        raise SensorAbsentError(
            "the package nvidia-ml-py is not installed; pip install pytest-gaitperf[nvidia]"
        ) from None
    with foreign("NVML"):
        gpus = _gpus(pynvml, quantities)
    if not gpus:
        raise SensorAbsentError("NVML sees no GPU")
    if not any(gpu.gives or gpu.lost for gpu in gpus):
        raise SensorAbsentError(
            f"{', '.join(gpu.name for gpu in gpus)}: NVML gives neither energy nor power, as on a "
            f"Jetson, whose own sensors are ina3221 ({gpus[0].why})"
        )
    by_rail = {f"gpu{number}": gpu for number, gpu in enumerate(gpus)}
    chosen = chosen_rails(request.rails, tuple(by_rail))
    # Without a choice a card that has no sensor does not count, but one that was lost is missed.
    total = chosen or tuple(rail for rail, gpu in by_rail.items() if gpu.gives or gpu.lost)
    for rail in total:
        if not by_rail[rail].gives:
            raise MeterError(
                f"{rail} ({by_rail[rail].name}) cannot be read ({by_rail[rail].why}): check it "
                "(nvidia-smi, dmesg), or name those that count with --power-rails"
            )
    common = [each for each in quantities if all(each in by_rail[rail].gives for rail in total)]
    if not common:
        raise MeterError(f"NVML gives no one quantity for all of {', '.join(total)}")
    quantity = common[0]
    rails = tuple(rail for rail, gpu in by_rail.items() if quantity in gpu.gives)
    names = [by_rail[rail].name for rail in rails]
    split = [rail for rail in rails if by_rail[rail].split]
    left_out = [rail for rail in by_rail if rail not in rails]
    notes = [f"{one} ({by_rail[one].name}) is left out: {by_rail[one].why}" for one in left_out]
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
        arguments={
            "devices": [int(rail[3:]) for rail in rails],
            "quantity": quantity,
            "total": [int(rail[3:]) for rail in total],
        },
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
            if field.nvmlReturn == nvml.NVML_ERROR_NOT_SUPPORTED:
                raise nvml.NVMLError_NotSupported(field.nvmlReturn)
            raise nvml.NVMLError(field.nvmlReturn)
        return int(field.value.uiVal)

    queries: dict[Quantity, Callable[[Any], int]] = {
        "energy": nvml.nvmlDeviceGetTotalEnergyConsumption,
        "instant": instant,
        "average": nvml.nvmlDeviceGetPowerUsage,
    }
    return queries[quantity]


class _Gpu(NamedTuple):
    """What a GPU gives, ``why`` not the rest, and whether that is a fault and no lack of it."""

    name: str
    gives: tuple[Quantity, ...]
    why: str
    lost: bool
    split: bool


def _gpus(nvml: Any, quantities: Sequence[Quantity]) -> list[_Gpu]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        absent = error.args and error.args[0] in _NO_DRIVER
        kind = SensorAbsentError if absent else MeterError
        raise kind(f"no NVIDIA driver answers NVML ({error}); check it (nvidia-smi)") from error
    try:
        count = nvml.nvmlDeviceGetCount()
        return [_looked_at(nvml, number, quantities) for number in range(count)]
    except nvml.NVMLError as error:
        raise MeterError(
            f"NVML cannot count the GPUs ({error}); check the driver (nvidia-smi, dmesg)"
        ) from error
    finally:
        nvml.nvmlShutdown()


def _looked_at(nvml: Any, number: int, quantities: Sequence[Quantity]) -> _Gpu:
    name, gives, refusals, lost, split = "GPU", [], [], False, False
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        name, split = _name(nvml, handle), _split(nvml, handle)
        for quantity in quantities:
            try:
                _query(nvml, quantity)(handle)
            except nvml.NVMLError_NotSupported as error:
                refusals.append(f"{quantity}: {error}")
            else:
                gives.append(quantity)
    except nvml.NVMLError as error:
        refusals.append(str(error))
        lost = not gives
    return _Gpu(name, tuple(gives), "; ".join(refusals), lost, split)


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
