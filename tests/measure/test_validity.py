"""What makes a measurement invalid."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.host.counters import Seen
from pytest_gaitperf.host.watch import Watched, Window
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.evaluation import evaluate
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady
from tests.measure.gathered import (
    MS,
    STEADY,
    counted,
    following,
    open_run,
    run_of,
    with_windows,
)

if TYPE_CHECKING:
    from pytest_gaitperf.measure.gathered import Gathered


def invalid(run: Gathered) -> str:
    reason = evaluate([run]).invalid
    assert reason is not None
    return reason


def test_a_closed_loop_whose_requests_hang_breaks_littles_law() -> None:
    # Three slots work, the fourth hangs in one request: four are in flight all the time.
    record = steady(3, 0.01, 4.0)
    hanging = replace(
        record,
        starts_ns=record.starts_ns + array("q", [START_NS]),
        ends_ns=record.ends_ns + array("q", [START_NS + 4100 * MS]),
    )
    assert "throughput x mean latency is 3.0" in invalid(run_of(hanging))
    assert "Little's law does not hold" in invalid(run_of(hanging))


def test_littles_law_holds_within_the_noise_of_real_loads() -> None:
    for seed in range(100):
        generator = np.random.default_rng(seed)
        slots = int(generator.integers(1, 9))
        latencies = generator.gamma(1 / 0.25, 0.3 * 0.25, (slots, 40))  # few, slow, a CV of 50 %
        assert evaluate([run_of(closed_loop(latencies), concurrency=slots)]).invalid is None, seed


def test_another_client_on_the_server() -> None:
    run = run_of(STEADY)
    more = replace(run.sent, inference_count=run.sent.inference_count + 2)
    sent = run.sent.inference_count
    assert f"another client uses the server: it counted {sent + 2} inferences" in invalid(
        replace(run, sent=more)
    )


def test_fewer_inferences_than_were_sent() -> None:
    run = run_of(STEADY)
    sent = run.sent
    cached = replace(sent, inference_count=sent.inference_count - 1)
    assert "its response cache answers: switch it off" in invalid(replace(run, sent=cached))
    anew = replace(cached, success_count=sent.success_count - 1)
    assert "the model was loaded again meanwhile, or a proxy" in invalid(replace(run, sent=anew))


def test_inferences_of_the_warm_up_are_ours() -> None:
    run = run_of(STEADY)
    both = replace(run, warm_up=STEADY, sent=counted(2 * STEADY.requests, 2))
    assert evaluate([both]).invalid is None
    assert "another client" in invalid(replace(run, sent=counted(2 * STEADY.requests, 2)))


def test_a_saturated_client() -> None:
    busy_ns = STEADY.drained_ns - STEADY.first_send_ns
    at_the_limit = replace(STEADY, client_cpu_ns=int(0.949 * busy_ns))
    assert evaluate([run_of(at_the_limit)]).invalid is None
    saturated = replace(STEADY, client_cpu_ns=int(0.96 * busy_ns))
    assert "the client was busy 96% of the time" in invalid(run_of(saturated))


def test_failures_of_the_load_and_of_the_warm_up() -> None:
    run = run_of(replace(STEADY, failures=2, failure_reasons=["HTTP 503: busy"]))
    assert invalid(run) == "2 requests failed: HTTP 503: busy"
    warm_up = LoadRecord(failures=1, failure_reasons=["HTTP 503: busy"])
    assert invalid(replace(run, warm_up=warm_up)) == "3 requests failed: HTTP 503: busy"
    assert evaluate([replace(run, warm_up=warm_up)]).failures == 3


def test_a_throttled_device() -> None:
    reason = "gpu-throttle-alert was slowing the device before the measurement (level 1)"
    assert invalid(replace(run_of(STEADY), throttled=reason)) == reason


def test_fewer_requests_in_flight_than_asked_for() -> None:
    three = steady(3, 0.01, 4.0)
    assert "only 3.00 of 4 requests were in flight on average" in invalid(run_of(three))
    assert evaluate([run_of(three, concurrency=3)]).invalid is None


def test_a_client_that_thinks_is_none_that_was_held_up() -> None:
    # Each of four clients: 10 ms of answering, 10 ms of thinking.
    latencies = np.full((4, 200), 0.01)
    run = run_of(closed_loop(latencies, think_s=0.01))
    workload = replace(run.workload, think_s=0.01)
    found = evaluate([replace(run, workload=workload)])
    assert found.invalid is None
    assert found.metrics["throughput"].value == pytest.approx(400, rel=0.02), "batches of 2"
    assert "only 2.00 of 4 requests were in flight" in invalid(run)
    shorter = replace(run, workload=replace(workload, think_s=0.002))
    assert "only 2.00 of 3.6 requests were in flight" in invalid(shorter)


def test_lives_of_clients_that_think_are_each_held_to_their_own_rate() -> None:
    # 200 requests/s with 2 in flight, and 80 with 3.2: four clients in both.
    lives = [
        run_of(closed_loop(np.full((4, count), latency_s), think_s=0.01))
        for count, latency_s in ((200, 0.01), (80, 0.04))
    ]
    workload = replace(lives[0].workload, think_s=0.01)
    assert evaluate([replace(run, workload=workload) for run in lives]).invalid is None


def stalled(stall_s: float, latency_s: float = 0.01, at: int = 60) -> LoadRecord:
    """Four requests at a time, all of which once take so much longer."""
    latencies = np.full((4, round(4 / latency_s)), latency_s)
    latencies[:, at] += stall_s
    return closed_loop(latencies)


def test_a_server_that_stood_still_is_named_and_for_how_long() -> None:
    assert invalid(run_of(stalled(1.0))).startswith("no answer for 1.0 s, 101 times the median")
    assert evaluate([run_of(stalled(0.4))]).invalid is None, "a hiccup"
    # From 0.7 s on: the windows from the third to the sixth are not used.
    replaced = with_windows(run_of(stalled(1.0)), 0, 1, 6, 7)
    assert evaluate([replaced]).invalid is None


def test_a_slow_or_bursty_model_does_not_stand_still() -> None:
    slow = run_of(steady(1, 1.3, 30.0), concurrency=1, windows=100)
    assert evaluate([slow]).invalid is None
    bursts = run_of(steady(8, 0.8, 30.0), concurrency=8, windows=100)
    assert evaluate([bursts]).invalid is None
    latencies = np.full(150, 0.2)
    latencies[7::50] *= 5  # one in fifty takes five times as long
    tail = run_of(closed_loop(latencies.reshape(1, -1)), concurrency=1, windows=100)
    assert evaluate([tail]).invalid is None
    latencies[7::8] = 3.0  # one in eight fifteen times
    heavy = run_of(closed_loop(latencies.reshape(1, -1)), concurrency=1, windows=100)
    assert evaluate([heavy]).invalid is None
    rare = open_loop(np.arange(30.0), np.full(30, 0.01))
    assert evaluate([replace(open_run(rare, rate=1.0), windows_ns=following(80))]).invalid is None


def test_what_others_did_is_kept_and_a_machine_that_was_never_quiet_is_at_fault() -> None:
    used = Seen(others=0.98, ours=1.0, by={123: 0.98}, waited=1.0)
    watched = Watched((Window(used, "others"),) * 8, 2, {123: "stress"})
    run = replace(run_of(stalled(1.0)), watched=watched, disturbed=watched.fault)
    measured = evaluate([run])
    assert measured.invalid is not None
    assert measured.invalid.startswith("`stress` (pid 123) used 0.98 of 2 CPUs in 8 of 8 windows")
    assert "no answer" not in measured.invalid, "who disturbed is to blame for it"
    assert measured.surroundings is not None
    assert measured.surroundings.waited == pytest.approx(0.5)
    assert evaluate([run_of(STEADY)]).surroundings is None
    stopped = replace(watched, stopped=("tritonserver (pid 9)",))
    said = invalid(replace(run_of(STEADY), watched=stopped))
    assert said == "tritonserver (pid 9) was stopped meanwhile: measure again"


def test_several_faults_are_all_named() -> None:
    run = replace(run_of(steady(3, 0.01, 4.0)), throttled="too hot")
    assert invalid(run).count("; ") == 1
    assert invalid(run).endswith("; too hot")


def test_nothing_completed_is_an_error_with_the_reason() -> None:
    failed = LoadRecord(failures=7, failure_reasons=["HTTP 500: no"], first_send_ns=START_NS)
    with pytest.raises(
        MeasurementError,
        match=r"no request succeeded in the measured 2.0 s \(7 failed\): HTTP 500: no",
    ):
        evaluate([run_of(failed)])
    with pytest.raises(MeasurementError, match=r"\(0 failed\): the server completed none"):
        evaluate([run_of(LoadRecord(first_send_ns=START_NS))])
