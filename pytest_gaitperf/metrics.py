"""The quantities that are measured: name, unit, and which direction is bad."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    ``column`` is the name of its column, the title unless it is given, ``heading`` what stands
    above it, the name unless it is given; ``narrow``: it keeps no room for a change. What must be
    heard is ``must_hear`` times what must be in general, what does not matter ``tolerance`` times
    what does not. Sessions may always differ by ``floor`` times what is usual.
    """

    name: str
    unit: str
    direction: Direction
    title: str
    display_unit: str
    scale: float = 1.0
    quantile: float | None = None
    column: str = ""
    heading: str = ""
    narrow: bool = False
    must_hear: float = 1.0
    tolerance: float = 1.0
    floor: float = 1.0

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

_MIB = 2.0**-20

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("throughput", "inf/s", _UP, "throughput", "inf/s", heading="inf/s"),
        Metric("latency_mean", "s", _DOWN, "mean", "ms", 1e3),
        Metric("latency_p50", "s", _DOWN, "p50", "ms", 1e3, 0.5),
        # Tails rest on few requests.
        Metric("latency_p90", "s", _DOWN, "p90", "ms", 1e3, 0.9, must_hear=2.0),
        Metric("latency_p95", "s", _DOWN, "p95", "ms", 1e3, 0.95, must_hear=2.0),
        Metric("latency_p99", "s", _DOWN, "p99", "ms", 1e3, 0.99, must_hear=4.0),
        Metric("latency_p999", "s", _DOWN, "p99.9", "ms", 1e3, 0.999),
        Metric("energy_per_inference", "J", _DOWN, "energy", "mJ", 1e3),
        Metric(
            *("gpu_energy_per_inference", "J", _DOWN, "GPU energy", "mJ", 1e3),
            column="gpu",
            heading="GPU",
        ),
        Metric("power_mean", "W", _DOWN, "power", "W", column="watts", heading="power"),
        Metric(
            *("server_cpu_per_inference", "s", _DOWN, "server CPU", "ms", 1e3),
            column="cpu",
            heading="CPU",
            narrow=True,
        ),
        # Of these each life has one value.
        Metric(
            *("server_memory_loaded", "B", _DOWN, "loaded memory", "MiB", _MIB),
            column="loaded",
            narrow=True,
            must_hear=2.0,
            floor=0.3,  # lives of a model differ by up to 0.1 %
        ),
        Metric(
            *("server_memory_peak", "B", _DOWN, "peak memory", "MiB", _MIB),
            column="peak",
            narrow=True,
            must_hear=4.0,
            floor=5.0,  # arenas grow by doubling: equal sessions had 544, 612, 797 and 810 MiB
        ),
        Metric(
            *("gpu_memory_peak", "B", _DOWN, "GPU memory", "MiB", _MIB),
            column="gpu_peak",
            must_hear=4.0,
            floor=5.0,
        ),
        Metric(
            *("model_file_size", "B", _DOWN, "file size", "MiB", _MIB),
            column="size",
            floor=0.01,  # counted, not measured
        ),
        Metric("model_load_time", "s", _DOWN, "load time", "ms", 1e3, column="load", must_hear=4.0),
        Metric(
            *("first_inference_latency", "s", _DOWN, "first inference", "ms", 1e3),
            column="first_inference",
            heading="first",
            must_hear=8.0,
        ),
        # Answers differ between builds and kinds of CPU, but hardly between sessions.
        Metric(
            *("output_error", "ratio", _DOWN, "output error", "%", 100),
            column="error",
            narrow=True,
            must_hear=2.0,
            tolerance=5.0,
            floor=0.1,
        ),
        # Of several outputs, where the worst does not hide the others.
        Metric(
            *("output_error_typical", "ratio", _DOWN, "typical output error", "%", 100),
            column="typical",
            narrow=True,
            must_hear=2.0,
            tolerance=5.0,
            floor=0.1,
        ),
        Metric(
            *("label_accuracy", "ratio", _UP, "label accuracy", "%", 100),
            column="accuracy",
            narrow=True,
            must_hear=0.2,
            tolerance=0.2,
            floor=0.02,
        ),
        Metric("first_answer_p50", "s", _DOWN, "first answer p50", "ms", 1e3, 0.5, column="first"),
        Metric(
            *("first_answer_p90", "s", _DOWN, "first answer p90", "ms", 1e3, 0.9),
            column="first_p90",
            heading="first p90",
        ),
        Metric(
            *("first_answer_p95", "s", _DOWN, "first answer p95", "ms", 1e3, 0.95),
            column="first_p95",
            heading="first p95",
        ),
        Metric(
            *("first_answer_p99", "s", _DOWN, "first answer p99", "ms", 1e3, 0.99),
            column="first_p99",
            heading="first p99",
        ),
        Metric("answer_rate", "answers/s", _UP, "answers", "answers/s"),
        # Mean latency beside the neighbours over that alone, in the same lives.
        Metric("slowdown", "ratio", _DOWN, "slowdown", "x", heading="slowdown"),
        Metric("goodput", "inf/s", _UP, "goodput", "inf/s"),
        Metric(
            *("goodput_per_joule", "inf/J", _UP, "goodput per joule", "inf/J"),
            column="goodput_j",
            heading="goodput",
        ),
        Metric("subjects", "subjects", _UP, "subjects", "subjects"),
        Metric("best_rate", "inf/s", _UP, "best rate", "inf/s", column="best"),
        # Of a sustained load: of its last fifth, which the first minute is compared with.
        Metric(
            *("sustained_throughput", "inf/s", _UP, "sustained throughput", "inf/s"),
            column="sustained",
            heading="at end",
            must_hear=2.0,  # a session has one life of it
        ),
        Metric(
            *("sustained_ratio", "ratio", _UP, "sustained ratio", "%", 100),
            column="ratio",
            heading="of first",
            floor=0.3,  # both ends are of one life
        ),
        Metric(
            *("sustained_latency_p99", "s", _DOWN, "sustained p99", "ms", 1e3, 0.99),
            column="sustained_p99",
            heading="p99 then",
            must_hear=4.0,
        ),
    )
}
"""Every metric by name; inf is an inference: one sample of a batch, so batch size / request."""

