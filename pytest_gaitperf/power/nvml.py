"""NVIDIA GPUs through NVML: the energy counter where there is one, polled power otherwise.

Energy counter: millijoules since the driver was loaded, updated every 20 to 100 ms. Power:
milliwatts. The figures are those of the GPU boards; the host is not in them. ``pynvml`` (the
package nvidia-ml-py) is imported when this backend is tried, and in the sampler's process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError, chosen_rails

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOMINAL_PERIOD_S = 0.1


class NvmlReader:
    """Every GPU's energy in joules, or power in watts, in the order of ``devices``."""

    def __init__(self, devices: Sequence[int], kind: Literal["power", "energy"]) -> None:
        import pynvml  # noqa: PLC0415 - optional, and only this process needs it

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(device) for device in devices]
        except pynvml.NVMLError as error:
            raise MeterError(f"NVML cannot open the GPUs: {error}") from error
        self._query = (
            pynvml.nvmlDeviceGetTotalEnergyConsumption
            if kind == "energy"
            else pynvml.nvmlDeviceGetPowerUsage
        )

    def read(self) -> tuple[float, ...]:
        """Read every GPU once."""
        values = []
        for number, handle in enumerate(self._handles):
            try:
                values.append(self._query(handle) * 1e-3)
            except self._nvml.NVMLError as error:  # noqa: PERF203 - names the GPU
                raise MeterError(
                    f"NVML stopped answering for gpu{number}: {error}; "
                    "check the driver (nvidia-smi)"
                ) from error
        return tuple(values)


def find(request: Request) -> Sensor:
    """Find the GPUs that answer.

    Raises
    ------
    SensorAbsentError
        No nvidia-ml-py, no driver, no GPU, or GPUs without power readings (Jetson's).
    ConfigurationError
        The chosen rails do not exist.

    """
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        raise SensorAbsentError(
            "the package nvidia-ml-py is not installed; pip install pytest-gaitperf[nvidia]"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise SensorAbsentError(f"no NVIDIA driver answers NVML ({error})") from error
    try:
        count = pynvml.nvmlDeviceGetCount()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
        names = [_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        kind = _kind(pynvml, handles)
    except pynvml.NVMLError as error:
        raise SensorAbsentError(f"NVML cannot read the GPUs ({error})") from error
    finally:
        pynvml.nvmlShutdown()
    if not names:
        raise SensorAbsentError("NVML sees no GPU")
    if kind is None:
        raise SensorAbsentError(
            f"{', '.join(names)} answers NotSupported for energy and power (as Jetson's GPUs do)"
        )
    rails = tuple(f"gpu{number}" for number in range(count))
    total = chosen_rails(request.rails, rails) or rails
    how = "energy counter" if kind == "energy" else "polled power"
    return Sensor(
        name="nvml",
        description=(
            f"NVML {how} of {', '.join(f'{r} ({n})' for r, n in zip(rails, names, strict=True))}, "
            f"total {' + '.join(total)}, GPU boards only"
        ),
        rails=rails,
        total_rails=total,
        gpu_rails=total,
        kind=kind,
        reader="pytest_gaitperf.power.nvml:NvmlReader",
        arguments={"devices": list(range(count)), "kind": kind},
        chips={f"NVML {rail} ({name})": (rail,) for rail, name in zip(rails, names, strict=True)},
        nominal_period_s=_NOMINAL_PERIOD_S,
    )


def _kind(nvml: Any, handles: Sequence[Any]) -> Literal["power", "energy"] | None:
    """Give the better quantity that every GPU answers, so that one trace holds one kind."""
    queries: tuple[tuple[Literal["power", "energy"], Any], ...] = (
        ("energy", nvml.nvmlDeviceGetTotalEnergyConsumption),
        ("power", nvml.nvmlDeviceGetPowerUsage),
    )
    for kind, query in queries:
        try:
            for handle in handles:
                query(handle)
        except nvml.NVMLError_NotSupported:
            continue
        return kind
    return None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
