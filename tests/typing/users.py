"""Code as users write it: checked by mypy and pyright, never run."""

from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import assert_type

import pytest_gaitperf as gaitperf
from pytest_gaitperf.engine.loading import Loaded
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.perf import Loader, Perf, PowerMeter
from pytest_gaitperf.triton.server import TritonServer

assert_type(gaitperf.__version__, str)


@pytest.mark.gaitperf(models="resnet*", batch_sizes=[1, 8], concurrencies=[4], tolerance="5%")
def test_gated(perf: Perf, perf_cell: gaitperf.Workload) -> None:
    assert_type(perf.gate(perf_cell, "throughput"), None)
    assert_type(perf.gate(perf_cell, "cpu"), None)
    assert_type(perf.require(perf_cell, "latency_p99 <= 40 ms", "throughput >= 25"), None)
    assert_type(perf_cell.model, str)
    assert_type(perf_cell.batch_size, int)
    assert_type(perf_cell.id, str)


def test_by_hand(perf: Perf) -> None:
    measurement = perf.measure(gaitperf.Workload("resnet50", batch_size=8, concurrency=4))
    assert_type(measurement, gaitperf.Measurement)
    p99 = measurement.metrics["latency_p99"]
    assert_type(p99, Estimate)
    assert p99.value < 0.040
    assert_type(p99.high, float | None)


def test_energy_of_a_block(power_meter: PowerMeter) -> None:
    with power_meter.measure() as spent:
        pass
    assert_type(spent.joules, float)
    assert_type(spent.mean_w, float)


def test_load(triton_load: Loader, triton_server: TritonServer) -> None:
    loaded = triton_load(gaitperf.Workload("resnet50", 1, 2), seconds=1.0)
    assert_type(loaded, Loaded)
    assert_type(loaded.throughput.value, float)
    assert_type(triton_server.url, str)
    assert_type(triton_server.models(), tuple[str, ...])


def pytest_gaitperf_verdict(
    workload: gaitperf.Workload, verdict: gaitperf.Verdict
) -> gaitperf.Verdict | None:
    assert_type(verdict.change, float | None)
    assert_type(verdict.kind, gaitperf.VerdictKind)
    return verdict if workload.batch_size > 1 else None


def pytest_gaitperf_finished(run: gaitperf.Run) -> None:
    assert_type(run.outcome, gaitperf.Outcome)
    assert_type(run.outcome.exit_code, int)
    for cell in run.cells:
        assert_type(cell, gaitperf.Cell)
        assert_type(cell.reasons, tuple[str, ...])


def read() -> list[str]:
    run = gaitperf.read_results(Path("results.json"))
    assert_type(run, gaitperf.Run)
    return [cell.id for cell in run.cells if cell.outcome is gaitperf.Outcome.RED]


class Wattmeter:
    """An exporter as a package of its own would have it."""

    def export(self, runs: list[gaitperf.Run], name: str) -> str:
        return f"{name}: {len(runs)}"
