from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import Idle, above_idle_j, drift, measure_idle, unmoved
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.testing import Square

if TYPE_CHECKING:
    from tests.power.conftest import BoardMaker

TOTAL = ("VDD_IN",)
GPU = ("VDD_CPU_GPU_CV",)


def trace_of(*watts: float) -> Trace:
    times = np.arange(len(watts), dtype=np.int64) * 10**9
    return Trace(TOTAL, times, np.array(watts)[:, None], "power")


def idle_of(watts: float) -> Idle:
    return Idle({"VDD_IN": watts, "VDD_CPU_GPU_CV": watts / 4}, 3.0, trace_of(watts))


def test_idle_power_is_measured_through_the_meter(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")})
    board.drive({"VDD_IN": Square(800, 800)})
    meter = open_meter("ina3221", sysfs_root=board.root).meter
    assert meter is not None
    with closing(meter):
        idle = measure_idle(meter, 0.1)
    assert idle.duration_s >= meter.minimum_window_s
    # 0.8 A at 5 V, and up to 4 mA of noise in the last digit.
    assert idle.total_w(TOTAL) == pytest.approx(4.01, rel=0.003)
    assert idle.watts["VDD_SOC"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("after_w", "flagged"), [(4.0, False), (4.2, False), (3.8, False), (4.21, True), (3.79, True)]
)
def test_a_drift_over_a_twentieth_is_flagged(after_w: float, flagged: bool) -> None:
    said = drift([idle_of(4.0), idle_of(after_w)], TOTAL)
    assert (said is not None) == flagged
    if after_w == 4.21:
        assert "drifted by +5.2% (4.00 W before, 4.21 W after)" in str(said)


def test_a_session_that_something_else_disturbed_is_found_between_quiet_ones() -> None:
    said = drift([idle_of(watts) for watts in (4.0, 4.1, 8.0, 4.1)], TOTAL)
    assert "drifted by +100.0% (4.00 W before, 8.00 W before session 3)" in str(said)


def test_energy_above_idle_is_that_of_the_total_and_may_be_below_zero() -> None:
    joules = {"VDD_IN": 100.0, "VDD_CPU_GPU_CV": 30.0}
    above = above_idle_j(joules, 10.0, 200, TOTAL, [idle_of(3.0), idle_of(5.0)])
    assert above == pytest.approx((100.0 - 4.0 * 10.0) / 200)
    assert above_idle_j({"VDD_IN": 10.0}, 10.0, 10, TOTAL, [idle_of(2.0)]) == pytest.approx(-1.0)


def test_a_sensor_that_a_load_does_not_move() -> None:
    assert "VDD_IN gave the same values idle and under load" in str(
        unmoved(trace_of(4.0, 4.04, 4.0), trace_of(4.04, 4.0, 4.04), TOTAL)
    )
    assert unmoved(trace_of(4.0, 4.04), trace_of(4.04, 6.0), TOTAL) is None
