from __future__ import annotations

import math
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
from pytest_gaitperf.measure.gathered import Gathered
from pytest_gaitperf.power.energy import ErrorBudget
from pytest_gaitperf.power.metering import PowerReading
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.workload import Arrival

MS = 10**6


def following(windows: int, window_ms: int = 250) -> npt.NDArray[np.int64]:
    """Windows one after the other from 0.1 s after the first request on."""
    edges = START_NS + (100 + np.arange(windows + 1, dtype=np.int64) * window_ms) * MS
    return np.column_stack((edges[:-1], edges[1:]))


def counted(requests: int, batch_size: int) -> ModelStatistics:
    """Each request: 8 ms in the server, of which 1 queueing and 6 inferring."""
    return ModelStatistics(
        inference_count=requests * batch_size,
        execution_count=requests,
        success_count=requests,
        fail_count=0,
        success_ns=requests * 8 * MS,
        queue_ns=requests * MS,
        compute_input_ns=requests * MS // 2,
        compute_infer_ns=requests * 6 * MS,
        compute_output_ns=requests * MS // 2,
    )


def run_of(
    record: LoadRecord,
    *,
    concurrency: int = 4,
    batch_size: int = 2,
    windows: int = 8,
    power: PowerReading | None = None,
) -> Gathered:
    """A run without faults, and by default without a meter."""
    return Gathered(
        workload=Workload("model", batch_size, concurrency),
        windows_ns=following(windows),
        warm_up=LoadRecord(),
        record=record,
        sent=counted(record.requests, batch_size),
        statistics=counted(record.requests, batch_size),
        server_cpu_s=0.004 * record.requests,
        server_cpu_absent="",
        power=power or PowerReading(None, "no power meter: none was asked for"),
    )


def value(estimate: Estimate) -> float:
    return estimate.value


STEADY = steady(4, 0.01, 4.0)  # 400 requests/s


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


# Open loop


def open_run(
    record: LoadRecord, rate: float = 100.0, arrival: Arrival = "constant", batch_size: int = 2
) -> Gathered:
    workload = Workload("model", batch_size, request_rate=rate, arrival=arrival)
    return replace(run_of(record, batch_size=batch_size), workload=workload)


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


# Windows that are left out, and several lives


def with_windows(run: Gathered, *kept: int) -> Gathered:
    return replace(run, windows_ns=run.windows_ns[list(kept)])


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


# Energy


def powered(
    watts: npt.NDArray[np.float64], *, minimum_window_s: float = 0.1, until_s: float = 4.0
) -> PowerReading:
    """Rails IN (the total) and GPU (a quarter of it), read at even intervals from the start on."""
    times = START_NS + np.linspace(0, until_s * 1e9, len(watts)).astype(np.int64)
    values = np.stack([watts, watts / 4], axis=1)
    return PowerReading(
        Trace(("IN", "GPU"), times, values, "power"),
        rails=("IN",),
        minimum_window_s=minimum_window_s,
    )


def test_energy_is_that_of_the_span_over_the_inferences_of_the_span() -> None:
    measured = evaluate([run_of(STEADY, power=powered(np.full(401, 12.0)))])
    energy, power = measured.metrics["energy_per_inference"], measured.metrics["power_mean"]
    assert (energy.unit, power.unit) == ("J", "W")
    assert energy.value == pytest.approx(12 / 800)
    assert energy.low == pytest.approx(12 / 800)
    assert power.value == pytest.approx(12)
    assert measured.rails_j == {"IN": pytest.approx(24), "GPU": pytest.approx(6)}
    assert measured.energy_rails == ("IN",)
    assert measured.power is not None
    assert measured.power.span_s == 2.0
    assert measured.power.watts["GPU"] == pytest.approx([3.0] * len(measured.power.watts["GPU"]))


def test_power_outside_the_span_does_not_count() -> None:
    # 10 W at first, rising by 1 W a second: over 0.1 to 2.1 s that is 11.1 W on average. What
    # follows after the span is far higher.
    seconds = np.linspace(0, 4, 401)
    watts = np.where(seconds <= 2.1, 10 + seconds, 500.0)
    measured = evaluate([run_of(STEADY, power=powered(watts))])
    assert value(measured.metrics["power_mean"]) == pytest.approx(11.1, rel=1e-3)
    assert value(measured.metrics["energy_per_inference"]) == pytest.approx(11.1 / 800, rel=1e-3)
    low, high = (measured.metrics["power_mean"].low, measured.metrics["power_mean"].high)
    assert low is not None
    assert high is not None
    assert low < 11.1 < high


def test_a_span_too_short_for_the_meter_gives_no_energy() -> None:
    power = powered(np.full(401, 12.0), minimum_window_s=1.0)
    measured = evaluate([run_of(STEADY, power=power)])
    for name in ("energy_per_inference", "power_mean"):
        assert name not in measured.metrics
        assert "2.0 s were measured, the meter needs 4.0 s" in measured.absent[name]


def test_a_trace_that_ends_too_early_gives_no_energy() -> None:
    power = powered(np.full(101, 12.0), until_s=1.5)
    measured = evaluate([run_of(STEADY, power=power)])
    assert "does not cover" in measured.absent["energy_per_inference"]
    assert measured.power is None
    assert value(measured.metrics["throughput"]) == pytest.approx(800)


def test_a_meter_that_failed_is_told_from_a_machine_without_one() -> None:
    failed = PowerReading(None, "the sensor is stuck", failed=True)
    assert evaluate([run_of(STEADY, power=failed)]).energy_failed
    assert not evaluate([run_of(STEADY)]).energy_failed
    assert not evaluate([run_of(STEADY, power=powered(np.full(401, 12.0)))]).energy_failed


def test_the_gpu_rail_has_its_own_energy() -> None:
    power = replace(powered(np.full(401, 12.0)), gpu_rails=("GPU",))
    measured = evaluate([run_of(STEADY, power=power)])
    assert value(measured.metrics["gpu_energy_per_inference"]) == pytest.approx(3 / 800)


@pytest.mark.parametrize(("sampling", "said"), [(0.019, None), (0.04, "8 s would give 2%")])
def test_a_large_error_of_the_meter_says_how_long_to_measure(
    sampling: float, said: str | None
) -> None:
    budget = ErrorBudget(2.0, 0.0, 0.0, sampling, averages=True)
    power = replace(powered(np.full(401, 12.0)), budget=budget)
    measured = evaluate([run_of(STEADY, power=power)])
    assert measured.energy_error == pytest.approx(sampling)
    assert (measured.energy_note is None) == (said is None)
    assert (said or "") in (measured.energy_note or "")


def test_without_a_meter_the_reason_is_given() -> None:
    measured = evaluate([run_of(STEADY)])
    assert measured.absent["energy_per_inference"] == "no power meter: none was asked for"
    assert measured.rails_j == {}


# What makes a measurement invalid


def invalid(run: Gathered) -> str:
    reason = evaluate([run]).invalid
    assert reason is not None
    return reason


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
