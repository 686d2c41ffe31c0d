"""How right the joules are: our sampler against a fixed-step thread, on waveforms that are known.

    .venv/bin/python benchmarks/energy_accuracy.py [--quick] [--json FILE] [--check]

Another process serves a fake INA3221 in the real sysfs layout, while this process spins in Python
as a busy load generator does. In the same window two meters read the same rail:

- ours: the sampler's process, integrated by ``pytest_gaitperf.power.energy``;
- the fixed-step thread: a thread of this process that sleeps 2 ms, reads, and adds 2 ms x mA x mV
  whatever time really passed. It is written here from the description of the system that this one
  replaces, to have its method beside ours; it is not that system's code.

Truth is the integral of the true current that was served, before noise and rounding. A plain file
can neither block nor take a bus's time: ``energy_driver.SlowReader`` waits in its place, in the
sampler's process, and the same waits are in the thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.energy_driver import wait_s  # noqa: E402 - of this checkout
from pytest_gaitperf.errors import MeterError  # noqa: E402
from pytest_gaitperf.power import ina3221  # noqa: E402
from pytest_gaitperf.power.energy import error_budget, integrate  # noqa: E402
from pytest_gaitperf.power.sampled import SampledMeter  # noqa: E402
from pytest_gaitperf.power.sensor import Request  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.power.sensor import Sensor

MILLIVOLTS = 5000
WAVES = ("constant", "square 50 Hz", "step", "sawtooth")
GOAL, GOAL_COARSE = 0.005, 0.02
GOAL_CPU = 0.02
STEP_S = 0.002
ATTEMPTS = 5


@dataclass(frozen=True)
class Driver:
    """A way to be read: time per register, blocking or not, and the current's rounding.

    AGX Orin rounds its GPU rail to 394 mW; at 5 V that is 78.8 mA. The rail carries more, too.
    """

    name: str
    register_s: float = 0.0
    blocks: bool = False
    quantum_ma: float = 8.0
    low_ma: float = 600.0
    high_ma: float = 2600.0

    @property
    def goal(self) -> float:
        """The largest relative error allowed."""
        return GOAL if self.quantum_ma < 10 else GOAL_COARSE


DRIVERS = (
    Driver("plain files"),
    Driver("0.55 ms a register", 0.00055),
    Driver("1 ms a register", 0.001),
    Driver("blocking", 0.00055, blocks=True),
    Driver("AGX rounding", 0.00055, quantum_ma=78.8, low_ma=1500.0, high_ma=4100.0),
)
QUICK = (("sawtooth", 0), ("square 50 Hz", 1), ("step", 3), ("constant", 4))


@dataclass(frozen=True)
class Result:
    """One waveform on one driver: joules and relative errors of both methods.

    ``expected`` is the standard error that the meter itself states for the window.
    """

    wave: str
    driver: str
    window_s: float
    truth_j: float
    ours_j: float
    ours_error: float
    expected: float
    thread_j: float
    thread_error: float
    goal: float
    readings: int
    sampler_cpu: float

    @property
    def met(self) -> bool:
        """Whether our error is within the goal."""
        return abs(self.ours_error) <= self.goal


class FixedStepThread(threading.Thread):
    """Adds 2 ms x mA x mV at each pass, in this process."""

    def __init__(self, voltage: Path, current: Path, driver: Driver) -> None:
        super().__init__(daemon=True)
        self.joules = 0.0
        self.ended = False
        self._files, self._driver = (voltage, current), driver

    def run(self) -> None:
        """Add until told to end."""
        while not self.ended:
            time.sleep(STEP_S)
            product = 1
            for file in self._files:
                wait_s(self._driver.register_s, self._driver.blocks)
                product *= int(file.read_text())
            self.joules += STEP_S * product * 1e-6


def plant(root: Path) -> Path:
    """Make the tree of a fake Orin Nano; give its hwmon directory."""
    device = root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    device.mkdir(parents=True)
    for number, rail in enumerate(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), start=1):
        (device / f"in{number}_label").write_text(f"{rail}\n")
        (device / f"in{number}_input").write_text(f"{MILLIVOLTS}\n")
        (device / f"curr{number}_input").write_text(f"{600 if number == 1 else 200:7d}\n")
    return device


@contextmanager
def served(
    device: Path, wave: str, driver: Driver, window_s: float, orders: Path | None = None
) -> Iterator[Path]:
    """Let another process serve a waveform on VDD_IN; gives the log of the true current.

    ``orders`` holds a byte that it obeys meanwhile.
    """
    log = device / "served.log"
    plan = {
        "wave": wave,
        "currents": [str(device / f"curr{number}_input") for number in (1, 2, 3)],
        "log": str(log),
        "low_ma": driver.low_ma,
        "high_ma": driver.high_ma,
        "quantum_ma": driver.quantum_ma,
        # The sampler needs a good second to start; the step shall fall into the window.
        "step_at_s": 1.5 + window_s / 2,
        **({"orders": str(orders)} if orders is not None else {}),
    }
    process = subprocess.Popen(
        [sys.executable, str(HERE / "energy_driver.py"), json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        yield log
    finally:
        process.communicate()


def true_joules(log: Path, start_ns: int, end_ns: int) -> float:
    """Integrate the true current that was served over the window."""
    while True:
        rows = [line.split() for line in log.read_text().splitlines()]
        steps = [(int(row[0]), float(row[1])) for row in rows if len(row) == 2]
        if steps[-1][0] > end_ns:
            break
        time.sleep(0.01)
    milliamp_ns = sum(
        max(0, min(until, end_ns) - max(at, start_ns)) * milliamps
        for (at, milliamps), (until, _) in pairwise(steps)
    )
    return milliamp_ns * 1e-9 * MILLIVOLTS * 1e-6


def sensor_of(root: Path, driver: Driver) -> Sensor:
    sensor = ina3221.find(Request(sysfs_root=root))
    if not driver.register_s:
        return sensor
    return replace(
        sensor,
        reader="benchmarks.energy_driver:SlowReader",
        arguments={
            **sensor.arguments,
            "register_s": driver.register_s,
            "blocks": driver.blocks,
        },
    )


def spin(until_ns: int) -> int:
    """Keep the interpreter busy, as a load generator does; gives the turns."""
    turns = 0
    while time.monotonic_ns() < until_ns:
        turns += 1
    return turns


def measure(wave: str, driver: Driver, window_s: float) -> Result:
    """Measure one waveform through one driver with both methods at once."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        device = plant(root)
        with (
            served(device, wave, driver, window_s) as log,
            closing(SampledMeter(sensor_of(root, driver))) as meter,
        ):
            meter.start()
            time.sleep(0.2)
            thread = FixedStepThread(device / "in1_input", device / "curr1_input", driver)
            cpu_s = cpu_of(meter.sampler_pid)
            start_ns = time.monotonic_ns()
            thread.start()
            spin(start_ns + round(window_s * 1e9))
            end_ns = time.monotonic_ns()
            thread_j, thread.ended = thread.joules, True
            cpu_s = cpu_of(meter.sampler_pid) - cpu_s
            thread.join()
            trace = meter.trace(start_ns, end_ns)
            energy = integrate(trace, start_ns, end_ns)
            budget = error_budget(trace, ["VDD_IN"], start_ns, end_ns, meter.update_period_s)
            truth_j = true_joules(log, start_ns, end_ns)
    assert budget is not None
    ours_j = energy.joules["VDD_IN"]
    return Result(
        wave=wave,
        driver=driver.name,
        window_s=energy.duration_s,
        truth_j=truth_j,
        ours_j=ours_j,
        ours_error=ours_j / truth_j - 1,
        expected=budget.relative,
        thread_j=thread_j,
        thread_error=thread_j / truth_j - 1,
        goal=driver.goal,
        readings=energy.samples,
        sampler_cpu=cpu_s / energy.duration_s,
    )


