from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power import ina3221
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError
from pytest_gaitperf.power.sysfs import FileReader
from pytest_gaitperf.testing import AGX_ORIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    with pytest.raises(MeterError, match=r"VDD_IN, a part of the total .* is disabled"):
        find(board)
    assert find(board, "VDD_SOC").total_rails == ("VDD_SOC",)


def test_a_board_with_every_channel_disabled(hwmon_board: BoardMaker, disabled: set[Path]) -> None:
    board = hwmon_board({"1-0040": NX})
    for files in board.channels.values():
        disabled.update(files)
    with pytest.raises(MeterError, match="every channel of the power monitor is disabled"):
        find(board)


@pytest.mark.parametrize(
    "chips", [{"1-0040": NX, "1-0041": ("VDD_IN", "NC", "NC")}], ids=["two-inputs"]
)
def test_two_rails_of_one_name_are_refused(
    hwmon_board: BoardMaker, chips: Mapping[str, Sequence[str]]
) -> None:
    with pytest.raises(MeterError, match="same rail label"):
        find(hwmon_board(chips))


def test_a_chip_without_labels_is_not_called_absent(hwmon_board: BoardMaker) -> None:
    board = hwmon_board({"1-0040": ("NC", "NC", "NC")})
    with pytest.raises(MeterError, match=r"ina3221/1-0040 has no labelled rail") as error:
        find(board)
    assert not isinstance(error.value, SensorAbsentError)
