from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.state import read_state, throttled
from pytest_gaitperf.host.utilisation import Gauges

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.conftest import Planter, Tree

MONITOR = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"


def test_an_orin_nano_at_rest(plant: Planter, orin_nano: Tree) -> None:
    state = read_state(root=plant(orin_nano))
    assert state.temperatures_c == {"cpu-thermal": 48.531, "gpu-thermal": 47.25}
    assert set(state.governors.values()) == {"schedutil"}
    assert state.limits == {
        "gpu-throttle-alert (cooling_device1)": 0,
        "the alarm ina3221 1-0040 VDD_IN crit_alarm": 0,
        "the alarm ina3221 1-0040 VDD_IN max_alarm": 0,
    }
    assert list(state.counters.values()) == [4]
    assert state.load_average == (0.52, 0.58, 0.59)
    assert (state.power_mode, state.pinned_clocks) == ("15W", False)
    assert throttled(state, state) is None


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            "sys/class/thermal/cooling_device1/cur_state",
            "1\n",
            "gpu-throttle-alert (cooling_device1) was slowing",
        ),
        (
            f"{MONITOR}/curr1_crit_alarm",
            "1\n",
            "alarm ina3221 1-0040 VDD_IN crit_alarm was slowing",
        ),
        ("sys/class/hwmon/hwmon2/oc3_event_cnt", "6\n", "oc3_event_cnt rose from 4 to 6"),
        ("var/lib/nvpmodel/status", "pmode:0001\n", "power mode changed from 15W to 7W"),
    ],
)
def test_what_throttles_is_named(
    plant: Planter, orin_nano: Tree, file: str, content: str, says: str
) -> None:
    before = read_state(root=plant(orin_nano))
    after = read_state(root=plant({file: content}))
    assert says in str(throttled(before, after))


def test_a_limit_that_was_lifted_meanwhile_still_counts(plant: Planter, orin_nano: Tree) -> None:
    file = "sys/class/thermal/cooling_device1/cur_state"
    before = read_state(root=plant({**orin_nano, file: "2\n"}))
    after = read_state(root=plant({file: "0\n"}))
    assert throttled(before, after) == (
        "gpu-throttle-alert (cooling_device1) was slowing the device before the measurement "
        "(level 2)"
    )


@pytest.mark.parametrize(
    ("kind", "slows"),
    [
        ("cpu-throttle-alert", True),
        *((f"{kind}-balanced", True) for kind in ("cpu", "gpu", "emergency")),
        ("devfreq-17000000.gpu", True),
        ("cpufreq-cpu0", True),
        ("Processor", True),
        ("intel_powerclamp", True),
        ("nobody-knows", True),
        *((f"{kind}-cap", True) for kind in ("CORE", "DFLL", "GPU")),
        *((f"{kind}-floor", False) for kind in ("CORE", "DFLL")),
        ("gpu_scaling", False),
        ("pwm-fan", False),
        ("Fan", False),
        ("hot-surface-alert", False),
        ("iwlwifi_1", False),
        ("TCC Offset", False),
        ("LCD", False),
    ],
)
def test_every_cooling_device_slows_the_machine_but_those_known_not_to(
    plant: Planter, kind: str, slows: bool
) -> None:
    device = "sys/class/thermal/cooling_device4"
    state = read_state(root=plant({f"{device}/type": f"{kind}\n", f"{device}/cur_state": "1\n"}))
    assert (throttled(state, state) is not None) == slows


def test_a_fan_and_a_warm_chip_throttle_nothing(plant: Planter, orin_nano: Tree) -> None:
    before = read_state(root=plant(orin_nano))
    hot = {
        "sys/class/thermal/cooling_device0/cur_state": "3\n",
        "sys/class/thermal/thermal_zone0/temp": "71000\n",
    }
    assert throttled(before, read_state(root=plant(hot))) is None


def test_jetson_clocks_switched_meanwhile(plant: Planter, orin_nano: Tree) -> None:
    state = read_state(root=plant(orin_nano))
    assert "jetson_clocks" in str(throttled(state, replace(state, pinned_clocks=True)))


def test_an_x86_server_counts_thermal_events(plant: Planter, gpu_server: Tree) -> None:
    before = read_state(root=plant(gpu_server))
    assert throttled(before, before) is None
    file = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    after = read_state(root=plant({file: "8\n"}))
    assert throttled(before, after) == "cpu0 package_throttle_count rose from 7 to 8"


def test_two_zones_of_one_type_and_one_that_fails(plant: Planter) -> None:
    zones = "sys/class/thermal/thermal_zone"
    tree = {f"{zones}{n}/type": "acpitz\n" for n in (2, 10, 11)}
    tree |= {f"{zones}2/temp": "30000\n", f"{zones}10/temp": "40000\n", f"{zones}11/temp": "\n"}
    assert read_state(root=plant(tree)).temperatures_c == {
        "acpitz": 30.0,
        "acpitz (thermal_zone10)": 40.0,
    }


def test_the_zone_that_always_says_100_c_is_no_temperature(plant: Planter, orin_nano: Tree) -> None:
    zone = "sys/class/thermal/thermal_zone4"
    root = plant({**orin_nano, f"{zone}/type": "PMIC-Die\n", f"{zone}/temp": "100000\n"})
    assert read_state(root=root).hottest_c == 48.531
    gauges = Gauges(root)
    seen = gauges.look(0).gauges
    gauges.close()
    assert [name for what, name in seen if what == "temperatures_c"] == [
        "cpu-thermal",
        "gpu-thermal",
    ]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    state = read_state(root=tmp_path)
    assert (state.temperatures_c, state.load_average, state.power_mode) == ({}, None, None)
    assert throttled(state, state) is None


def test_this_machine() -> None:
    state = read_state()
    assert state.load_average is not None


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "cpu0 changed from 729.6-1510.4"),
        ("sys/class/devfreq/17000000.gpu/max_freq", "17000000.gpu changed from 306-918 to 306-612"),
    ],
)
def test_a_clocks_policy_that_changed_meanwhile(
    plant: Planter, orin_nano: Tree, file: str, says: str
) -> None:
    gpu = "sys/class/devfreq/17000000.gpu"
    tree = {**orin_nano, f"{gpu}/min_freq": "306000000\n", f"{gpu}/max_freq": "918000000\n"}
    before = read_state(root=plant(tree))
    assert before.clock_limits_hz["17000000.gpu"] == (306e6, 918e6)
    lowered = "612000000\n" if "devfreq" in file else "1000000\n"
    assert says in str(throttled(before, read_state(root=plant({file: lowered}))))
