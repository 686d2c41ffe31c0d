"""Fake readers of what no plain file can do: block until a conversion, or stay busy.

They run in the sampler's process.
"""

from __future__ import annotations

import time

from pytest_gaitperf.power.sysfs import FileReader, IntegerFile


class BlockingReader:
    """Gives 3, 1 and 1 W on three rails, the last digit wavering, after each conversion."""

    def __init__(self, conversion_s: float) -> None:
        self._conversion_s = conversion_s
        self._reads = 0

    def read(self) -> tuple[float, ...]:
        time.sleep(self._conversion_s)
        self._reads += 1
        return (3.0 + self._reads % 2 * 0.001, 1.0, 1.0)


class BlockingFiles(FileReader):
    """The files of a board, each of which waits for a conversion before it is read."""

    def __init__(
        self, channels: list[tuple[list[str], float]], total: list[int], conversion_s: float
    ) -> None:
        super().__init__(channels, total)
        self._conversion_s = conversion_s

    def factor(self, file: IntegerFile) -> int | None:
        time.sleep(self._conversion_s)
        return super().factor(file)


class BusyReader:
    """A suspended chip."""

    def read(self) -> None:
        return None
