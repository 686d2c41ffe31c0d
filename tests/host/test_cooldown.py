from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.host.cooldown import wait_for_temperature
from pytest_gaitperf.host.watch import StateWatch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.conftest import Planter, Tree

ZONE = "sys/class/thermal/thermal_zone1/temp"
LIMITER = "sys/class/thermal/cooling_device1/cur_state"


def test_a_cool_device_is_not_waited_for(plant: Planter, orin_nano: Tree) -> None:
    cooldown = wait_for_temperature(50.0, 60.0, root=plant(orin_nano))
    assert (cooldown.reached, cooldown.hottest_c) == (True, 48.531)


def test_a_hot_device_is_waited_for(plant: Planter, orin_nano: Tree) -> None:
    root = plant({**orin_nano, ZONE: "71000\n"})
    seen: list[float] = []

    def cool(hottest_c: float) -> None:
        seen.append(hottest_c)
        if len(seen) == 2:
            plant({ZONE: "45000\n"})

    cooldown = wait_for_temperature(50.0, 60.0, root=root, look_s=0.01, progress=cool)
    assert cooldown.reached
    assert seen == [71.0, 71.0, 48.531]


def test_a_device_that_stays_hot_is_given_up(plant: Planter, orin_nano: Tree) -> None:
    cooldown = wait_for_temperature(40.0, 0.05, root=plant(orin_nano), look_s=0.01)
    assert not cooldown.reached
    assert cooldown.waited_s >= 0.05


def test_a_machine_without_thermometers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"thermal_zone\*/temp.*--gaitperf-cooldown"):
        wait_for_temperature(50.0, 1.0, root=tmp_path)


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
