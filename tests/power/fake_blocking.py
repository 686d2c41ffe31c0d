"""Fake readers of what no plain file can do: block until a conversion, or stay busy.

They run in the sampler's process.
"""

from __future__ import annotations

import time


class BlockingReader:
    """Gives 3 W on each of three rails, the last digit wavering, after each conversion."""

    def __init__(self, conversion_s: float) -> None:
        self._conversion_s = conversion_s
        self._reads = 0

    def read(self) -> tuple[float, ...]:
        time.sleep(self._conversion_s)
        self._reads += 1
        return (3.0 + self._reads % 2 * 0.001,) * 3


class BusyReader:
    """A suspended chip."""

    def read(self) -> None:
        return None
