"""What a measurement says of a load: throughput, latencies, time split and CPU."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.evaluation import evaluate
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady
from tests.measure.gathered import (
    MS,
    STEADY,
    open_run,
    run_of,
    value,
)

if TYPE_CHECKING:
    from pytest_gaitperf.workload import Arrival


def test_throughput_of_a_steady_load_is_exact() -> None:
    measured = evaluate([run_of(STEADY)])
    throughput = measured.metrics["throughput"]
    assert throughput.unit == "inf/s"
    assert throughput.value == pytest.approx(800)
    assert throughput.low == pytest.approx(800)
    assert throughput.high == pytest.approx(800)
    assert (measured.windows, measured.window_s, measured.duration_s) == (8, 0.25, 2.0)
    assert measured.requests == 800
    assert (measured.failures, measured.invalid) == (0, None)
    assert (measured.lives, measured.spread) == (1, {})
    assert measured.timeline is not None
    assert measured.timeline.throughput == pytest.approx([800] * 8)
    assert measured.power is None


def test_the_same_run_gives_the_same_measurement() -> None:
    assert evaluate([run_of(STEADY)]) == evaluate([run_of(STEADY)])


def test_latencies_are_the_quantiles_of_the_requests_completed_in_the_span() -> None:
    # 1 to 100 ms in turns: after the first 0.1 s, any whole number of turns has the same quantiles.
    latencies = np.random.default_rng(1).permuted(np.tile(np.arange(1, 101), (40, 1)), axis=1)
    record = closed_loop(latencies.reshape(1, -1) / 1000)
    run = run_of(record, concurrency=1, windows=400)
    metrics = evaluate([run]).metrics
    for name, expected_ms in (
        ("latency_mean", 50.5),
        ("latency_p50", 50.5),
        ("latency_p90", 90),
        ("latency_p95", 95),
        ("latency_p99", 99),
    ):
        assert value(metrics[name]) * 1000 == pytest.approx(expected_ms, rel=0.03), name
    p99 = metrics["latency_p99"]
    assert p99.low is not None
    assert p99.high is not None
    assert p99.low <= 0.099 <= p99.high


@pytest.mark.parametrize(
    ("requests", "present"),
    [
        (63, {"latency_p50"}),
        (64, {"latency_p50", "latency_p90"}),
        (130, {"latency_p50", "latency_p90", "latency_p95"}),
        (661, {"latency_p50", "latency_p90", "latency_p95"}),
        (662, {"latency_p50", "latency_p90", "latency_p95", "latency_p99"}),
    ],
)
def test_a_percentile_needs_its_number_of_requests(requests: int, present: set[str]) -> None:
    # So many end within the span; the one before ends at its first edge, which is outside.
    latency_s = 2.0 / requests
    ends = START_NS + 100 * MS + np.rint(np.arange(requests + 1) * latency_s * 1e9).astype(int)
    record = LoadRecord(
        starts_ns=array("q", (ends - round(latency_s * 1e9)).tolist()),
        ends_ns=array("q", ends.tolist()),
        first_send_ns=START_NS,
        drained_ns=int(ends[-1]),
    )
    record.ends_ns[-1] = START_NS + 2100 * MS
    measured = evaluate([run_of(record, concurrency=1)])
    assert measured.requests == requests
    assert {name for name in measured.metrics if name.startswith("latency_p")} == present
    absent = {name for name in measured.absent if name.startswith("latency_p")}
    names = ("latency_p50", "latency_p90", "latency_p95", "latency_p99", "latency_p999")
    assert present | absent == set(names)
    for name in absent:
        assert f"{requests} requests, " in measured.absent[name]
        assert "raise --gaitperf-budget" in measured.absent[name]


def test_the_time_split_is_the_clients_and_the_servers_and_the_rest_is_network() -> None:
    record = replace(STEADY, send_ns=STEADY.requests * MS, receive_ns=STEADY.requests * MS // 2)
    split = evaluate([run_of(record)]).time_split_s
    assert split == {
        "client_send": pytest.approx(0.001),
        "network": pytest.approx(0.0005),
        "queue": pytest.approx(0.001),
        "compute_input": pytest.approx(0.0005),
        "compute_infer": pytest.approx(0.006),
        "compute_output": pytest.approx(0.0005),
        "client_receive": pytest.approx(0.0005),
    }
    assert next(iter(split)) == "client_send", "in the order of time"


def test_p999_needs_its_6636_requests() -> None:
    metrics = evaluate([run_of(steady(4, 0.001, 3.0))]).metrics
    assert (metrics["latency_p999"].low, metrics["latency_p999"].high) == (0.001, 0.001)
    assert "latency_p999" not in evaluate([run_of(steady(4, 0.0025, 3.0))]).metrics


def test_the_mean_latency_has_an_interval_about_it() -> None:
    latencies = np.random.default_rng(1).gamma(1 / 0.09, 0.01 * 0.09, (4, 400))
    mean = evaluate([run_of(closed_loop(latencies))]).metrics["latency_mean"]
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < mean.value < mean.high
    assert mean.low < 0.01 < mean.high


def on_time(latency_s: float = 0.01, rate: float = 100.0) -> LoadRecord:
    sent = np.arange(round(4 * rate)) / rate
    return open_loop(sent, np.full(len(sent), latency_s))


def test_an_open_loops_throughput_is_its_completions() -> None:
    for latency_s in (0.001, 0.0173, 0.097):
        measured = evaluate([open_run(on_time(latency_s))])
        assert measured.metrics["throughput"].value == pytest.approx(200)
        assert measured.metrics["latency_mean"].value == pytest.approx(latency_s)
        assert (measured.invalid, measured.notes, measured.late_sends) == (None, (), 0)


def test_a_delay_of_the_client_is_part_of_the_latency_and_shown_apart() -> None:
    record = on_time()
    record = replace(record, delays_ns=array("q", [MS // 2] * record.requests))
    split = evaluate([open_run(record)]).time_split_s
    assert split["schedule"] == pytest.approx(0.0005)
    assert sum(split.values()) == pytest.approx(0.01)
    assert next(iter(split)) == "schedule"


@pytest.mark.parametrize(("share", "fault"), [(0.09, False), (0.12, True)])
def test_a_client_that_cannot_keep_the_schedule_is_a_fault(share: float, fault: bool) -> None:
    record = on_time()
    late = round(share * record.requests)
    delays = [MS + 1] * late + [MS] * (record.requests - late)
    measured = evaluate([open_run(replace(record, delays_ns=array("q", delays)))])
    assert measured.late_sends == late
    said = f"the client sent {late} of {record.requests} requests late: it could not keep the sched"
    assert (said in (measured.invalid or "")) == fault


def test_late_is_a_tenth_of_the_time_between_sends_where_that_is_longer() -> None:
    record = on_time(rate=10.0)
    for delay_ms, late in ((10, 0), (10.1, record.requests)):
        delays = array("q", [round(delay_ms * MS)] * record.requests)
        measured = evaluate([open_run(replace(record, delays_ns=delays), rate=10.0)])
        assert measured.late_sends == late


@pytest.mark.parametrize(("arrival", "answered"), [("constant", 80), ("poisson", 64)])
def test_a_server_that_falls_behind_is_measured_and_noted(arrival: Arrival, answered: int) -> None:
    # 100 requests/s are due, fewer are answered; each was sent late, for want of a slot.
    sent = np.arange(400) / 100
    record = open_loop(sent, 0.01 + (100 / answered - 1) * sent)
    record = replace(record, delays_ns=array("q", [50 * MS] * record.requests))
    measured = evaluate([open_run(record, arrival=arrival)])
    assert measured.metrics["throughput"].value == pytest.approx(2 * answered)
    assert measured.notes == (f"completed {answered} of 100 requests/s: the backlog grew",)
    assert measured.invalid is None


def test_chance_in_poisson_arrivals_is_not_falling_behind() -> None:
    for seed in range(200):
        sent = np.cumsum(np.random.default_rng(seed).exponential(0.01, 600))
        measured = evaluate([open_run(open_loop(sent, np.full(600, 0.01)), arrival="poisson")])
        assert measured.notes == (), seed


def test_server_cpu_counts_all_requests_of_the_load() -> None:
    measured = evaluate([run_of(STEADY)])
    assert value(measured.metrics["server_cpu_per_inference"]) == pytest.approx(0.002)
    unknown = replace(run_of(STEADY), server_cpu_s=None, server_cpu_absent="it is elsewhere")
    assert evaluate([unknown]).absent["server_cpu_per_inference"] == "it is elsewhere"


def test_server_cpu_of_the_windows_has_an_interval() -> None:
    # 400 inferences/s, four windows of 0.25 s; 1 ms of CPU each, in every other window 3 ms.
    run = run_of(steady(4, 0.02, 4.0), windows=8)
    uneven = np.array([1e8, 3e8] * 4)
    measured = evaluate([replace(run, server_cpu_ns=uneven)])
    cpu = measured.metrics["server_cpu_per_inference"]
    assert cpu.value == pytest.approx(0.002)
    assert cpu.low is not None
    assert cpu.high is not None
    assert cpu.low < 0.002 < cpu.high
    lives = [replace(run, server_cpu_ns=np.full(8, ns)) for ns in (1e8, 2e8)]
    both = evaluate(lives)
    assert both.metrics["server_cpu_per_inference"].value == pytest.approx(0.0015)
    assert both.spread["server_cpu_per_inference"] == pytest.approx(math.log(2) / math.sqrt(2))


def test_client_cost_is_per_request() -> None:
    record = replace(STEADY, client_cpu_ns=16 * MS * 10)
    measured = evaluate([run_of(record)])
    assert measured.client_cpu_per_request_us == pytest.approx(160_000 / record.requests)
    busy_s = (record.drained_ns - record.first_send_ns) / 1e9
    assert measured.client_load == pytest.approx(0.16 / busy_s)


# The interval means what it says


@pytest.mark.slow
def test_the_interval_of_the_throughput_covers_the_truth() -> None:
    # 4 slots with latencies of 10 ms on average that wander: neighbours are alike.
    hits = []
    for seed in range(200):
        noise = np.random.default_rng(seed).standard_normal((4, 500))
        for index in range(1, 500):
            noise[:, index] = 0.8 * noise[:, index - 1] + 0.6 * noise[:, index]
        run = run_of(closed_loop(0.01 * np.exp(0.2 * noise - 0.02)), windows=12)
        throughput = evaluate([run]).metrics["throughput"]
        assert throughput.low is not None
        assert throughput.high is not None
        hits.append(throughput.low <= 800 <= throughput.high)
    assert np.mean(hits) >= 0.92
