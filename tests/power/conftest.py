"""Fake Jetson boards: files in the real sysfs layout, and a process that plays their driver."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    BoardMaker = Callable[[Mapping[str, Sequence[str]]], "FakeBoard"]

ORIN_NANO = {"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")}
AGX_ORIN = {
    "1-0040": ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    "1-0041": ("NC", "VDDQ_VDD2_1V8AO", "NC"),
}
READS_A_FAKE_TREE = """
from functools import partial
from pathlib import Path

from pytest_gaitperf.power import meter

meter.open_meter = partial(meter.open_meter, sysfs_root=Path({root!r}))
"""
"""A conftest.py: the runs beside it read the fake board at ``root``."""

DRIVER = Path(__file__).with_name("fake_driver.py")


@dataclass
class FakeBoard:
    """A fake sysfs tree; ``channels`` has the voltage and the current file of each rail."""

    root: Path
    channels: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    def set(self, rail: str, millivolts: int, milliamps: int) -> None:
        """Write a rail's registers."""
        for path, value in zip(self.channels[rail], (millivolts, milliamps), strict=True):
            self.put(path, f"{value}\n")

    def put(self, path: Path, text: str) -> None:
        """Replace a file at once: a reader sees the old text or the new, never half of one."""
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.rename(path)

    def drive(
        self,
        waves: Mapping[str, Mapping[str, float]],
        update_s: float = 0.005,
        waver_ma: int = 4,
    ) -> Served:
        """Let a fake driver process serve square waves: ``high_ma``, ``low_ma``, ``period_s``.

        ``waver_ma`` is added at random, up to so much.
        """
        log = self.root / "served.log"
        plan = {
            "update_s": update_s,
            "waver_ma": waver_ma,
            "log": str(log),
            "waves": [
                {"rail": rail, "current": str(self.channels[rail][1]), **wave}
                for rail, wave in waves.items()
            ],
        }
        process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, str(DRIVER), json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.drivers.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        return Served(log)

    def close(self) -> None:
        """End the fake drivers."""
        for process in self.drivers:
            process.communicate()
        self.drivers.clear()


@dataclass
class Served:
    """What a fake driver really put into the files, and when: the truth to compare with."""

    log: Path

    def joules(self, rail: str, millivolts: int, start_ns: int, end_ns: int) -> float:
        """Integrate the steps that were served in [start_ns, end_ns]."""
        while True:
            rows = [line.split() for line in self.log.read_text().splitlines()]
            steps = [(int(at), int(ma)) for name, at, ma in rows if name == rail]
            if steps and steps[-1][0] > end_ns:
                break
            time.sleep(0.01)
        assert steps[0][0] <= start_ns
        milliamp_ns = 0
        for (at, milliamps), (until, _) in pairwise(steps):
            overlap = min(until, end_ns) - max(at, start_ns)
            milliamp_ns += max(0, overlap) * milliamps
        return milliamp_ns * 1e-9 * millivolts * 1e-6


def make_hwmon_board(root: Path, chips: Mapping[str, Sequence[str]]) -> FakeBoard:
    """Make a fake board in the hwmon layout of JetPack 5 and newer: the labels of each chip."""
    board = FakeBoard(root)
    for index, (address, labels) in enumerate(chips.items()):
        device = root / f"sys/bus/i2c/drivers/ina3221/{address}/hwmon/hwmon{3 + index}"
        device.mkdir(parents=True)
        (device / "name").write_text("ina3221\n")
        (device / "update_interval").write_text("7\n")
        (device / "samples").write_text("1\n")
        for number, label in enumerate(labels, start=1):
            (device / f"in{number}_label").write_text(f"{label}\n")
            (device / f"in{number}_enable").write_text("1\n")
            (device / f"shunt{number}_resistor").write_text("5000\n")
            (device / f"in{number + 3}_input").write_text("2500\n")
            if label != "NC":
                board.channels[label] = (
                    device / f"in{number}_input",
                    device / f"curr{number}_input",
                )
                board.set(label, 5000, 600)
        (device / "in7_label").write_text("sum of shunt voltages\n")
        (device / "in7_input").write_text("7500\n")
        (device / "curr4_input").write_text("1500\n")
    return board


@pytest.fixture
def hwmon_board(tmp_path: Path) -> Iterator[BoardMaker]:
    """Make fake boards as ``make_hwmon_board`` does, and end their drivers."""
    boards = []

    def make(chips: Mapping[str, Sequence[str]]) -> FakeBoard:
        boards.append(make_hwmon_board(tmp_path, chips))
        return boards[-1]

    yield make
    for board in boards:
        board.close()


@pytest.fixture
def iio_board(tmp_path: Path) -> BoardMaker:
    """Make a fake board in the IIO layout of JetPack 4."""

    def make(chips: Mapping[str, Sequence[str]]) -> FakeBoard:
        board = FakeBoard(tmp_path)
        for index, (address, labels) in enumerate(chips.items()):
            device = tmp_path / f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{index}"
            device.mkdir(parents=True)
            for number, label in enumerate(labels):
                (device / f"rail_name_{number}").write_text(f"{label}\n")
                board.channels[label] = (
                    device / f"in_voltage{number}_input",
                    device / f"in_current{number}_input",
                )
                board.set(label, 5000, 600)
                (device / f"in_power{number}_input").write_text("3000\n")
        return board

    return make
