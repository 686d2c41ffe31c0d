"""What was measured, in the formats of the tools that people already run.

JSON of benchmark trackers, OpenMetrics text, CSV with Otava's set-up; other packages add theirs.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime
from functools import partial
from pathlib import PurePath
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.files import json_text
from pytest_gaitperf.measure.estimates import QUANTILES
from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.metrics import METRICS, Direction
from pytest_gaitperf.workload import Workload, shapes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.measurement import Distribution, Measurement
    from pytest_gaitperf.metrics import Estimate, Metric
    from pytest_gaitperf.results import Cell, Run


def measured(run: Run) -> list[tuple[Cell, Measurement]]:
    """Return the cells with a valid measurement, by id."""
    return [
        (cell, cell.measurement)
        for cell in sorted(run.cells, key=lambda cell: cell.id)
        if cell.measurement is not None and cell.unmeasured is None
    ]


def figures(found: Measurement) -> Iterator[tuple[Metric, Estimate, str]]:
    """Yield each known metric, its value, and "estimated_" where no sensor stands behind it."""
    for name, estimate in found.metrics.items():
        if name in METRICS:
            yield METRICS[name], estimate, "estimated_" if found.estimates(name) else ""


def labels(workload: Workload) -> Mapping[str, str]:
    """Say how a cell was loaded, without what it was not."""
    found = {} if workload.alone else {"batch_size": str(workload.batch_size)}
    if workload.concurrency and not workload.alone:
        found["concurrency"] = str(workload.concurrency)
    elif workload.request_rate:
        found |= {"request_rate": f"{workload.request_rate:g}", "arrival": workload.arrival}
    elif workload.subjects:
        found |= {"subjects": str(workload.subjects), "frame_rate": f"{workload.frame_rate:g}"}
    sent = {"version": workload.version, "shapes": shapes_text(dict(workload.shapes))}
    sent |= {"data": workload.data, "trace": workload.trace, "neighbours": workload.neighbours}
    sent["streaming"] = "true" * workload.streaming
    sent["sequence_length"] = "..".join(str(count) for count in workload.sequence_length if count)
    times = {"think_time": workload.think_s, "sustained": workload.sustained_s}
    sent |= {name: f"{seconds:g} s" for name, seconds in times.items() if seconds}
    found |= {name: text for name, text in sent.items() if text}
    return found | {"protocol": workload.protocol, "transport": workload.transport}


def scaled(value: float, scale: float) -> float:
    """Return a value in another unit, without the digits that the conversion makes up."""
    return float(f"{value * scale:.12g}")


_MEASURES = {"latency_p50": "latency", "throughput": "throughput"}
"""Bencher's own measures: nanoseconds, the median's here, and operations per second."""


def _bencher(runs: Sequence[Run], _name: str) -> str:
    """Return Bencher Metric Format for the newest run: one object of measures for each cell.

    Measures that are not Bencher's own are made on their first upload: latencies in nanoseconds
    too, energy in joules, power in watts.
    """
    return json_text({cell.id: _measures(found) for cell, found in measured(runs[-1])})


def _measures(found: Measurement) -> dict[str, dict[str, float]]:
    measures = {}
    for metric, estimate, prefix in figures(found):
        scale = 1e9 if metric.unit == "s" else 1.0
        slug = _MEASURES.get(metric.name, metric.name.replace("_", "-"))
        bounds = {
            "value": estimate.value,
            "lower_value": estimate.low,
            "upper_value": estimate.high,
        }
        measures[prefix.replace("_", "-") + slug] = {
            bound: scaled(value, scale) for bound, value in bounds.items() if value is not None
        }
    return measures


def _github(direction: Direction, runs: Sequence[Run], _name: str) -> str:
    """Return the newest run's metrics of one direction for github-action-benchmark.

    One tool of the action has one direction: ``customBiggerIsBetter`` (throughput, subjects) or
    ``customSmallerIsBetter`` (all others), in the units of our tables. The action keeps the
    history itself.
    """
    found = []
    for cell, measurement in measured(runs[-1]):
        for metric, estimate, prefix in figures(measurement):
            if metric.direction is not direction:
                continue
            entry = {
                "name": f"{cell.id} {prefix.replace('_', ' ')}{metric.title}",
                "unit": metric.display_unit,
                "value": scaled(estimate.value, metric.scale),
                "extra": f"profile {runs[-1].profile.id}",
            }
            if estimate.low is not None and estimate.high is not None:
                half_width = (estimate.high - estimate.low) / 2 * metric.scale
                entry["range"] = f"± {half_width:.3g}"
            found.append(entry)
    return json_text(found)


def _pytest_benchmark(runs: Sequence[Run], _name: str) -> str:
    """Return all runs as one file for ``pytest-benchmark compare``: each cell's latency in seconds.

    From one run a round is a request, else the median of a run. No latency, no benchmark.
    """
    newest, about = runs[-1], runs[-1].environment
    found: dict[str, list[tuple[Cell, Measurement]]] = {}
    for run in runs:
        for cell, measurement in measured(run):
            found.setdefault(cell.id, []).append((cell, measurement))
    benchmarks = (as_benchmark(found[cell], newest.profile.id) for cell in sorted(found))
    document = {
        "machine_info": {"node": newest.profile.id},
        "commit_info": {"id": about.commit, "time": about.time, "dirty": about.dirty},
        "benchmarks": [benchmark for benchmark in benchmarks if benchmark is not None],
        "datetime": about.time,
        "version": about.plugin,
    }
    return json_text(document)


def as_benchmark(cells: Sequence[tuple[Cell, Measurement]], profile: str) -> dict[str, Any] | None:
    """Return a cell's runs as a benchmark of pytest-benchmark, None without a latency."""
    cell, newest = cells[-1]
    medians = [one.metrics["latency_p50"].value for _, one in cells if "latency_p50" in one.metrics]
    if len(cells) == 1 and newest.latencies is not None and "latency_mean" in newest.metrics:
        mean_s, rounds = newest.metrics["latency_mean"].value, newest.requests
        spread = newest.latencies
    elif medians:
        mean_s, rounds = fmean(medians), len(medians)
        spread = distribution(np.array(medians))
    else:
        return None
    found = list(figures(newest))
    return {
        "group": cell.workload.model,
        "name": f"test_latency[{cell.id}]",
        "fullname": f"suites/test_grid.py::test_latency[{cell.id}]",
        "params": dict(labels(cell.workload)),
        "param": cell.key,
        "extra_info": {
            "profile": profile,
            "estimated": [metric.name for metric, _, prefix in found if prefix],
            "metrics": {metric.name: estimate.value for metric, estimate, _ in found},
        },
        "options": {"timer": "monotonic_ns", "warmup": True},
        "stats": _stats(mean_s, rounds, spread),
    }