Kind = Literal[
    "load", "stream", "deadline", "beside", "sustained", "subjects", "best_rate", "model"
]
"""What a cell can be: a load that is given, one of streams, one with a deadline, one beside
neighbours, one that is kept up; a search for subjects or for a rate; a model by itself."""


class Quantity(NamedTuple):
    """What one test of the suite gates: its ``metrics``, of the ``kinds`` of cells that have them.

    ``cost``: it is what an inference costs, so that all of these of a cell may be looked at
    together.
    """

    metrics: tuple[str, ...]
    kinds: tuple[Kind, ...]
    cost: bool = True


PEAKS = ("server_memory_peak", "gpu_memory_peak")
"""What a model comes to under its loads: of other loads it is another quantity."""

_FIRST_ANSWERS = tuple(name for name in METRICS if name.startswith("first_answer"))

_QUANTITIES: dict[str, Quantity] = {
    "throughput": Quantity(("throughput",), ("load",)),
    "latency": Quantity(("latency_p50", "latency_p90", "latency_p95", "latency_p99"), ("load",)),
    "energy": Quantity(("energy_per_inference",), ("load", "subjects", "best_rate")),
    "cpu": Quantity(("server_cpu_per_inference",), ("load",)),
    "memory": Quantity(
        (*PEAKS, "server_memory_loaded", "model_file_size"),
        ("model",),
        cost=False,
    ),
    "cold_start": Quantity(("model_load_time", "first_inference_latency"), ("model",), cost=False),
    "accuracy": Quantity(
        ("output_error", "output_error_typical", "label_accuracy"), ("model",), cost=False
    ),
    "first_answer": Quantity(_FIRST_ANSWERS, ("stream",)),
    "answers": Quantity(("answer_rate",), ("stream",)),
    "goodput": Quantity(("goodput", "goodput_per_joule"), ("deadline",)),
    "neighbours": Quantity(("slowdown",), ("beside",), cost=False),
    "subjects": Quantity(("subjects",), ("subjects",)),
    "best_rate": Quantity(("best_rate",), ("best_rate",)),
    "sustained": Quantity(
        ("sustained_throughput", "sustained_ratio", "sustained_latency_p99"),
        ("sustained",),
        cost=False,
    ),
}

QUANTITIES = {name: quantity.metrics for name, quantity in _QUANTITIES.items()}
"""What each test of the suite gates: the metrics behind ``test_throughput``, ``test_latency``..."""

COSTS = frozenset(one.metrics[0] for one in _QUANTITIES.values() if one.cost)
"""The first metric of each quantity that is a cost of an inference."""


def quantities_of(kinds: Iterable[Kind]) -> tuple[str, ...]:
    """Return the quantities that a cell of these kinds has."""
    kinds = set(kinds)
    return tuple(name for name, one in _QUANTITIES.items() if kinds.intersection(one.kinds))


GATED = tuple(metric for metrics in QUANTITIES.values() for metric in metrics)
"""The metrics that are judged."""


TOGETHER = "together"
"""What stands for a metric where all quantities of a cell are looked at together."""


def title_of(metric: str) -> str:
    """Return what a reader calls a metric, or all of them together."""
    return METRICS[metric].title if metric != TOGETHER else "cost over all quantities"


def worse_sign(metric: str) -> int:
    """Return the sign of a change for the worse; all quantities together are a cost."""
    return METRICS[metric].worse_sign if metric != TOGETHER else 1


def of_energy(metric: str) -> bool:
    """Return whether a metric needs a power meter."""
    return METRICS[metric].unit in ("J", "W", "inf/J")


def quantity_of(metric: str) -> str | None:
    """Return the quantity whose test looks at a metric, gated or not; None where none does."""
    found = (name for name, metrics in QUANTITIES.items() if metric in metrics)
    other = "energy" if of_energy(metric) else None
    return next(found, "latency" if metric.startswith("latency") else other)
