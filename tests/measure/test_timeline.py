"""Throughput and latency over the windows."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_gaitperf.measure.evaluation import timeline_of
from pytest_gaitperf.measure.parts import MOST_PARTS
from tests.load.synthetic import START_NS, steady


@pytest.mark.parametrize("windows", [1, 8, 60, 61, 150])
def test_the_parts_add_up_to_the_whole_and_are_bounded(windows: int) -> None:
    edges = START_NS + 10**8 + np.linspace(0, 3 * 10**9, windows + 1).astype(np.int64)
    starts, ends = steady(4, 0.01, 4.0).times()
    done = np.random.default_rng(windows).uniform(1, 9, windows)
    timeline = timeline_of(starts, ends, edges, done)
    assert len(timeline.throughput) == min(windows, MOST_PARTS)
    assert timeline.edges_s[0] == 0
    assert timeline.edges_s[-1] == pytest.approx(3.0)
    assert np.sum(timeline.throughput * np.diff(timeline.edges_s)) == pytest.approx(done.sum())
    assert timeline.latency_p50_s == pytest.approx([0.01] * len(timeline.throughput))


def test_a_part_without_a_completed_request_has_no_median() -> None:
    starts, ends = steady(1, 0.01, 1.0).times()
    edges = START_NS + np.array([0, 5, 20]) * 10**8
    timeline = timeline_of(starts, ends, edges, np.array([50.0, 0.0]))
    assert timeline.latency_p50_s == pytest.approx([0.01, 0.01])
    beyond = timeline_of(starts, ends, edges + 2 * 10**9, np.array([0.0, 0.0]))
    assert beyond.latency_p50_s == (None, None)
