from __future__ import annotations

import math
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_gaitperf
from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power import nvml
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, SensorAbsentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.power.sensor import Sensor

FAKE = Path(__file__).with_name("fake_nvml")


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put the fake pynvml first, here and in the sampler's process."""
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(FAKE)
    # The sampler looks where the package is first: a real pynvml may lie beside it.
    monkeypatch.setattr("pytest_gaitperf.power.sampled._PACKAGE_ROOT", FAKE)
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest_gaitperf.__file__).parents[1]))
    monkeypatch.setenv("FAKE_NVML", "counter")
    return monkeypatch


@pytest.mark.parametrize(
    ("supported", "backend", "quantity"),
    [
        ("counter", nvml.find, "energy"),
        ("counter", nvml.find_power, "instant"),
        ("average", nvml.find, "average"),
    ],
)
def test_two_gpus_by_counter_or_by_polling(
    fake_nvml: pytest.MonkeyPatch,
    supported: str,
    backend: Callable[[Request], Sensor],
    quantity: str,
) -> None:
    fake_nvml.setenv("FAKE_NVML", supported)
    sensor = backend(Request())
    assert sensor.arguments["quantity"] == quantity
    assert sensor.kind == ("energy" if quantity == "energy" else "power")
    assert sensor.name == ("nvml-power" if backend is nvml.find_power else "nvml")
    assert "Fake GPU 0" in sensor.description
    assert sensor.total_rails == sensor.gpu_rails == ("gpu0", "gpu1")
    with closing(SampledMeter(sensor)) as meter:
        assert 0.02 < meter.timing.period_s < 0.3
        meter.start()
        start = time.monotonic_ns()
        time.sleep(1.0)
        end = time.monotonic_ns()
        meter.stop()
        energy = integrate(meter.trace(start, end), start, end)
    seconds = (end - start) * 1e-9
    # A counter's step is dated by the reading that shows it: late by at most one reading.
    assert energy.joules["gpu0"] == pytest.approx(100 * seconds, rel=0.05)
    assert energy.joules["gpu1"] == pytest.approx(40 * seconds, rel=0.05)
    assert energy.total_j(("gpu0", "gpu1")) == pytest.approx(140 * seconds, rel=0.05)


def test_one_gpu_can_be_chosen(fake_nvml: pytest.MonkeyPatch) -> None:
    sensor = nvml.find(Request(("gpu1",)))
    assert (sensor.rails, sensor.total_rails) == (("gpu0", "gpu1"), ("gpu1",))
    with pytest.raises(ConfigurationError, match="it has gpu0, gpu1"):
        nvml.find(Request(("gpu2",)))


def test_a_gpu_that_supports_neither_is_absent_with_that_reason(
    fake_nvml: pytest.MonkeyPatch,
) -> None:
    fake_nvml.setenv("FAKE_NVML", "orin")
    with pytest.raises(
        SensorAbsentError, match=r"Fake GPU 0, Fake GPU 1: NVML gives neither .*Not Supported"
    ):
        nvml.find(Request())


