"""The quantities that are measured: name, unit, and which direction is bad."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ANCHOR_SESSIONS = 4
"""How many sessions at the beginning of a history are the level that was accepted: they stay."""

MAX_SESSIONS = 10
"""How many sessions of a cell a baseline keeps: the first, its anchor, and the newest."""


class Direction(Enum):
    """Which way a metric improves."""

    HIGHER_IS_BETTER = "higher is better"
    LOWER_IS_BETTER = "lower is better"


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity of a cell.

    ``unit`` is the unit of every stored and computed value. ``scale`` and ``display_unit`` say how
    a table shows it (value x scale, in display_unit). ``quantile`` is that of a percentile.
    """

    name: str
    unit: str
    direction: Direction
    title: str
    display_unit: str
    scale: float = 1.0
    quantile: float | None = None

    @property
    def worse_sign(self) -> int:
        """The sign of a change for the worse: +1 where lower is better, else -1."""
        return 1 if self.direction is Direction.LOWER_IS_BETTER else -1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval.

    ``low`` and ``high`` are None where too few data stand behind the value for an interval; such a
    value is shown, but never gated.
    """

    unit: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def relative_half_width(self) -> float | None:
        """Half the interval's width over the value (dimensionless), None without an interval."""
        if self.low is None or self.high is None or self.value == 0:
            return None
        return (self.high - self.low) / 2 / abs(self.value)


_UP, _DOWN = Direction.HIGHER_IS_BETTER, Direction.LOWER_IS_BETTER

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("throughput", "inf/s", _UP, "throughput", "inf/s"),
        Metric("latency_mean", "s", _DOWN, "mean", "ms", 1e3),
        Metric("latency_p50", "s", _DOWN, "p50", "ms", 1e3, 0.5),
        Metric("latency_p90", "s", _DOWN, "p90", "ms", 1e3, 0.9),
        Metric("latency_p95", "s", _DOWN, "p95", "ms", 1e3, 0.95),
        Metric("latency_p99", "s", _DOWN, "p99", "ms", 1e3, 0.99),
        Metric("latency_p999", "s", _DOWN, "p99.9", "ms", 1e3, 0.999),
        Metric("energy_per_inference", "J", _DOWN, "energy", "mJ", 1e3),
        Metric("gpu_energy_per_inference", "J", _DOWN, "GPU energy", "mJ", 1e3),
        Metric("power_mean", "W", _DOWN, "power", "W"),
        Metric("server_cpu_per_inference", "s", _DOWN, "server CPU", "ms", 1e3),
        Metric("subjects", "subjects", _UP, "subjects", "subjects"),
    )
}
"""Every metric by name; inf is an inference: one sample of a batch, so batch size / request."""

QUANTITIES: dict[str, tuple[str, ...]] = {
    "throughput": ("throughput",),
    "latency": ("latency_p50", "latency_p90", "latency_p95", "latency_p99"),
    "energy": ("energy_per_inference",),
    "cpu": ("server_cpu_per_inference",),
    "subjects": ("subjects",),
}
"""What each test of the suite gates: the metrics behind ``test_throughput``, ``test_latency``..."""

GATED = tuple(metric for metrics in QUANTITIES.values() for metric in metrics)
"""The metrics that are judged."""


def quantity_of(metric: str) -> str | None:
    """Return the quantity whose test looks at a metric, gated or not; None where none does."""
    if METRICS[metric].unit in ("J", "W"):
        return "energy"
    found = (name for name, metrics in QUANTITIES.items() if metric in metrics)
    return next(found, "latency" if metric.startswith("latency") else None)
