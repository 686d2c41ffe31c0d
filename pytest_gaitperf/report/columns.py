"""The columns of the table of cells: their short names, and what each shows of a cell."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Verdict

ALL = "all"
CHANGE = "change"
"""The largest change for the worse among what was judged of a cell, with its metric's name."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``title`` and ``unit`` are its header.

    ``metric`` is what it shows, and what the change beside the value is of; "" where ``value``
    reads something else from a measurement, in the unit that is shown (None where absent).
    """

    name: str
    title: str
    unit: str
    metric: str = ""
    value: Callable[[Measurement], float | None] = lambda _measurement: None


def _of(metric: str, name: str = "", title: str = "") -> Column:
    """Return the column of a metric."""
    known = METRICS[metric]
    return Column(name or known.title, title or name or known.title, known.display_unit, metric)


def _precision(measurement: Measurement) -> float | None:
    """Return the relative half-width of the throughput's interval, in percent."""
    estimate = measurement.metrics.get("throughput")
    half = None if estimate is None else estimate.relative_half_width
    return None if half is None else half * 100


def _split(name: str, title: str, *parts: str) -> Column:
    """Return the column of some parts of a request's time, in ms."""

    def value(measurement: Measurement) -> float | None:
        split = measurement.time_split_s
        found = [split[part] * 1e3 for part in parts if part in split]
        return math.fsum(found) if found else None

    return Column(name, title, "ms", value=value)


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("throughput", "inf/s", "", "throughput"),
        _of("latency_mean"),
        _of("latency_p50"),
        _of("latency_p90"),
        _of("latency_p95"),
        _of("latency_p99"),
        _of("latency_p999"),
        _of("energy_per_inference"),
        _of("gpu_energy_per_inference", "gpu", "GPU"),
        _of("power_mean", "watts", "power"),
        _of("server_cpu_per_inference", "cpu", "CPU"),
        Column("subjects", "subjects", "", "subjects"),
        Column("precision", "+-", "%", value=_precision),
        _split("queue", "queue", "queue"),
        _split("compute", "compute", "compute_input", "compute_infer", "compute_output"),
        _split("network", "network", "network"),
        Column("client", "client", "ms", value=lambda seen: seen.client_cpu_per_request_us / 1e3),
        Column("requests", "requests", "", value=lambda seen: float(seen.requests)),
        Column("seconds", "time", "s", value=lambda seen: seen.duration_s),
        Column(CHANGE, "change", ""),
    )
}
"""Every column by the name that ``--gaitperf-columns`` takes, in the order of ``all``."""

_BY_METRIC = {column.metric: column.name for column in COLUMNS.values() if column.metric}

USUAL = ("throughput", "p50", "p99", "energy", "cpu")
USUAL_OF_SEARCHES = ("subjects", "energy", "p50", "p99")
"""What is shown of cells and of searches, where it was measured, while nobody names columns."""


def parse(given: object) -> tuple[str, ...]:
    """Read ``p90,energy``, or a list: the names of columns, each once; ``all`` stands for each.

    A metric's full name stands for its column. Raises argparse's error for an unknown name.
    """
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of columns")
    names: dict[str, None] = {}
    for part in parts:
        name = part.strip()
        name = _BY_METRIC.get(name, name)
        if name == ALL:
            names |= dict.fromkeys(COLUMNS)
        elif name in COLUMNS:
            names[name] = None
        else:
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r} is no column; the columns are {', '.join(COLUMNS)}, and {ALL}"
            )
    return tuple(names)


def worst(verdicts: Mapping[str, Verdict]) -> Verdict | None:
    """Return the verdict with the largest change for the worse, None where no change is known."""
    known = [verdict for verdict in verdicts.values() if verdict.change is not None]
    return max(known, key=loss, default=None)


def loss(verdict: Verdict) -> float:
    """Return a change as the log of the ratio, positive for the worse; 0 where none is known."""
    change = 0.0 if verdict.change is None else verdict.change
    sign = METRICS[verdict.metric].worse_sign
    return sign * (math.log1p(change) if change > -1 else -math.inf)
