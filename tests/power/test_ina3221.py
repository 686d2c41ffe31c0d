from __future__ import annotations

import errno
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power import ina3221
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError
from pytest_gaitperf.power.sysfs import FileReader
from pytest_gaitperf.testing import AGX_ORIN, ORIN_NANO, Square

if TYPE_CHECKING:
    from pytest_gaitperf.testing import FakeBoard
    from tests.power.conftest import BoardMaker

NX = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
HWMON = {
    "Orin Nano": ({"1-0040": NX}, ("VDD_IN",), ("VDD_CPU_GPU_CV",)),
    "AGX Orin": (AGX_ORIN, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("VDD_GPU_SOC",)),
}
IIO = {
    "Nano": (
        {"6-0040": ("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU")},
        ("POM_5V_IN",),
        ("POM_5V_GPU",),
    ),
    "Xavier NX": ({"7-0040": NX}, ("VDD_IN",), ("VDD_CPU_GPU_CV",)),
    "AGX Xavier": (
        {"1-0040": ("GPU", "CPU", "SOC"), "1-0041": ("CV", "VDDRQ", "SYS5V")},
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        ("GPU",),
    ),
}


def find(board: FakeBoard, *rails: str) -> Sensor:
    return ina3221.find(Request(rails, board.root))


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Files that a fake driver answers with ENODATA, as that of a switched-off channel does."""
    files: set[Path] = set()
    real = os.open

    def fake_open(path: str, flags: int) -> int:
        if Path(path) in files:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return real(path, flags)

    monkeypatch.setattr("pytest_gaitperf.power.sysfs.os.open", fake_open)
    return files


@pytest.mark.parametrize("module", HWMON)
def test_the_rule_of_each_module_in_the_hwmon_layout(hwmon_board: BoardMaker, module: str) -> None:
    chips, total, gpu = HWMON[module]
    sensor = find(hwmon_board(chips))
    assert module in sensor.description
    assert (sensor.total_rails, sensor.gpu_rails) == (total, gpu)
    assert sensor.rails == tuple(
        label for labels in chips.values() for label in labels if label != "NC"
    )


@pytest.mark.parametrize("module", IIO)
def test_the_rule_of_each_module_in_the_iio_layout(iio_board: BoardMaker, module: str) -> None:
    chips, total, gpu = IIO[module]
    sensor = find(iio_board(chips))
    assert (sensor.total_rails, sensor.gpu_rails) == (total, gpu)
    assert set(sensor.rails) == {label for labels in chips.values() for label in labels}
    with closing(SampledMeter(sensor)) as meter:
        assert meter.rails == sensor.rails


def test_thor_s_total_is_the_ina238_in_microwatts(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"2-0040": ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")})
    device = board.root / "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon6"
    device.mkdir(parents=True)
    (device / "power1_input").write_text("41500000\n")
    sensor = find(board)
    assert (sensor.total_rails, sensor.gpu_rails) == (("VIN",), ("VDD_GPU",))
    watts = FileReader(**sensor.arguments).read()  # type: ignore[arg-type]
    assert watts is not None
    assert dict(zip(sensor.rails, watts, strict=True))["VIN"] == pytest.approx(41.5)


def test_vddq_is_read_but_stays_apart(hwmon_board: BoardMaker) -> None:
    sensor = find(hwmon_board(AGX_ORIN))
    assert "VDDQ_VDD2_1V8AO" in sensor.rails
    assert "VDDQ_VDD2_1V8AO" not in sensor.total_rails


def test_a_board_without_monitors_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(SensorAbsentError, match=r"no power monitor found at .*/ina3221\*/"):
        ina3221.find(Request(sysfs_root=tmp_path))


def test_unknown_labels_are_listed_and_the_user_is_asked(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": ("VDD_MAIN", "VDD_AUX_GPU", "VDD_SOC")})
    with pytest.raises(
        MeterError, match=r"VDD_MAIN, VDD_AUX_GPU, VDD_SOC; say which .*power-rails"
    ):
        find(board)
    sensor = find(board, "VDD_MAIN")
    assert (sensor.total_rails, sensor.gpu_rails) == (("VDD_MAIN",), ("VDD_AUX_GPU",))


def test_chosen_rails_replace_the_rule_and_all_are_still_read(hwmon_board: BoardMaker) -> None:
    sensor = find(hwmon_board(AGX_ORIN), "VDD_GPU_SOC", "VDDQ_VDD2_1V8AO")
    assert sensor.total_rails == ("VDD_GPU_SOC", "VDDQ_VDD2_1V8AO")
    assert len(sensor.rails) == 4


@pytest.mark.parametrize(
    ("rails", "says"),
    [
        (("VDD_GPU",), "names VDD_GPU, which .*; it has VDD_IN, VDD_CPU_GPU_CV, VDD_SOC"),
        (("VDD_SOC", "VDD_SOC"), "a rail twice"),
        (("VDD_IN", "VDD_SOC"), "counts energy twice: VDD_IN is the module's input"),
    ],
)
def test_a_wrong_choice_of_rails(
    hwmon_board: BoardMaker, rails: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        find(hwmon_board({"1-0040": NX}), *rails)


def test_a_disabled_part_is_left_out(hwmon_board: BoardMaker, disabled: set[Path]) -> None:
    board = hwmon_board({"1-0040": NX})
    disabled.update(board.channels["VDD_SOC"])
    sensor = find(board)
    assert sensor.rails == ("VDD_IN", "VDD_CPU_GPU_CV")
    assert sensor.notes == ("rail VDD_SOC is disabled",)


def test_a_disabled_total_is_never_replaced_by_its_parts(
    hwmon_board: BoardMaker, disabled: set[Path]
) -> None:
    board = hwmon_board({"1-0040": NX})
    disabled.update(board.channels["VDD_IN"])
    with pytest.raises(MeterError, match=r"VDD_IN, a part of the total .* is disabled; write 1"):
        find(board)
    assert find(board, "VDD_SOC").total_rails == ("VDD_SOC",)


def test_a_board_with_every_channel_disabled(hwmon_board: BoardMaker, disabled: set[Path]) -> None:
    board = hwmon_board({"1-0040": NX})
    for files in board.channels.values():
        disabled.update(files)
    with pytest.raises(MeterError, match="the channel is disabled; write 1 to its in"):
        find(board)


def test_rails_of_one_name_are_told_apart_by_their_chips(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": NX, "1-0041": ("VDD_SOC", "NC", "NC")})
    sensor = find(board)
    assert sensor.total_rails == ("VDD_IN",)
    assert sensor.rails[2:] == ("VDD_SOC@1-0040:3", "VDD_SOC@1-0041:1")
    assert find(board, "VDD_SOC@1-0041:1").total_rails == ("VDD_SOC@1-0041:1",)


def test_two_inputs_of_one_name_are_for_the_user_to_choose_from(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": NX, "1-0041": ("VDD_IN", "NC", "NC")})
    with pytest.raises(
        MeterError, match=r"VDD_IN.* there 2 times \(VDD_IN@1-0040:1, VDD_IN@1-0041"
    ):
        find(board)
    assert find(board, "VDD_IN@1-0040:1").total_rails == ("VDD_IN@1-0040:1",)
    with pytest.raises(ConfigurationError, match="counts energy twice"):
        find(board, "VDD_IN@1-0040:1", "VDD_CPU_GPU_CV")


def test_a_channel_outside_the_total_that_cannot_be_read_is_a_note(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": NX})
    board.channels["VDD_SOC"][1].write_text("garbage\n")
    sensor = find(board)
    assert (sensor.rails, sensor.parts) == (("VDD_IN", "VDD_CPU_GPU_CV"), ("VDD_CPU_GPU_CV",))
    assert "rail VDD_SOC is left out: " in sensor.notes[0]
    assert find(board, "VDD_CPU_GPU_CV").total_rails == ("VDD_CPU_GPU_CV",)
    with pytest.raises(MeterError, match=r"VDD_SOC, a part of the total .* cannot be read"):
        find(board, "VDD_SOC")


def test_the_shunts_of_the_total_are_what_its_figures_rest_on(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": NX})
    assert find(board).calibration == "shunts of 5000 uOhm"
    device = board.channels["VDD_IN"][0].parent
    (device / "shunt1_resistor").write_text("2000\n")
    assert find(board).calibration == "shunts of 2000 uOhm"
    assert find(board, "VDD_CPU_GPU_CV", "VDD_SOC").calibration == "shunts of 5000 + 5000 uOhm"
    (device / "shunt1_resistor").unlink()
    assert find(board).calibration == ""


def test_a_tx2_is_no_orin_nano(iio_board: BoardMaker) -> None:
    sensor = find(
        iio_board(
            {
                "0-0040": ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"),
                "0-0041": ("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"),
                "0-0042": ("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS"),
            }
        )
    )
    assert "Jetson TX2" in sensor.description
    assert (sensor.total_rails, sensor.gpu_rails) == (("VDD_IN",), ("VDD_SYS_GPU",))


def test_an_input_below_its_parts_gives_no_joules(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": NX})
    board.drive(
        {
            "VDD_IN": Square(400, 410, 0.02),
            "VDD_CPU_GPU_CV": Square(800, 810, 0.02),
            "VDD_SOC": Square(200, 210, 0.02),
        }
    )
    with closing(SampledMeter(find(board))) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.5)
        with pytest.raises(
            MeterError, match=r"VDD_CPU_GPU_CV \+ VDD_SOC took 5\.\d+ W, more than the 2\.\d+ W"
        ):
            meter.trace(start, time.monotonic_ns())


def test_a_chip_without_labels_is_not_called_absent(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": ("NC", "NC", "NC")})
    with pytest.raises(MeterError, match=r"ina3221/1-0040 has no labelled rail") as error:
        find(board)
    assert not isinstance(error.value, SensorAbsentError)


def test_a_rail_beside_the_total_that_vanishes_costs_that_rail_alone(
    hwmon_board: BoardMaker,
) -> None:
    board = hwmon_board(ORIN_NANO)
    board.drive({"VDD_IN": Square(2000, 2000), "VDD_CPU_GPU_CV": Square(300, 300)})
    with closing(SampledMeter(find(board))) as meter:
        metering = Metering(meter)
        metering.start()
        start = time.monotonic_ns()
        time.sleep(0.3)
        for path in board.channels["VDD_CPU_GPU_CV"]:
            path.unlink()
        time.sleep(0.4)
        reading = metering.read("cell", np.array([start, time.monotonic_ns()]))
        metering.stop()
    assert reading.trace is not None, reading.absent
    assert reading.trace.rails == ("VDD_IN", "VDD_SOC")
    assert reading.gpu_rails == (), "no joules of the GPU from half of them"
    assert reading.note.startswith("VDD_CPU_GPU_CV, beside the total, could not be read")
