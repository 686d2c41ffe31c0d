"""A calibration that tests apply."""

from __future__ import annotations

from pytest_gaitperf.power.calibration import Calibration

BY_WALL = Calibration(
    gain=1.1,
    gain_error=0.01,
    offset_w=2.0,
    offset_error_w=0.1,
    unseen=0.24,
    board_w=10.0,
    reference_w=13.0,
    correlation=0.99,
    seconds=100.0,
    lag_s=0.0,
    meter="ina3221",
    rails=("VDD_IN",),
    sensor="shunts of 5000 uOhm",
    reference="wall",
)
