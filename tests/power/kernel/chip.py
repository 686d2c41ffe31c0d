"""An emulated INA3221 in the guest: writes into its registers what its converter would have found.

Run as a program it converts a waveform until stdin ends; a line on stdin names another waveform.
Standard library only: the guest is slow.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import sys
import time
from pathlib import Path

ADDRESS, SHUNT_UOHM, MILLIVOLTS, UPDATE_S = 0x40, 5000, 5000, 0.007
LOW_MA, HIGH_MA = 1000.0, 3000.0
_I2C_SLAVE_FORCE, _I2C_SMBUS, _WORD_DATA = 0x0706, 0x0720, 3


class _Transfer(ctypes.Structure):
    _fields_ = (
        ("write", ctypes.c_uint8),
        ("register", ctypes.c_uint8),
        ("size", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
    )


class Chip:
    """An emulated INA3221: writes what its converter would have found."""

    def __init__(self, address: int) -> None:
        adapter = next(
            path
            for path in sorted(Path("/sys/class/i2c-dev").glob("i2c-*"))
            if path.joinpath("name").read_text().startswith("SMBus stub")
        )
        self._bus = os.open(f"/dev/{adapter.name}", os.O_RDWR)
        fcntl.ioctl(self._bus, _I2C_SLAVE_FORCE, address)

    def set(self, channel: int, milliamps: float, millivolts: float | None = None) -> None:
        """Set a channel's current, and its voltage where one is given."""
        self._write(1 + 2 * channel, round(milliamps * SHUNT_UOHM / 1e3 / 40) << 3)
        if millivolts is not None:
            self._write(2 + 2 * channel, round(millivolts / 8) << 3)

    def _write(self, register: int, value: int) -> None:
        word = ctypes.c_uint16(int.from_bytes(value.to_bytes(2, "big", signed=True), "little"))
        pointer = ctypes.cast(ctypes.byref(word), ctypes.c_void_p)
        fcntl.ioctl(self._bus, _I2C_SMBUS, _Transfer(0, register, _WORD_DATA, pointer))


def current_ma(wave: str, at_s: float) -> float:
    """Return the true current of a waveform at a time after its beginning."""
    if wave == "square 50 Hz":
        return HIGH_MA if at_s * 50 % 1 < 0.5 else LOW_MA
    if wave == "sawtooth":
        return LOW_MA + (HIGH_MA - LOW_MA) * (at_s * 0.7 % 1)
    if wave == "step":
        return HIGH_MA if at_s % 4 >= 2 else LOW_MA
    return (LOW_MA + HIGH_MA) / 2


def serve(log: Path, chips: int) -> None:
    """Convert the waveform on the first channel, and little on the others."""
    os.nice(-10)
    noise = random.Random(1)  # noqa: S311 - no secret
    boards = [Chip(ADDRESS + number) for number in range(chips)]
    began, count, wave = time.monotonic(), 0, "constant"
    with log.open("w", buffering=1) as file:
        while True:
            true_ma = current_ma(wave, time.monotonic() - began)
            for number, chip in enumerate(boards):
                for channel in range(3):
                    level = true_ma if (number, channel) == (0, 0) else 300.0
                    chip.set(channel, level + noise.gauss(0, 12), MILLIVOLTS)
            file.write(f"{time.monotonic_ns()} {true_ma}\n")
            count += 1
            ahead_s = began + count * UPDATE_S - time.monotonic()
            if select.select([sys.stdin], [], [], max(0.0, ahead_s))[0]:
                wave = sys.stdin.readline().strip()
                if not wave:
                    return


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