def _stats(mean_s: float, rounds: int, spread: Distribution) -> dict[str, object]:
    low, median, high = spread.quartiles_s
    return {
        "min": spread.percentiles_s[0],
        "max": spread.percentiles_s[-1],
        "mean": mean_s,
        "stddev": spread.sd_s,
        "rounds": rounds,
        "median": median,
        "iqr": high - low,
        "q1": low,
        "q3": high,
        "iqr_outliers": spread.tukey_outliers,
        "stddev_outliers": spread.sd_outliers,
        "outliers": f"{spread.sd_outliers};{spread.tukey_outliers}",
        "ld15iqr": spread.tukey_low_s,
        "hd15iqr": spread.tukey_high_s,
        "ops": 1 / mean_s,
        "total": mean_s * rounds,
        "iterations": 1,
    }


_UNITS = {"s": "seconds", "J": "joules", "W": "watts", "inf/s": "inferences_per_second"}
_UNITS |= {"B": "bytes", "inf/J": "inferences_per_joule", "answers/s": "answers_per_second"}
_SENTENCES = {
    "throughput": "Inferences per second; a batch of n counts n.",
    "latency_seconds": "Latency of a request as the client saw it, by quantile.",
}


def _exposition(runs: Sequence[Run], _name: str) -> str:
    """Return the exposition: a family for each metric, a series for each cell."""
    # Lines of series, time, labels and value: in this order, a family lists its quantiles together.
    families: dict[str, list[tuple[str, float, str, float]]] = {}
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
                quantile = {"quantile": str(QUANTILES[name])} if name in QUANTILES else {}
                about[family] = (kind, unit, sentence)
                sample = (series, time_s, _labels(of_cell | quantile), estimate.value)
                families.setdefault(family, []).append(sample)
    lines = []
    for family in sorted(families):
        kind, unit, sentence = about[family]
        lines += [f"# TYPE {family} {kind}", f"# UNIT {family} {unit}"]
        lines.append(f"# HELP {family} {_escape(sentence)}")
        for _, time_s, shown, value in sorted(families[family]):
            when = f" {time_s:.0f}" if len(runs) > 1 else ""
            lines.append(f"{family}{shown} {value!r}{when}")
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(metric: Metric, *, estimated: bool) -> tuple[str, str, str, str]:
    """Return the family of a metric: its name, type, unit and help."""
    name = metric.name
    unit = _UNITS.get(metric.unit, metric.unit)
    if name in QUANTILES:
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


