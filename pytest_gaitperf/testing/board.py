"""A fake Jetson power monitor: the INA3221's files, and a process that plays its driver.

Stdlib only, and runnable by its path: that is how the driver's process starts.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORIN_NANO = {"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")}
AGX_ORIN = {
    "1-0040": ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    "1-0041": ("NC", "VDDQ_VDD2_1V8AO", "NC"),
}
"""The rails of each chip, by its I2C address, as the modules' device trees label them."""


class Square(NamedTuple):
    """A square wave of current; equal levels are a constant current."""

    low_ma: int
    high_ma: int
    period_s: float = 1.0


class FakeBoard(AbstractContextManager["FakeBoard"]):
    """A board whose sensor files lie under ``root``; give that to a backend as its sysfs root.

    ``chips`` has the rails of each chip by I2C address. ``layout`` is "hwmon" (JetPack 5 and
    newer) or "iio" (JetPack 4). Every rail begins at 5000 mV and
    600 mA, the parts of an input (VDD_IN, POM_5V_IN) at 200 mA. ``channels`` has the
    voltage file and the current file of each rail, for tests that damage them.
    """

    def __init__(
        self,
        root: Path,
        chips: Mapping[str, Sequence[str]],
        layout: Literal["hwmon", "iio"] = "hwmon",
    ) -> None:
        self.root = root
        self.channels: dict[str, tuple[Path, Path]] = {}
        self._drivers: list[subprocess.Popen[str]] = []
        self._log = root / "served.log"
        for index, (address, labels) in enumerate(chips.items()):
            (self._make_hwmon if layout == "hwmon" else self._make_iio)(index, address, labels)

    def set(self, rail: str, millivolts: int, milliamps: int) -> None:
        """Write a rail's voltage and current."""
        for path, value in zip(self.channels[rail], (millivolts, milliamps), strict=True):
            self.put(path, f"{value}\n")

    def put(self, path: Path, text: str) -> None:
        """Replace a file at once: a reader sees the old text or the new, never half of one."""
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.rename(path)

    def drive(
        self, waves: Mapping[str, Square], update_s: float = 0.005, noise_ma: int = 4
    ) -> None:
        """Let a process serve the currents of some rails, a new value every ``update_s``.

        Up to ``noise_ma`` is added at random: a real converter's values waver, and a meter takes
        one that does not for stuck.
        """
        plan = {
            "update_s": update_s,
            "noise_ma": noise_ma,
            "log": str(self._log),
            "waves": [[rail, str(self.channels[rail][1]), *waves[rail]] for rail in waves],
        }
        process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._drivers.append(process)
        if process.stdout is None or process.stdout.readline() != "serving\n":
            raise RuntimeError("the fake driver did not start")

    def joules(self, rail: str, start_ns: int, end_ns: int) -> float:
        """Integrate what the driver served of a rail from one time to another (monotonic, ns).

        The truth to compare a meter with; it waits until the driver is past the end.
        """
        steps = [(0, 0)]
        while steps[-1][0] <= end_ns:
            time.sleep(0.01)
            rows = [line.split() for line in self._log.read_text().splitlines()]
            steps = [(0, 0), *((int(at), int(ma)) for name, at, ma in rows if name == rail)]
        milliamp_ns = 0
        for (at, milliamps), (until, _) in pairwise(steps):
            milliamp_ns += max(0, min(until, end_ns) - max(at, start_ns)) * milliamps
        return milliamp_ns * 1e-9 * int(self.channels[rail][0].read_text()) * 1e-6

    def close(self) -> None:
        """End the drivers; the files keep their last values."""
        for process in self._drivers:
            process.communicate()
        self._drivers.clear()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_hwmon(self, index: int, address: str, labels: Sequence[str]) -> None:
        device = self.root / f"sys/bus/i2c/drivers/ina3221/{address}/hwmon/hwmon{3 + index}"
        device.mkdir(parents=True)
        files = {"name": "ina3221", "update_interval": "7", "samples": "1"}
        files |= {"in7_label": "sum of shunt voltages", "in7_input": "7500", "curr4_input": "1500"}
        for number, label in enumerate(labels, start=1):
            files |= {f"in{number}_label": label, f"in{number}_enable": "1"}
            files |= {f"shunt{number}_resistor": "5000", f"in{number + 3}_input": "2500"}
        for name, text in files.items():
            (device / name).write_text(f"{text}\n")
        for number, label in enumerate(labels, start=1):
            if label != "NC":
                self._add(label, device / f"in{number}_input", device / f"curr{number}_input")

    def _make_iio(self, index: int, address: str, labels: Sequence[str]) -> None:
        device = self.root / f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{index}"
        device.mkdir(parents=True)
        for number, label in enumerate(labels):
            (device / f"rail_name_{number}").write_text(f"{label}\n")
            (device / f"in_power{number}_input").write_text("3000\n")
            voltage, current = (device / f"in_{q}{number}_input" for q in ("voltage", "current"))
            self._add(label, voltage, current)

    def _add(self, rail: str, voltage: Path, current: Path) -> None:
        self.channels[rail] = (voltage, current)
        inside = not rail.endswith("_IN") and any(one.endswith("_IN") for one in self.channels)
        self.set(rail, 5000, 200 if inside else 600)


def _serve(plan: dict[str, Any]) -> None:
    """Write the waves into their files until stdin ends."""
    begin = time.monotonic_ns()
    waves = [
        (rail, os.open(path, os.O_WRONLY | os.O_TRUNC), Square(*wave))
        for rail, path, *wave in plan["waves"]
    ]
    noise = random.Random(1)  # noqa: S311 - no secret
    step = 0
    with Path(plan["log"]).open("w", buffering=1, encoding="ascii") as log:
        while True:
            now_s = (time.monotonic_ns() - begin) * 1e-9
            for rail, file, wave in waves:
                high = now_s % wave.period_s < wave.period_s / 2
                milliamps = int(wave.high_ma if high else wave.low_ma)
                milliamps += noise.randint(0, plan["noise_ma"])
                # In place: a driver's file keeps its identity and is never empty.
                os.ftruncate(file, os.pwrite(file, b"%d\n" % milliamps, 0))
                log.write(f"{rail} {time.monotonic_ns()} {milliamps}\n")
            if step == 0:
                sys.stdout.write("serving\n")
                sys.stdout.flush()
            step += 1
            wait_s = step * plan["update_s"] - (time.monotonic_ns() - begin) * 1e-9
            if select.select([sys.stdin], [], [], max(0.0, wait_s))[0]:
                return


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
