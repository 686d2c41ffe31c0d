"""What the guest does: the product's meter on the kernel's own ina3221 driver.

``python -m tests.power.kernel.guest MODULES`` (as root, in the guest) loads the driver for one
board after another, lets ``chip.py`` set the registers of the emulated chips, and prints a JSON
object for each case with what the meter said of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.power import ina3221
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request
from tests.power.kernel import chip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORIN_NANO = "VDD_IN,VDD_CPU_GPU_CV,VDD_SOC"
AGX_ORIN = "VDD_GPU_SOC,VDD_CPU_CV,VIN_SYS_5V0,NC,VDDQ_VDD2_1V8AO,NC"
WINDOW_S, ATTEMPTS = 3.0, 4
NOT_SCHEDULED = "no reading came"
_DRIVER = Path("/sys/bus/i2c/drivers/ina3221")


class Chips:
    """The emulated chips, while they convert."""

    def __init__(self, count: int = 1) -> None:
        self._log = Path(tempfile.mkdtemp()) / "served"
        self._process = subprocess.Popen(
            [sys.executable, "-S", chip.__file__, str(self._log), str(count)],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        while not self._log.exists() or self._log.stat().st_size == 0:
            time.sleep(0.02)

    def convert(self, wave: str) -> None:
        """Convert another waveform from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{wave}\n")
        time.sleep(0.1)

    def joules(self, start_ns: int, end_ns: int) -> float:
        """Return the true energy of the first channel."""
        rows = [line.split() for line in self._log.read_text().splitlines()]
        steps = [(int(at), float(milliamps)) for at, milliamps in rows]
        milliamp_ns = sum(
            max(0, min(until, end_ns) - max(at, start_ns)) * milliamps
            for (at, milliamps), (until, _) in pairwise(steps)
        )
        return milliamp_ns * 1e-9 * chip.MILLIVOLTS * 1e-6

    def close(self) -> None:
        """Keep the last values from now on."""
        self._process.communicate()


def found(*rails: str) -> dict[str, Any]:
    """Say what the backend finds."""
    try:
        sensor = ina3221.find(Request(rails))
    except GaitperfError as error:
        return {"refused": str(error)}
    return {
        "rails": sensor.rails,
        "total": sensor.total_rails,
        "gpu": sensor.gpu_rails,
        "notes": sensor.notes,
        "calibration": sensor.calibration,
    }


def measured(
    meter: SampledMeter, chips: Chips, meanwhile: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Measure a window, in whose middle something happens; again where the guest was too slow."""
    metering = Metering(meter)
    for _ in range(ATTEMPTS):
        metering.start()
        start_ns = time.monotonic_ns()
        time.sleep(WINDOW_S / 2)
        meanwhile()
        time.sleep(WINDOW_S / 2)
        end_ns = time.monotonic_ns()
        read = metering.read("cell", np.array([start_ns, end_ns]))
        metering.stop()
        if NOT_SCHEDULED not in read.absent:
            break
    if read.trace is None or read.budget is None:
        return {"refused": read.absent}
    energy, truth_j = integrate(read.trace, start_ns, end_ns), chips.joules(start_ns, end_ns)
    return {
        "note": read.note,
        "rails": read.trace.rails,
        "joules": energy.joules,
        "error": energy.joules[meter.rails[0]] / truth_j - 1,
        "stated": read.budget.relative,
        "readings": energy.samples,
    }


@contextmanager
def board(modules: Path, labels: str) -> Iterator[None]:
    """Load a board whose channels have these labels."""
    _module("insmod", str(modules / "board.ko"), f"labels={labels}")
    yield
    _module("rmmod", "board")


def _module(*command: str) -> None:
    subprocess.run(["/usr/bin/busybox", *command], check=True)


def _write(name: str, text: str) -> None:
    next(_DRIVER.glob(f"*-0040/hwmon/hwmon*/{name}")).write_text(text)


def _unbind() -> None:
    _DRIVER.joinpath("unbind").write_text(next(_DRIVER.glob("*-0040")).name)


def orin_nano() -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through the cases of an Orin Nano."""
    with closing(Chips()) as chips:
        yield "Orin Nano", found()
        yield "chosen", found("VDD_CPU_GPU_CV")
        meter = open_meter("auto").meter
        assert isinstance(meter, SampledMeter)
        with closing(meter):
            yield "opened", {"name": meter.name, "description": meter.description}
            for wave in ("constant", "sawtooth", "step", "square 50 Hz"):
                chips.convert(wave)
                yield wave, measured(meter, chips)
            chips.convert("constant")
            yield (
                "part disabled meanwhile",
                measured(meter, chips, lambda: _write("in3_enable", "0")),
            )
            yield "part disabled", found()
            _write("in3_enable", "1")
            _write("shunt1_resistor", "100000")
            yield "other shunt", found()
            yield "input below its parts", measured(meter, chips)
            _write("shunt1_resistor", "5000")
            _write("in1_enable", "0")
            yield "input disabled", found()
            _write("in1_enable", "1")
            yield "unbound meanwhile", measured(meter, chips, _unbind)
    yield "unbound", found()


def agx_orin() -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through the cases of an AGX Orin, whose rails are on two chips."""
    with closing(Chips(2)) as chips, closing(SampledMeter(ina3221.find(Request()))) as meter:
        yield "AGX Orin", found()
        yield "two chips", measured(meter, chips)
        chips.close()
        yield "frozen", measured(meter, chips)


def run(modules: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through all cases."""
    with board(modules, ORIN_NANO):
        yield from orin_nano()
    with board(modules, AGX_ORIN):
        yield from agx_orin()
    with board(modules, "VDD_IN,VDD_SOC,NC,VDD_IN,NC,NC"):
        yield "one label twice", found()


def main() -> None:
    modules = Path(sys.argv[1])
    _module("insmod", str(modules / "i2c-stub.ko"), "chip_addr=0x40,0x41")
    _module("insmod", str(modules / "ina3221.ko"))
    for name, case in run(modules):
        sys.stdout.write(json.dumps({"case": name, **case}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