_ABOUT = ("time", "commit", "dirty", "profile", "triton", "plugin", "recorder")
_UNIT_SUFFIX = {"inf/s": "inf_per_s"}


class _Column(NamedTuple):
    cell: str
    figure: str
    metric: Metric

    @property
    def name(self) -> str:
        return f"{self.cell}:{self.figure}"


def _table(runs: Sequence[Run], _name: str) -> str:
    columns = _complete(runs)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_ABOUT, *(column.name for column in columns)])
    for run in runs:
        row, about, triton = _row(run), run.environment, run.environment.triton
        dirty = "" if about.dirty is None else str(about.dirty).lower()
        texts = [about.time, about.commit, dirty, run.profile.id]
        texts += ["" if triton is None else triton.version, about.plugin]
        texts.append(run.profile.facts.get("recorder", ""))
        writer.writerow([*map(_plain, texts), *(f"{row[column]:.6g}" for column in columns)])
    return out.getvalue()


def _otava(runs: Sequence[Run], name: str) -> str:
    """Return the configuration with which apache-otava reads the table, one test for each cell.

    It is JSON, which is YAML too. The table is expected beside it under the same name:
    ``history.yaml`` reads ``history.csv``.
    """
    table = str(PurePath(name or "history.yaml").with_suffix(".csv"))
    tests: dict[str, dict[str, object]] = {}
    for column in _complete(runs):
        test = tests.setdefault(column.cell, {})
        test[column.figure] = {
            "column": column.name,
            "direction": -column.metric.worse_sign,
            "scale": 1,
        }
    common = {"type": "csv", "file": table, "time_column": "time", "attributes": ["commit"]}
    document = {"tests": {cell: {**common, "metrics": found} for cell, found in tests.items()}}
    return json_text(document)


def missing_columns(runs: Sequence[Run]) -> list[str]:
    """Return the columns that only some of the runs have."""
    everywhere = set(_complete(runs))
    found = dict.fromkeys(column for run in runs for column in _row(run))
    return [column.name for column in found if column not in everywhere]


def _complete(runs: Sequence[Run]) -> list[_Column]:
    """Return the columns of figures that every run has, by cell and metric."""
    rows = [_row(run) for run in runs]
    return [column for column in rows[-1] if all(column in row for row in rows)]


def _row(run: Run) -> Mapping[_Column, float]:
    row = {}
    for cell, found in measured(run):
        for metric, estimate, prefix in figures(found):
            name = f"{prefix}{metric.name}_{_UNIT_SUFFIX.get(metric.unit, metric.unit)}"
            row[_Column(_plain(cell.id), name, metric)] = estimate.value
    return row


def _plain(text: str) -> str:
    """Return harmless text in one line, such that no spreadsheet takes it for a formula."""
    text = sanitize(" ".join(text.replace("\0", " ").split()))  # Python 3.10 writes no NUL
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


WRITERS: dict[str, Callable[[Sequence[Run], str], str]] = {
    "bencher": _bencher,
    "csv": _table,
    "github-benchmark-bigger": partial(_github, Direction.HIGHER_IS_BETTER),
    "github-benchmark-smaller": partial(_github, Direction.LOWER_IS_BETTER),
    "openmetrics": _exposition,
    "otava": _otava,
    "pytest-benchmark": _pytest_benchmark,
}
"""What writes each format; see ``exporters.Exporter.export``."""
