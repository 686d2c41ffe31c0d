"""What a measurement says of windows that were left out, and of several lives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.engine.session import Session
from pytest_gaitperf.measure.evaluation import evaluate
from tests.load.synthetic import closed_loop, steady
from tests.measure.gathered import (
    STEADY,
    powered,
    run_of,
    value,
    with_windows,
)


def test_what_lies_between_the_windows_does_not_count() -> None:
    # From 1.1 to 1.6 s, in the fifth and the sixth window, requests take five times as long.
    latencies = np.full((4, 400), 0.01)
    latencies[:, 110:120] = 0.05
    run = run_of(closed_loop(latencies), power=powered(np.full(401, 12.0), minimum_window_s=0.2))
    whole, cut = evaluate([run]), evaluate([with_windows(run, 0, 1, 2, 3, 6, 7)])
    assert whole.metrics["throughput"].value == pytest.approx(640)
    assert cut.metrics["throughput"].value == pytest.approx(800)
    assert (cut.windows, cut.duration_s, cut.requests) == (6, 1.5, 600)
    assert cut.inferences == pytest.approx(1200)
    assert whole.latencies is not None
    assert cut.latencies is not None
    assert whole.latencies.percentiles_s[100] == pytest.approx(0.05)
    assert cut.latencies.percentiles_s[100] == pytest.approx(0.01)
    assert cut.metrics["latency_mean"].high == pytest.approx(0.01)
    assert cut.metrics["energy_per_inference"].value == pytest.approx(12 / 800)
    assert cut.rails_j["IN"] == pytest.approx(18)
    assert cut.invalid is None


def test_pieces_too_short_for_the_meter_give_no_energy() -> None:
    power = powered(np.full(401, 12.0), minimum_window_s=0.3)
    run = run_of(STEADY, power=power)
    assert "energy_per_inference" in evaluate([run]).metrics
    measured = evaluate([with_windows(run, 0, 2, 4, 6)])
    assert "1.0 s were measured in 4 pieces" in measured.absent["energy_per_inference"]


def test_lives_are_pooled() -> None:
    fast = run_of(steady(4, 0.01, 4.0), power=powered(np.full(401, 12.0)))
    slow = run_of(steady(4, 0.02, 4.0), power=powered(np.full(401, 6.0)))
    measured = evaluate([fast, slow])
    assert measured.metrics["throughput"].value == pytest.approx(600)
    assert (measured.windows, measured.duration_s, measured.requests) == (16, 4.0, 1200)
    assert measured.metrics["latency_mean"].value == pytest.approx((0.01 * 2 + 0.02) / 3)
    assert value(measured.metrics["server_cpu_per_inference"]) == pytest.approx(0.002)
    assert measured.metrics["power_mean"].value == pytest.approx(9)
    assert measured.metrics["energy_per_inference"].value == pytest.approx(36 / 2400)
    assert measured.rails_j["IN"] == pytest.approx(36)
    assert measured.time_split_s["compute_infer"] == pytest.approx(0.006)
    assert measured.invalid is None
    assert measured.timeline is not None
    assert measured.timeline.throughput == pytest.approx([800] * 8)
    assert measured.lives == 2
    apart = math.log(2) / math.sqrt(2)  # the SD of two logs that far apart
    assert measured.spread["throughput"] == pytest.approx(apart)
    assert measured.spread["latency_p99"] == pytest.approx(apart)
    assert measured.spread["energy_per_inference"] == pytest.approx(0, abs=1e-9)
    assert measured.spread["server_cpu_per_inference"] == pytest.approx(0, abs=1e-9)
    hot = replace(slow, throttled="too hot")
    assert evaluate([fast, hot]).invalid == "life 2: too hot"
    blind = replace(fast, server_cpu_s=None, server_cpu_absent="it is elsewhere")
    assert evaluate([blind, slow]).absent["server_cpu_per_inference"] == "it is elsewhere"


def test_a_disturbed_life_is_left_out_where_most_were_left_alone() -> None:
    alone = run_of(STEADY)
    disturbed = replace(run_of(steady(4, 0.02, 4.0)), disturbed="`make` (pid 7) used 0.9 of 2 CPUs")
    hot = replace(alone, throttled="too hot")
    found = evaluate([disturbed, alone, alone])
    assert (found.invalid, found.lives, found.windows) == (None, 2, 16)
    assert found.metrics["throughput"].value == pytest.approx(800)
    assert found.notes == ("life 1 was left out: `make` (pid 7) used 0.9 of 2 CPUs",)
    assert evaluate([disturbed, hot, alone]).invalid == "life 2: too hot"
    for lives in ([disturbed], [disturbed, alone], [disturbed, alone, disturbed]):
        assert "`make` (pid 7) used 0.9 of 2 CPUs" in str(evaluate(lives).invalid)


def test_a_session_goes_on_while_most_lives_of_a_cell_may_be_left_alone() -> None:
    alone = run_of(STEADY)
    disturbed = replace(alone, disturbed="`make` used 0.9 of 2 CPUs")
    for lives, runs, lost in (
        (3, [disturbed], False),
        (3, [disturbed, alone], False),
        (3, [disturbed, alone, disturbed], True),
        (3, [alone, alone, disturbed], False),
        (2, [disturbed], True),
        (1, [disturbed], True),
        (3, [replace(alone, throttled="too hot")], True),
    ):
        visits = [replace(run, lives=lives) for run in runs]
        session = Session(
            1, [alone.workload], lives, runs={alone.workload: dict(enumerate(visits))}
        )
        assert session.lost(alone.workload, evaluate(visits)) is lost
        assert (alone.workload in session.over) is lost
