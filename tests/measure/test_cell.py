from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError, ServerError
from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from tests.load.fake_http2 import RST_STREAM, WINDOW_UPDATE, Http2, answer, frame
from tests.load.fake_server import FakeServer, Peer
from tests.power.fake_meter import FakeMeter
from tests.triton.infer import infer
from tests.triton.models import write_model

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer

QUICK = Budget(precision=0.2, budget_s=1.2)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_gaitperf.measure.cell._SHORTEST_WINDOW_S", 0.1)


def test_a_model_that_sleeps_20_ms_gives_a_little_less_than_50_a_second(
    measured_server: TritonServer,
) -> None:
    seen: list[tuple[float, float | None]] = []
    measured = measure(
        measured_server,
        Workload("sleepy", 1, 1),
        Metering(absent="none here"),
        QUICK,
        progress=lambda throughput, half_width: seen.append((throughput, half_width)),
    )
    assert measured.invalid is None
    assert 30 < measured.metrics["throughput"].value <= 50
    assert 0.02 <= measured.metrics["latency_p50"].value < 0.033
    assert measured.metrics["latency_p50"].low is not None
    assert measured.windows >= 6
    assert measured.requests == pytest.approx(
        measured.duration_s * measured.metrics["throughput"].value, abs=2
    )
    assert measured.time_split_s["compute_infer"] >= 0.02
    assert 0 < measured.metrics["server_cpu_per_inference"].value < 0.02
    assert measured.absent["energy_per_inference"] == "none here"
    assert 0 < measured.client_load < 0.5
    assert measured.failures == 0
    throughput, half_width = seen[-1]
    assert throughput == pytest.approx(measured.metrics["throughput"].value, rel=0.05)
    assert half_width is not None
    assert half_width <= QUICK.precision


@pytest.mark.slow
def test_a_cell_that_the_meter_lost_is_measured_once_more_and_the_next_one_is_not(
    measured_server: TritonServer,
) -> None:
    meter = FakeMeter(fail_at="trace")
    metering = Metering(meter)
    for calls in (2, 3):
        measured = measure(measured_server, Workload("identity", 1, 4), metering, QUICK)
        assert meter.calls.count("trace") == calls
    assert measured.energy_failed
    assert "throughput" in measured.metrics
    again = FakeMeter(fail_at="trace")
    measure(measured_server, Workload("identity", 1, 4), Metering(again), replace(QUICK, most_s=2))
    assert again.calls.count("trace") == 1  # the run has no time for another


def test_a_batch_counts_its_samples(measured_server: TritonServer) -> None:
    one = measure(measured_server, Workload("sleepy", 1, 2), Metering(), QUICK)
    eight = measure(measured_server, Workload("sleepy", 8, 2), Metering(), QUICK)
    ratio = eight.metrics["throughput"].value / one.metrics["throughput"].value
    assert 4 < ratio < 12
    assert (one.invalid, eight.invalid) == (None, None)


def test_another_client_is_noticed(measured_server: TritonServer) -> None:
    others: list[int] = []

    def meddle(_throughput: float, _half_width: float | None) -> None:
        if not others:
            others.append(infer(measured_server.url, "sleepy", batch=3)[0])

    measured = measure(
        measured_server, Workload("sleepy", 1, 1), Metering(), QUICK, progress=meddle
    )
    assert others == [200]
    assert measured.invalid is not None
    assert "another client uses the server" in measured.invalid


@pytest.mark.slow
def test_a_slow_model_gets_its_six_windows(measured_server: TritonServer) -> None:
    measured = measure(measured_server, Workload("slow", 1, 1), Metering(), Budget(0.02, 1.5))
    assert measured.windows >= 6
    assert 1.6 < measured.metrics["throughput"].value <= 1 / 0.3
    assert measured.invalid is None


def test_a_budget_too_small_says_how_much_is_needed(measured_server: TritonServer) -> None:
    with pytest.raises(MeasurementError, match=r"6 windows of 0\.1\d s .*--gaitperf-budget=\d"):
        measure(measured_server, Workload("slow", 1, 1), Metering(), Budget(0.02, 0.25))


def test_a_precision_out_of_reach_is_noted(measured_server: TritonServer) -> None:
    measured = measure(measured_server, Workload("identity", 1, 4), Metering(), Budget(1e-9, 1.2))
    assert measured.notes == ("the budget ended before the asked precision of 0.0%",)
    assert measured.metrics["latency_p99"].low is not None


