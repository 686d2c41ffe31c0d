"""JSON for benchmark trackers: Bencher, github-action-benchmark, pytest-benchmark."""

from __future__ import annotations

import json
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.metrics import Direction
from pytest_gaitperf.report.export.figures import Format, figures, labels, measured, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.measurement import Distribution, Measurement
    from pytest_gaitperf.results import Cell, Run

_MEASURES = {"latency_p50": "latency", "throughput": "throughput"}
"""Bencher's own measures: nanoseconds, the median's here, and operations per second."""


def _json(document: object) -> str:
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _bencher(runs: Sequence[Run], _name: str) -> str:
    """Return Bencher Metric Format for the newest run: one object of measures for each cell.

    Measures that are not Bencher's own are made on their first upload: latencies in nanoseconds
    too, energy in joules, power in watts.
    """
    return _json({cell.id: _measures(found) for cell, found in measured(runs[-1])})


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
    return _json(found)


def _pytest_benchmark(runs: Sequence[Run], _name: str) -> str:
    """Return all runs as one file for ``pytest-benchmark compare``: each cell's latency in seconds.

    From one run one round is one request. From several runs, and from baselines, which keep a
    median for each session, one round is one run's median. Cells without a latency are left out.
    """
    newest = runs[-1]
    about = newest.environment
    found: dict[str, list[tuple[Cell, Measurement]]] = {}
    for run in runs:
        for cell, measurement in measured(run):
            found.setdefault(cell.id, []).append((cell, measurement))
    benchmarks = (_benchmark(found[cell], newest.profile.id) for cell in sorted(found))
    document = {
        "machine_info": {"node": newest.profile.id},
        "commit_info": {"id": about.commit, "time": about.time, "dirty": about.dirty},
        "benchmarks": [benchmark for benchmark in benchmarks if benchmark is not None],
        "datetime": about.time,
        "version": about.plugin,
    }
    return _json(document)


def _benchmark(cells: Sequence[tuple[Cell, Measurement]], profile: str) -> dict[str, object] | None:
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
            "estimated": [one.metric.name for one in found if one.prefix],
            "metrics": {one.metric.name: one.estimate.value for one in found},
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


BENCHER, PYTEST_BENCHMARK = Format(_bencher), Format(_pytest_benchmark)
GITHUB_BIGGER = Format(partial(_github, Direction.HIGHER_IS_BETTER))
GITHUB_SMALLER = Format(partial(_github, Direction.LOWER_IS_BETTER))
