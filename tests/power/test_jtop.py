from __future__ import annotations

import re
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power import boundary, jtop
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, SensorAbsentError

FAKE = Path(__file__).with_name("fake_jtop")
NOWHERE = Path("/nowhere")


@pytest.fixture
def fake_jtop(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put the fake jtop first, here and in the sampler's process."""
    monkeypatch.setitem(sys.modules, "jtop", None)
    del sys.modules["jtop"]
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_JTOP", "nano")
    return monkeypatch


def test_the_input_that_jtop_hides_in_its_total_is_a_rail_again(
    fake_jtop: pytest.MonkeyPatch,
) -> None:
    sensor = jtop.find(Request())
    assert sensor.rails == ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    assert (sensor.total_rails, sensor.gpu_rails) == (("VDD_IN",), ("VDD_CPU_GPU_CV",))
    with closing(SampledMeter(sensor)) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.6)
        end = time.monotonic_ns()
        energy = integrate(meter.trace(start, end), start, end)
    assert energy.mean_power_w(["VDD_IN"]) == pytest.approx(5.0, rel=0.001)
    assert energy.mean_power_w(["VDD_SOC"]) == pytest.approx(1.0, rel=0.002)


def test_the_total_is_our_rule_s_not_jtop_s_sum(fake_jtop: pytest.MonkeyPatch) -> None:
    fake_jtop.setenv("FAKE_JTOP", "agx")
    sensor = jtop.find(Request())
    assert sorted(sensor.total_rails) == ["VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"]
    assert "VDDQ_VDD2_1V8AO" in sensor.rails


def test_an_input_and_a_part_of_it_are_not_added(fake_jtop: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="counts energy twice"):
        jtop.find(Request(("VDD_IN", "VDD_SOC")))


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("absent", r"--power=jtop: jtop does not answer \(The jtop.service is not active\): start"),
        ("ended", "ended the connection: start its service .*usermod -aG jtop"),
        ("older", r"client: \[7\.2\.2\].*install .*: pip install jetson-stats==4\.2\.1$"),
        ("resets", r"jtop's client failed \(EOFError"),
        ("silent", r"did not answer in 1 s and hangs"),
        ("empty", "sends no power rail"),
    ],
)
def test_what_keeps_jtop_from_answering(
    fake_jtop: pytest.MonkeyPatch, mode: str, says: str
) -> None:
    fake_jtop.setenv("FAKE_JTOP", mode)
    fake_jtop.setattr(boundary, "DEADLINE_S", 1.0 if mode == "silent" else 60.0)
    with pytest.raises(MeterError, match=says):
        open_meter("jtop")
    automatic = open_meter("auto", sysfs_root=NOWHERE)
    # Where the service is sick, no other meter takes its place.
    assert automatic.sick == (mode not in {"absent", "empty"})
    assert automatic.tried[-1].startswith("jtop: ") == automatic.sick


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("stops", "stopped sending; check it"),
        ("breaks", r"jtop's client failed \(EOFError"),
        ("pauses", "no reading came"),
        pytest.param("sleeps", "did not cover a window", marks=pytest.mark.slow),
    ],
)
def test_a_service_that_fails_meanwhile_costs_the_energy_and_nothing_else(
    fake_jtop: pytest.MonkeyPatch, mode: str, says: str
) -> None:
    fake_jtop.setenv("FAKE_JTOP", mode)
    fake_jtop.setattr("pytest_gaitperf.power.sampled._ANSWER_S", 2.0)
    with closing(SampledMeter(jtop.find(Request()))) as meter:
        metering = Metering(meter)
        metering.start()
        start = time.monotonic_ns()
        time.sleep(1.0 if mode == "pauses" else 0.6)
        reading = metering.read("cell", np.array([start, time.monotonic_ns()]))
        metering.stop()
    assert (reading.trace, reading.failed) == (None, True)
    assert re.search(says, reading.absent)


def test_a_rail_beside_the_total_that_the_service_loses_costs_that_rail_alone(
    fake_jtop: pytest.MonkeyPatch,
) -> None:
    fake_jtop.setenv("FAKE_JTOP", "loses")
    with closing(SampledMeter(jtop.find(Request()))) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.8)
        trace = meter.trace(start, time.monotonic_ns())
    assert trace.rails == ("VDD_IN", "VDD_CPU_GPU_CV")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    with pytest.raises(SensorAbsentError, match=r"pip install pytest-gaitperf\[jetson\]"):
        jtop.find(Request())
