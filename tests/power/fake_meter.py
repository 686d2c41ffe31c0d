"""A meter that no load of the test machine can starve."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.trace import Trace


@dataclass
class FakeMeter:
    """A meter of constant power, a quarter of it on the rail GPU.

    Its method ``fail_at`` raises MeterError; ``calls`` are what was asked of it.
    """

    watts: float = 10.0
    minimum_window_s: float = 0.05
    estimated: bool = False
    fail_at: str = ""
    calls: list[str] = field(default_factory=list)

    name = "fake"
    description = "a fake meter of constant power"
    rails = ("IN", "GPU")
    total_rails = ("IN",)
    gpu_rails = ("GPU",)
    update_period_s = 0.005

    def start(self) -> None:
        self._called("start")

    def stop(self) -> None:
        self._called("stop")

    def close(self) -> None:
        self._called("close")

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give 200 readings a second around the span, 100 at least."""
        self._called("trace")
        count = max(100, (end_ns - start_ns) // 5_000_000)
        times = np.linspace(start_ns - 10**6, end_ns + 10**6, count).astype(np.int64)
        values = np.tile([self.watts, self.watts / 4], (count, 1))
        return Trace(self.rails, times, values, "power")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.fail_at == name:
            raise MeterError(f"the fake sensor fails at {name}")
