"""A reference meter beside the board's own."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.power.calibration import FILE, read_calibration
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.reference import calibrate
from pytest_gaitperf.power.trace import About, Recording, Trace, save
from pytest_gaitperf.testing import ORIN_NANO, FakeBoard, Square
from tests.power.calibrations import BY_WALL

if TYPE_CHECKING:
    from pathlib import Path

Values = npt.NDArray[np.float64]
GAIN, OFFSET_W, LAG_S = 1.08, 1.5, 37.3


def recording(
    times_s: Values, watts: Values, label: str = "cell", kind: str = "power"
) -> Recording:
    times_ns = np.round(times_s * 1e9).astype(np.int64)
    about = About(
        meter="ina3221",
        description="a board",
        rails=("VDD_IN",),
        total_rails=("VDD_IN",),
        gpu_rails=(),
        kind=kind,  # type: ignore[arg-type]
        estimated=False,
        label=label,
    )
    trace = Trace(about.rails, times_ns, watts[:, None], about.kind)
    return Recording(trace, times_ns[[0, -1]], about)


def load_w(times_s: Values) -> Values:
    """Return the power of cells and pauses of changing lengths."""
    steps = np.random.default_rng(3).uniform(3.0, 11.0, 400)
    lengths = np.random.default_rng(4).uniform(0.7, 4.0, 400)
    found: Values = steps[np.searchsorted(np.cumsum(lengths), times_s)]
    return found


def board(start_s: float, end_s: float) -> Recording:
    times_s = np.arange(start_s, end_s, 0.00944)
    noise = np.random.default_rng(1).normal(0, 0.05, times_s.size)
    return recording(times_s + 1000, load_w(times_s) + noise)


def reference(every_s: float = 0.5, start_s: float = -20.0, end_s: float = 200.0) -> Recording:
    times_s = np.arange(start_s, end_s, every_s)
    fine = times_s[:, None] + np.linspace(-every_s / 2, every_s / 2, 20)
    watts = GAIN * load_w(np.maximum(fine, 0.0)).mean(axis=1) + OFFSET_W
    return recording(times_s + 1000 + LAG_S, watts, "wall")


def test_gain_offset_lag_and_what_the_board_does_not_show() -> None:
    found = calibrate([board(0, 60), board(75, 140)], reference())
    assert found.gain == pytest.approx(GAIN, abs=4 * found.gain_error)
    assert found.offset_w == pytest.approx(OFFSET_W, abs=4 * found.offset_error_w)
    assert found.gain_error < 0.02
    assert found.lag_s == pytest.approx(LAG_S, abs=0.1)
    assert found.unseen == pytest.approx(1 - found.board_w / found.reference_w)
    assert found.seconds == pytest.approx(125, abs=5)


def test_an_energy_counter_is_a_reference_too() -> None:
    times_s = np.arange(0.0, 100.0, 0.05)
    joules = np.cumsum(load_w(times_s)) * 0.05 * GAIN
    found = calibrate([board(5, 90)], recording(times_s + 1000, joules, "counter", "energy"))
    assert found.gain == pytest.approx(GAIN, abs=0.02)
    assert found.lag_s == pytest.approx(0.0, abs=0.1)


def test_a_calibrated_meter_is_not_calibrated_again() -> None:
    one = board(0, 60)
    again = replace(one, about=msgspec.structs.replace(one.about, calibration="calibrated by wall"))
    with pytest.raises(ConfigurationError, match="calibrated already"):
        calibrate([again], reference())
    with pytest.raises(ConfigurationError, match="several meters"):
        calibrate([one, again], reference())


def _wrong(case: str) -> tuple[list[Recording], Recording]:
    ours, theirs = [board(0, 60)], reference()
    if case == "of another time":
        theirs = recording(np.arange(0, 100.0, 0.5), load_w(np.arange(0, 100.0, 0.5) + 300), "wall")
    elif case == "a constant load":
        times_s = np.arange(0, 60, 0.01)
        ours = [recording(times_s, 5 + 0.01 * np.random.default_rng(2).normal(size=times_s.size))]
    elif case == "milliwatts":
        theirs = recording(theirs.trace.times_ns * 1e-9, theirs.trace.values[:, 0] * 1e3, "wall")
    elif case == "one step":
        here, there = np.arange(0, 60, 0.01), np.arange(0, 90, 0.5)
        ours = [recording(here, 5.0 + 4.0 * (here > 30))]
        theirs = recording(there, 5.0 + 4.0 * (there > 71), "wall")
    elif case == "too short":
        ours = [board(0, 5)]
    return ours, theirs


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("of another time", "does not follow the board's power"),
        ("a constant load", "does not follow the board's power"),
        ("milliwatts", "check the units"),
        ("one step", "that fits many a log"),
        ("too short", "too little to compare"),
    ],
)
def test_what_is_no_reference_is_refused(case: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        calibrate(*_wrong(case))


def test_a_calibration_is_written_read_and_not_made_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, wall = save(tmp_path, board(0, 90)), save(tmp_path, reference())
    command = ["power", "calibrate", str(ours), "--reference", str(wall)]
    assert main([*command, "--write", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "wall = 1.0" in said
    assert "unseen; " in said
    found = read_calibration(tmp_path)
    assert found is not None
    assert found.gain == pytest.approx(GAIN, rel=0.02)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ConfigurationError, match="is no power calibration"):
        read_calibration(tmp_path)
    assert read_calibration(tmp_path / "other") is None


def test_calibrated_joules_say_so(tmp_path: Path) -> None:
    with FakeBoard(tmp_path, ORIN_NANO) as fake:
        fake.drive({"VDD_IN": Square(2000, 2000)})
        meter = open_meter("auto", sysfs_root=tmp_path, calibration=BY_WALL).meter
        assert meter is not None
        with closing(meter):
            meter.start()
            start = time.monotonic_ns()
            time.sleep(0.6)
            end = time.monotonic_ns()
            energy = integrate(meter.trace(start, end), start, end)
            assert "CALIBRATED (calibrated by wall: x 1.1 +2 W; 24% unseen)" in meter.description
    assert energy.mean_power_w(["VDD_IN"]) == pytest.approx(13.0, rel=0.01)
    other = open_meter("auto", rails=("VDD_SOC",), sysfs_root=tmp_path, calibration=BY_WALL).meter
    assert other is not None
    with closing(other):
        assert "is not applied" in other.description
    shunt = next(tmp_path.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/*/shunt1_resistor"))
    shunt.write_text("10000\n")
    changed = open_meter("auto", sysfs_root=tmp_path, calibration=BY_WALL).meter
    assert changed is not None
    with closing(changed):
        assert "VDD_IN (shunts of 5000 uOhm) and is not applied" in changed.description
