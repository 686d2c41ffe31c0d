"""The fake sensor of ``energy_accuracy.py``: who serves the files, and who is slow to read them.

Run as a program it plays the chip: every conversion it writes the waveform's current into the files
of a real hwmon layout, and logs when it did and what the true current was. ``SlowReader`` plays the
driver and the bus, which plain files cannot: it takes its time for each register, or blocks until a
fresh conversion. Stdlib only: the reader runs in the sampler's process.
"""

from __future__ import annotations

import json
import math
import os
import random
import select
import sys
import time
from pathlib import Path

from pytest_gaitperf.power.sysfs import FileReader, IntegerFile

CONVERSION_S = 0.0066
NOISE_MA = 6.0
LOW, FROZEN = 1, 2
"""Bits of the byte in the plan's ``orders``: the load rests, the registers keep their values."""


def current_ma(wave: str, at_s: float, low: float, high: float, step_at_s: float) -> float:
    """Give the true current of a waveform at a time after its beginning."""
    if wave == "constant":
        return (low + high) / 2
    if wave == "square 50 Hz":
        return high if at_s * 50 % 1 < 0.5 else low
    if wave == "step":
        return high if at_s >= step_at_s else low
    return low + (high - low) * (at_s * 0.7 % 1)


class SlowReader(FileReader):
    """A fake driver in front of the files: ``register_s`` for each, then fresh if it ``blocks``."""

    def __init__(
        self,
        channels: list[tuple[list[str], float]],
        total: list[int],
        register_s: float,
        blocks: bool,
    ) -> None:
        super().__init__(channels, total)
        self._register_s, self._blocks = register_s, blocks

    def factor(self, file: IntegerFile) -> int | None:
        """Wait as the driver would, then read."""
        wait_s(self._register_s, self._blocks)
        return file.read()


def wait_s(register_s: float, blocks: bool) -> None:
    """Wait as a read of one register does: in the kernel, without the processor."""
    if blocks:
        time.sleep(CONVERSION_S - time.monotonic() % CONVERSION_S)
    if register_s:
        time.sleep(register_s)


def main() -> None:
    """Serve until stdin ends."""
    plan = json.loads(sys.argv[1])
    if os.geteuid() == 0:
        os.nice(-10)  # the chip is no process that waits for a core
    current, *others = (os.open(path, os.O_WRONLY) for path in plan["currents"])
    dither = random.Random(1)  # noqa: S311 - noise
    orders = os.open(plan["orders"], os.O_RDONLY) if "orders" in plan else None
    began_ns = time.monotonic_ns()
    count = 0
    with Path(plan["log"]).open("w", buffering=1, encoding="ascii") as log:
        while True:
            now_ns = time.monotonic_ns()
            true_ma = current_ma(
                plan["wave"],
                (now_ns - began_ns) * 1e-9,
                plan["low_ma"],
                plan["high_ma"],
                plan["step_at_s"],
            )
            order = os.pread(orders, 1, 0)[0] if orders is not None else 0
            true_ma = plan["low_ma"] if order & LOW else true_ma
            served = true_ma + dither.gauss(0.0, NOISE_MA)
            served = math.floor(served / plan["quantum_ma"] + 0.5) * plan["quantum_ma"]
            # In place and of one width: a driver's file keeps its identity and is never empty.
            # The chip's other channels waver as real ones do; they are not measured here.
            values = [served, *(200 + dither.gauss(0.0, NOISE_MA) for _ in others)]
            for file, value in zip((current, *others), values, strict=True):
                if not order & FROZEN:
                    os.pwrite(file, b"%7d\n" % round(value), 0)
            log.write(f"{time.monotonic_ns()} {true_ma}\n")
            if count == 0:
                sys.stdout.write("serving\n")
                sys.stdout.flush()
            count += 1
            ahead_s = count * CONVERSION_S - (time.monotonic_ns() - began_ns) * 1e-9
            if select.select([sys.stdin], [], [], max(0.0, ahead_s))[0]:
                return


if __name__ == "__main__":
    main()