def test_a_lost_gpu_stops_the_meter_only_where_it_counts(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    fake_nvml.setattr(pynvml.state, "lost", 0)  # type: ignore[attr-defined, unused-ignore]
    with pytest.raises(MeterError, match=r"gpu0 \(GPU\) cannot be read .*--power-rails"):
        nvml.find(Request())
    sensor = nvml.find(Request(("gpu1",)))
    assert (sensor.rails, sensor.arguments["devices"]) == (("gpu1",), [1])
    assert sensor.notes[0] == "gpu0 (GPU) is left out: Unknown Error"


def test_a_card_without_a_sensor_does_not_count(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    fake_nvml.setattr(pynvml.state, "plain", 1)  # type: ignore[attr-defined, unused-ignore]
    sensor = nvml.find(Request())
    assert (sensor.rails, sensor.total_rails, sensor.kind) == (("gpu0",), ("gpu0",), "energy")
    assert "gpu1 (Fake GPU 1) is left out: energy: Not Supported" in sensor.notes[0]
    with pytest.raises(MeterError, match=r"gpu1 .* cannot be read"):
        nvml.find(Request(("gpu0", "gpu1")))


def test_a_gpu_shared_through_mig_says_so(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    fake_nvml.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_nvml.setattr(pynvml.state, "mig", 1)  # type: ignore[attr-defined, unused-ignore]
    assert nvml.find(Request()).notes == ("MIG is on (gpu0): the figure is of the whole board",)


def test_the_devices_that_cuda_sees_do_not_narrow_the_total(
    fake_nvml: pytest.MonkeyPatch,
) -> None:
    fake_nvml.setenv("CUDA_VISIBLE_DEVICES", "1")
    sensor = nvml.find(Request())
    assert sensor.total_rails == ("gpu0", "gpu1")
    assert "CUDA_VISIBLE_DEVICES does not narrow the total" in sensor.notes[0]
    assert nvml.find(Request(("gpu1",))).notes == ()


def test_a_name_that_is_not_utf_8_costs_the_name(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    fake_nvml.setattr(pynvml.state, "odd_name", True)  # type: ignore[attr-defined, unused-ignore]
    sensor = nvml.find(Request())
    assert sensor.rails == ("gpu0", "gpu1")
    assert "gpu0 (GPU), gpu1 (GPU)" in sensor.description


def test_a_broken_library_is_a_plain_error(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    fake_nvml.setattr(pynvml.state, "broken", True)  # type: ignore[attr-defined, unused-ignore]
    with pytest.raises(MeterError, match=r"NVML failed \(AttributeError: undefined symbol"):
        nvml.find(Request())
    with pytest.raises(MeterError, match=r"NVML failed \(AttributeError: undefined symbol"):
        nvml.NvmlReader([0], "energy", [0])


def test_a_gpu_that_is_not_ready_just_now_is_read_again(fake_nvml: pytest.MonkeyPatch) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    reader = nvml.NvmlReader([0, 1], "energy", [0, 1])
    assert reader.read() is not None

    def not_ready(handle: object) -> int:
        raise pynvml.NVMLError_NotReady(1)

    def lost(handle: object) -> int:
        raise pynvml.NVMLError(15)

    fake_nvml.setattr(reader, "_query", not_ready)
    assert reader.read() is None
    fake_nvml.setattr(reader, "_query", lost)
    with pytest.raises(MeterError, match=r"gpu0 .*nvidia-smi"):
        reader.read()


def test_a_gpu_beside_the_total_that_is_lost_costs_its_figures_alone(
    fake_nvml: pytest.MonkeyPatch,
) -> None:
    import pynvml  # noqa: PLC0415 - the fake

    reader = nvml.NvmlReader([0, 1], "energy", [0])
    query, first = reader._query, reader._handles[0]

    def lost(handle: object) -> int:
        if handle == first:
            return query(handle)
        raise pynvml.NVMLError(15)

    fake_nvml.setattr(reader, "_query", lost)
    values = reader.read()
    assert values is not None
    assert list(map(math.isfinite, values)) == [True, False]


def test_the_real_package_has_every_name_that_is_used() -> None:
    """Without a driver it still imports: names and error classes are those of nvidia-ml-py."""
    sys.modules.pop("pynvml", None)
    real = pytest.importorskip("pynvml")
    for name in (
        "NVML_DEVICE_MIG_ENABLE",
        "NVML_ERROR_NOT_SUPPORTED",
        "NVML_SUCCESS",
        "NVML_TEMPERATURE_GPU",
        "nvmlDeviceGetCount",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetName",
        "nvmlDeviceGetPowerManagementDefaultLimit",
        "nvmlDeviceGetPowerManagementLimit",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetViolationStatus",
        *nvml._PASSING,
    ):
        assert hasattr(real, name), name
    assert real.NVML_FI_DEV_POWER_INSTANT == nvml._POWER_INSTANT
    assert issubclass(real.NVMLError_NotSupported, real.NVMLError)
    assert {"violationTime"} <= {field[0] for field in real.c_nvmlViolationTime_t._fields_}
    assert {"nvmlReturn", "value"} <= {field[0] for field in real.c_nvmlFieldValue_t._fields_}


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SensorAbsentError, match=r"pip install pytest-gaitperf\[nvidia\]"):
        nvml.find(Request())