def measure_again(wave: str, driver: Driver, window_s: float) -> tuple[Result, list[str]]:
    """Measure until the meter does not refuse the window, with what it said of those refused.

    On a busy machine the sampler itself may not get a core for a while: then there is no figure.
    """
    refused: list[str] = []
    while True:
        try:
            return measure(wave, driver, window_s), refused
        except MeterError as error:
            refused.append(str(error))
            if len(refused) == ATTEMPTS:
                raise


def cpu_of(pid: int) -> float:
    """CPU seconds of another process, by its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def cost_to_a_busy_client(pairs: int, turn_s: float) -> list[float]:
    """Give a spinning loop's turns with the meter on over those with it off, in ABBA order."""
    ratios = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        device = plant(root)
        with (
            served(device, "constant", DRIVERS[0], 1.0),
            closing(SampledMeter(sensor_of(root, DRIVERS[0]))) as meter,
        ):
            for pair in range(pairs):
                turns = {}
                for sampling in (True, False) if pair % 2 else (False, True):
                    if sampling:
                        meter.start()
                    turns[sampling] = spin(time.monotonic_ns() + round(turn_s * 1e9))
                    meter.stop()
                ratios.append(turns[True] / turns[False])
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="four of the twenty cells, 2 s each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--window", type=float, metavar="S", help="seconds per cell (default: 5)")
    options = parser.parse_args()
    # The sampler imports the fake driver by its name.
    os.environ["PYTHONPATH"] = str(HERE.parent)
    window_s = options.window or (2.0 if options.quick else 5.0)
    plan = (
        [(wave, DRIVERS[number]) for wave, number in QUICK]
        if options.quick
        else [(wave, driver) for driver in DRIVERS for wave in WAVES]
    )
    pairs, turn_s = (6, 0.3) if options.quick else (20, 0.5)
    estimate_s = len(plan) * (window_s + 1.5) + pairs * 2 * turn_s + 2
    print(
        f"{len(plan)} cells of {window_s:g} s, a Python loop spinning in this process; then "
        f"{pairs} pairs with the meter on and off. About {estimate_s:.0f} s."
    )
    print(
        f"\n{'waveform':<14}{'driver':<20}{'truth J':>9}{'ours J':>9}{'error':>9}"
        f"{'stated':>8}{'goal':>7}{'thread J':>10}{'error':>9}{'Hz':>6}{'sampler':>9}"
    )
    results: list[Result] = []
    refusals: list[str] = []
    for wave, driver in plan:
        result, refused = measure_again(wave, driver, window_s)
        results.append(result)
        refusals += refused
        for reason in refused:
            print(f"{wave:<14}{driver.name:<20}refused, measured again: {reason}")
        print(
            f"{result.wave:<14}{result.driver:<20}{result.truth_j:9.3f}{result.ours_j:9.3f}"
            f"{result.ours_error:+9.2%}{result.expected:8.2%}{result.goal:7.1%}{result.thread_j:10.3f}"
            f"{result.thread_error:+9.1%}{result.readings / result.window_s:6.0f}"
            f"{result.sampler_cpu:9.2%}{'' if result.met else '  MISSED'}",
            flush=True,
        )
    ratios = cost_to_a_busy_client(pairs, turn_s)
    change = statistics.median(ratios) - 1
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5
    cpu = max(result.sampler_cpu for result in results if result.driver == DRIVERS[0].name)
    slowed = change < -3 * spread and change < -0.01
    print(f"\nsampler on plain files: {cpu:.2%} of a core at most, goal {GOAL_CPU:.0%}")
    print(
        f"a busy client with the meter on: {change:+.2%} (median of {pairs} pairs, standard error "
        f"{spread:.2%}){': SLOWED' if slowed else ', no loss beyond noise'}"
    )
    met = sum(result.met for result in results)
    failed = met < len(results) or cpu > GOAL_CPU or slowed
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "results": [asdict(result) for result in results],
                    "sampler_cpu": cpu,
                    "refused": refusals,
                    "client_change": change,
                    "client_standard_error": spread,
                    "met": not failed,
                },
                indent=2,
            )
            + "\n"
        )
    worst = max(results, key=lambda result: abs(result.ours_error) / result.goal)
    errors = [abs(result.thread_error) for result in results]
    print(
        f"\n{met} of {len(results)} cells within their goal; worst {worst.ours_error:+.2%} "
        f"({worst.wave}, {worst.driver}), where the fixed-step thread is off by "
        f"{min(errors):.0%} to {max(errors):.0%}; {len(refusals)} windows refused; sampler "
        f"{cpu:.2%} of a core"
    )
    return 1 if options.check and failed else 0


if __name__ == "__main__":
    sys.exit(main())
