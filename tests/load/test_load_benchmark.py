"""The comparison with perf_analyzer: what it makes of figures whose truth is known."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.load_parts.goal import Goal
from benchmarks.load_parts.open_loop import loadgen_p99_ms
from benchmarks.perf_analyzer import from_records

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


def export(path: Path, starts_ns: list[int], latency_ns: int, bounds_ns: list[int]) -> Path:
    """Write what perf_analyzer writes of requests that all take the same time."""
    requests = [
        {"timestamp": start, "response_timestamps": [start + latency_ns]} for start in starts_ns
    ]
    content = {"experiments": [{"requests": requests, "window_boundaries": bounds_ns}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_start_of_perf_analyzers_load_is_not_in_its_steady_throughput(tmp_path: Path) -> None:
    latency = 700 * MS
    starts = [round_ * latency for round_ in range(8) for _slot in range(4)]
    path = export(tmp_path / "requests.json", starts, latency, [0, 1900 * MS, 3800 * MS, 5700 * MS])
    steady, _ = from_records(path, batch_size=8)
    assert steady == pytest.approx(8 * 4 / 0.7, rel=1e-6)
    # What it reports: the requests that completed in its windows over their length.
    assert 8 * sum(start + latency <= 5700 * MS for start in starts) / 5.7 < 0.99 * steady


def test_only_the_windows_that_perf_analyzer_reports_count(tmp_path: Path) -> None:
    slow = [index * 100 * MS for index in range(20)]
    fast = [2000 * MS + index * 50 * MS for index in range(61)]
    bounds = [0, 1000 * MS, 2000 * MS, 3000 * MS, 4000 * MS, 5000 * MS]
    path = export(tmp_path / "requests.json", slow + fast, 50 * MS, bounds)
    steady, half_width = from_records(path, batch_size=1)
    assert steady == pytest.approx(20, rel=0.01)
    assert half_width < 0.02


def test_too_short_a_run_says_nothing(tmp_path: Path) -> None:
    path = export(tmp_path / "requests.json", [0, 0], 500 * MS, [0, 400 * MS, 500 * MS, 600 * MS])
    assert all(map(math.isnan, from_records(path, batch_size=1)))


def test_a_stall_is_in_the_p99_of_the_schedule_whatever_was_measured_in_it() -> None:
    scheduled = np.arange(1000, dtype=np.int64) * 5 * MS
    stall = (2000 * MS, 2300 * MS)
    # Sent late, and counted from there: the stall left one slow request in what was measured.
    ends = scheduled + MS
    ends[399] = stall[1]
    # Of 1000 requests 60 were due in the stall: the tenth worst waited 255 ms.
    assert loadgen_p99_ms(scheduled, ends, stall) == pytest.approx(256, abs=6)


def test_without_a_stall_the_p99_is_the_usual_latency() -> None:
    scheduled = np.arange(1000, dtype=np.int64) * 5 * MS
    assert loadgen_p99_ms(scheduled, scheduled + MS, (10_000 * MS, 10_300 * MS)) == 1.0


def test_a_goal_is_on_the_median_and_says_when_the_noise_leaves_it_open() -> None:
    few = Goal("ratio", (0.9, 1.0, 1.5), at_most=1.02, at_least=0.98)
    assert (few.value, few.met, few.verdict) == (1.0, True, "met, by few values")
    noisy = Goal("ratio", tuple(0.8 + 0.04 * step for step in range(11)), 1.02, 0.98)
    assert noisy.verdict == "met, noise wider than the goal"
    assert Goal("ratio", (1.01,) * 11, at_most=1.02, at_least=0.98).verdict == "met"
    assert Goal("ratio", (1.03,) * 11, at_most=1.02, at_least=0.98).verdict == "MISSED"


def test_an_unknown_figure_is_not_met_and_one_without_limits_is_no_goal() -> None:
    assert not Goal("ratio", (math.nan,), at_most=1.0).met
    assert not Goal("ratio", (1.0,)).judged
    assert Goal("ratio", (math.nan, 0.5), at_most=1.0).met
