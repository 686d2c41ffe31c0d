"""OpenMetrics text, for Prometheus and what else scrapes or imports it.

Several runs carry their timestamps, for an import (``promtool tsdb create-blocks-from
openmetrics``); a single run has none, as a scrape would want it. Specification: OpenMetrics 1.0.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.report.export.figures import Format, figures, labels, measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.metrics import Metric
    from pytest_gaitperf.results import Run

_QUANTILES = {
    "latency_p50": "0.5",
    "latency_p90": "0.9",
    "latency_p95": "0.95",
    "latency_p99": "0.99",
    "latency_p999": "0.999",
}
_UNITS = {"s": "seconds", "J": "joules", "W": "watts", "inf/s": "inferences_per_second"}
_SENTENCES = {
    "throughput": "Inferences per second; a batch of n counts n.",
    "latency_seconds": "Latency of a request as the client saw it, by quantile.",
}


class _Sample(NamedTuple):
    """One line; in this order, with its quantiles together, a family must list them."""

    series: str
    time_s: float
    labels: str
    value: float


def _exposition(runs: Sequence[Run], _name: str) -> str:
    """Return the exposition: a family for each metric, a series for each cell."""
    families: dict[str, list[_Sample]] = {}
    about: dict[str, tuple[str, str, str]] = {}
    for run in runs:
        time_s = datetime.fromisoformat(run.environment.time.replace("Z", "+00:00")).timestamp()
        for cell, found in measured(run):
            of_cell = {"model": cell.workload.model, "cell": cell.key, "profile": run.profile.id}
            of_cell |= labels(cell.workload)
            series = _labels(of_cell)
            for metric, estimate, prefix in figures(found):
                family, kind, unit, sentence = _family(metric, estimated=bool(prefix))
                name = metric.name
                quantile = {"quantile": _QUANTILES[name]} if name in _QUANTILES else {}
                about[family] = (kind, unit, sentence)
                sample = _Sample(series, time_s, _labels(of_cell | quantile), estimate.value)
                families.setdefault(family, []).append(sample)
    lines = []
    for family in sorted(families):
        kind, unit, sentence = about[family]
        lines += [f"# TYPE {family} {kind}", f"# UNIT {family} {unit}"]
        lines.append(f"# HELP {family} {_escape(sentence)}")
        for sample in sorted(families[family]):
            when = f" {sample.time_s:.0f}" if len(runs) > 1 else ""
            lines.append(f"{family}{sample.labels} {sample.value!r}{when}")
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(metric: Metric, *, estimated: bool) -> tuple[str, str, str, str]:
    """Return the family of a metric: its name, type, unit and help."""
    name = metric.name
    unit = _UNITS.get(metric.unit, metric.unit)
    if name in _QUANTILES:
        family = f"gaitperf_latency_{unit}"
        return family, "summary", unit, _SENTENCES["latency_seconds"]
    stem = f"estimated_{name}" if estimated else name
    sentence = _SENTENCES.get(name, f"{metric.title}, {metric.direction.value}.")
    if estimated:
        sentence = f"Estimated, not measured: {sentence}"
    family = stem if stem.endswith(f"_{unit}") or stem == unit else f"{stem}_{unit}"
    return f"gaitperf_{family}", "gauge", unit, sentence


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


OPENMETRICS = Format(_exposition)
