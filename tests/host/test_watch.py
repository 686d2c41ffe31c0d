from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.state import StateWatch, cool_down

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.conftest import Planter, Tree

ZONE = "sys/class/thermal/thermal_zone1/temp"
LIMITER = "sys/class/thermal/cooling_device1/cur_state"


def test_a_cool_device_is_not_waited_for(plant: Planter, orin_nano: Tree) -> None:
    seen: list[str] = []
    cool_down(50.0, seen.append, root=plant(orin_nano))
    assert seen == ["cooling down: 48.5 C"]


def test_a_hot_device_is_waited_for(plant: Planter, orin_nano: Tree) -> None:
    root = plant({**orin_nano, ZONE: "71000\n"})
    seen: list[str] = []

    def cool(hottest: str) -> None:
        seen.append(hottest.rpartition(": ")[2])
        if len(seen) == 2:
            plant({ZONE: "45000\n"})

    cool_down(50.0, cool, root=root, period_s=0.01)
    assert seen == ["71.0 C", "71.0 C", "48.5 C"]


def test_a_device_that_stays_hot_is_given_up(plant: Planter, orin_nano: Tree) -> None:
    with pytest.raises(MeasurementError, match=r"still had 48\.5 C after .* cooling down to 40 C"):
        cool_down(40.0, print, root=plant(orin_nano), longest_s=0.05, period_s=0.01)


def test_a_machine_without_thermometers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"thermal_zone\*/temp.*--gaitperf-cooldown"):
        cool_down(50.0, print, root=tmp_path)


def test_a_limit_that_comes_and_goes_within_the_measurement(
    plant: Planter, orin_nano: Tree
) -> None:
    with StateWatch(root=plant(orin_nano), period_s=0.005) as watch:
        time.sleep(0.05)
        assert watch.hindered() is None
        plant({LIMITER: "1\n"})
        time.sleep(0.1)
        plant({LIMITER: "0\n"})
    assert "gpu-throttle-alert (cooling_device1) (" in str(watch.hindered())
    assert "gaitperf-state" not in {thread.name for thread in threading.enumerate()}


def test_a_long_watch_says_when_the_device_was_held_back_and_by_what(
    plant: Planter, orin_nano: Tree
) -> None:
    ceiling = "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"
    events = "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"
    root = plant({**orin_nano, events: "3\n"})
    began_ns = time.monotonic_ns()
    with StateWatch(root=root, period_s=0.005, long=True) as watch:
        time.sleep(0.1)
        assert watch.held == []
        assert len(watch.take()) >= 2
        plant({ceiling: "1000000\n"})
        time.sleep(0.1)
        plant({events: "4\n"})
        time.sleep(0.1)
    said = [what for _, what in watch.held]
    assert said[0] == "the highest clock of cpu0 was lowered"
    assert sum("cpu1 core_throttle_count rose" in what for what in said) == 1
    assert began_ns < watch.held[0][0] < watch.held[-1][0]


def test_a_short_watch_leaves_counters_and_clocks_to_its_two_ends(
    plant: Planter, orin_nano: Tree
) -> None:
    with StateWatch(root=plant(orin_nano), period_s=0.005) as watch:
        time.sleep(0.05)
        plant({"sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1000000\n"})
        time.sleep(0.05)
    assert watch.held == []
