from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.power import nvml
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, SensorAbsentError

FAKE = Path(__file__).with_name("fake_nvml")


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put the fake pynvml first, here and in the sampler's process."""
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_NVML", "counter")
    return monkeypatch


@pytest.mark.parametrize("kind", ["counter", "power"])
def test_two_gpus_by_counter_or_by_polling(fake_nvml: pytest.MonkeyPatch, kind: str) -> None:
    fake_nvml.setenv("FAKE_NVML", kind)
    sensor = nvml.find(Request())
    assert sensor.kind == ("energy" if kind == "counter" else "power")
    assert sensor.total_rails == sensor.gpu_rails == ("gpu0", "gpu1")
    with closing(SampledMeter(sensor)) as meter:
        assert 0.02 < meter.probe.period_s < 0.3
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
    with pytest.raises(SensorAbsentError, match="Fake GPU 0, Fake GPU 1 answers NotSupported"):
        nvml.find(Request())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SensorAbsentError, match=r"pip install pytest-gaitperf\[nvidia\]"):
        nvml.find(Request())
