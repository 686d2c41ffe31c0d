"""pytest-benchmark's JSON, for ``pytest-benchmark compare``: the latency of each cell in seconds.

From a run's results one round is one request. From baselines, which keep a median for each
session, one round is one session's median.
"""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.measure.evaluation import distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.measurement import Distribution
    from pytest_gaitperf.report.export.history import CellFigures, SessionFigures


def export(sessions: Sequence[SessionFigures], _name: str) -> str:
    """Return all sessions as one file; cells without a latency have no benchmark."""
    newest = sessions[-1]
    found: dict[str, list[CellFigures]] = {}
    for session in sessions:
        for cell in session.cells:
            found.setdefault(cell.id, []).append(cell)
    benchmarks = [_benchmark(found[cell], newest.profile) for cell in sorted(found)]
    document = {
        "machine_info": {"node": newest.profile},
        "commit_info": {"id": newest.commit, "time": newest.time, "dirty": newest.dirty},
        "benchmarks": [benchmark for benchmark in benchmarks if benchmark is not None],
        "datetime": newest.time,
        "version": newest.plugin,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _benchmark(cells: Sequence[CellFigures], profile: str) -> dict[str, object] | None:
    newest = cells[-1]
    medians = [c.metrics["latency_p50"].value for c in cells if "latency_p50" in c.metrics]
    if len(cells) == 1 and newest.latencies is not None and "latency_mean" in newest.metrics:
        mean_s, rounds, spread = (
            newest.metrics["latency_mean"].value,
            newest.requests,
            newest.latencies,
        )
    elif medians:
        mean_s, rounds = fmean(medians), len(medians)
        spread = distribution(np.array(medians))
    else:
        return None
    return {
        "group": newest.model,
        "name": f"test_latency[{newest.id}]",
        "fullname": f"suites/test_grid.py::test_latency[{newest.id}]",
        "params": dict(newest.labels),
        "param": newest.key,
        "extra_info": {
            "profile": profile,
            "estimated": [name for name in newest.metrics if newest.is_estimate(name)],
            "metrics": {name: item.value for name, item in newest.metrics.items()},
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