def test_a_failing_model_is_an_error_and_the_server_goes_on(measured_server: TritonServer) -> None:
    with pytest.raises(MeasurementError, match=r"requests failed: HTTP 500: .*told to"):
        measure(measured_server, Workload("flaky", 1, 2), Metering(), QUICK)
    measured_server.check_alive()


def test_what_cannot_be_loaded_is_refused_before_the_load(measured_server: TritonServer) -> None:
    with pytest.raises(MeasurementError, match="'streams' cannot be measured so: it is decoupled"):
        measure(measured_server, Workload("streams", 1, 1), Metering(), QUICK)
    with pytest.raises(ConfigurationError, match="'INPUT0' has the dynamic shape"):
        measure(measured_server, Workload("dynamic", 1, 1), Metering(), QUICK)
    with pytest.raises(ConfigurationError, match="'nope' is not on this server"):
        measure(measured_server, Workload("nope", 1, 1), Metering(), QUICK)


def test_dynamic_shapes_of_the_workload_are_used(measured_server: TritonServer) -> None:
    workload = Workload("dynamic", 2, 1, shapes=(("INPUT0", (5, 2)),))
    assert measure(measured_server, workload, Metering(), Budget(0.5, 1.0)).invalid is None


# Power


def test_energy_from_the_meter_to_the_result(measured_server: TritonServer) -> None:
    meter = FakeMeter(minimum_window_s=0.1)
    measured = measure(measured_server, Workload("sleepy", 2, 1), Metering(meter), QUICK)
    assert meter.calls == ["start", "trace", "stop"]
    energy, throughput = measured.metrics["energy_per_inference"], measured.metrics["throughput"]
    assert energy.value * throughput.value == pytest.approx(10.0)
    assert measured.metrics["power_mean"].value == pytest.approx(10.0)
    assert measured.rails_j["GPU"] == pytest.approx(measured.rails_j["IN"] / 4)
    assert measured.energy_rails == ("IN",)
    assert measured.duration_s >= 5 * meter.minimum_window_s


@pytest.mark.parametrize("fail_at", ["start", "trace"])
def test_a_meter_that_fails_costs_the_energy_not_the_cell(
    measured_server: TritonServer, fail_at: str
) -> None:
    meter = FakeMeter(fail_at=fail_at)
    measured = measure(measured_server, Workload("sleepy", 1, 1), Metering(meter), QUICK)
    assert measured.invalid is None
    assert measured.absent["energy_per_inference"] == f"the fake sensor fails at {fail_at}"
    assert meter.calls[-1] == "stop"


# Ends that are not happy


def test_the_meter_is_stopped_when_the_run_is_interrupted(measured_server: TritonServer) -> None:
    meter = FakeMeter()

    def interrupt(_throughput: float, _half_width: float | None) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        measure(
            measured_server, Workload("sleepy", 1, 4), Metering(meter), QUICK, progress=interrupt
        )
    assert meter.calls == ["start", "stop"]
    measured_server.check_alive()


@pytest.mark.slow
def test_a_server_that_dies_under_load_is_named_with_its_log(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    repository = tmp_path_factory.mktemp("dying")
    write_model(repository, "identity")
    meter = FakeMeter()
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        assert server.process is not None
        pid = server.process.pid

        def kill(_throughput: float, _half_width: float | None) -> None:
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(ServerError, match=r"pid \d+\) .*SIGKILL(.|\n)*HTTPService"):
            measure(server, Workload("identity", 1, 8), Metering(meter), QUICK, progress=kill)
    assert meter.calls == ["start", "stop"]


@pytest.mark.slow
def test_calls_that_a_server_did_nothing_of_stand_in_the_notes(
    measured_server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_every_third(peer: Peer) -> None:
        http2 = Http2(peer)
        peer.send(frame(WINDOW_UPDATE, 0, 0, b"\x40\0\0\0"))
        while True:
            stream = http2.call()
            refused = (stream - 1) % 6 == 0
            peer.send(frame(RST_STREAM, 0, stream, b"\0\0\0\7") if refused else answer(stream))

    with FakeServer(refuse_every_third) as proxy:
        monkeypatch.setattr(measured_server, "grpc_port", proxy.port)
        measured = measure(
            measured_server,
            Workload("sleepy", 1, 1, protocol="grpc"),
            Metering(absent="none here"),
            QUICK,
        )
    assert measured.failures == 0, measured.invalid
    assert any("of which the server did nothing were sent again" in one for one in measured.notes)
