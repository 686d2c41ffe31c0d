from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.testing import ORIN_NANO

if TYPE_CHECKING:
    from pathlib import Path

    from tests.power.conftest import BoardMaker


@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file is about the choice: a GPU or a service of the machine shall not take part."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setitem(sys.modules, "jtop", None)


@pytest.mark.parametrize("choice", ["auto", "ina3221"])
def test_a_board_with_a_monitor(hwmon_board: BoardMaker, choice: str) -> None:
    found = open_meter(choice, sysfs_root=hwmon_board(ORIN_NANO).root)
    assert found.meter is not None
    with closing(found.meter) as meter:
        assert (meter.name, meter.total_rails, meter.estimated) == ("ina3221", ("VDD_IN",), False)
        assert "Orin Nano" in meter.description


def test_auto_without_a_sensor_says_what_was_tried(tmp_path: Path) -> None:
    found = open_meter("auto", sysfs_root=tmp_path)
    assert found.meter is None
    assert [reason.partition(":")[0] for reason in found.tried] == [
        "ina3221",
        "jtop",
        "nvml",
        "rapl",
    ]
    assert "no power monitor found" in found.tried[0]


def test_none_opens_nothing(hwmon_board: BoardMaker) -> None:
    found = open_meter("none", sysfs_root=hwmon_board(ORIN_NANO).root)
    assert (found.meter, found.tried) == (None, ("none: no meter was asked for",))


def test_a_named_meter_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="--power=ina3221: no power monitor found"):
        open_meter("ina3221", sysfs_root=tmp_path)


def test_an_unknown_meter_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"--power=wattmeter .* auto, none, ina3221, jtop, nvml"
    ):
        open_meter("wattmeter", sysfs_root=tmp_path)


def test_auto_reads_the_sensor_before_it_chooses_it(hwmon_board: BoardMaker) -> None:
    board = hwmon_board(ORIN_NANO)
    board.channels["VDD_IN"][1].write_text("broken\n")
    found = open_meter("auto", sysfs_root=board.root)
    assert found.meter is None
    assert "curr1_input holds b'broken" in found.tried[0]


def test_named_rails_are_not_forgotten_when_no_meter_is_found(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="--power-rails=VDD_IN was given, but no meter was found"):
        open_meter("auto", rails=("VDD_IN",), sysfs_root=tmp_path)


@pytest.mark.parametrize(
    ("target", "says"),
    [("outside:find", "--power=bench: the shunt is not connected"), ("gone:find", "reinstall")],
)
def test_a_meter_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    info = tmp_path / "bench_meter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-meter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pytest_gaitperf.meters]\nbench = {target}\n")
    (tmp_path / "outside.py").write_text(
        "from pytest_gaitperf.errors import MeterError\n"
        "def find(request):\n"
        "    raise MeterError('the shunt is not connected')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside", raising=False)
    with pytest.raises(MeterError, match=says):
        open_meter("bench", sysfs_root=tmp_path)
    assert "bench: " in open_meter("auto", sysfs_root=tmp_path).tried[-1]
