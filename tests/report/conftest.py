"""A run with cells as a big device gives them, without one: energy, rails, every verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pytest_gaitperf.engine.session import CellResult, Session
from pytest_gaitperf.measure.capacity.search import Answer, Probe

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.verdict import Policy, SessionValue, judge
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.progress import Progress
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

BASE = {
    "throughput": 1234.5,
    "latency_p50": 0.0213,
    "latency_p99": 0.0831,
    "energy_per_inference": 0.0123,
    "server_cpu_per_inference": 0.0009,
}


def measured(workload: Workload, factor: float) -> Measurement:
    """A measurement this much worse than the base."""
    values = {
        name: value / factor if name == "throughput" else value * factor
        for name, value in BASE.items()
    }
    return Measurement(
        workload=workload,
        metrics={
            name: Estimate(METRICS[name].unit, value, value * 0.99, value * 1.01)
            for name, value in values.items()
        },
        spread=dict.fromkeys(values, 0.01),
        spread_windows=dict.fromkeys(values, 12),
        windows=12,
        window_s=0.25,
        duration_s=3.0,
        requests=3000,
        failures=0,
        client_cpu_per_request_us=25.0,
        client_load=0.05,
        time_split_s={"queue": 0.001, "compute_infer": 0.018, "network": 0.002},
        rails_j={"VDD_IN": 15.0, "VDD_CPU_GPU_CV": 9.0, "VDD_SOC": 3.0},
        energy_rails=("VDD_IN",),
        estimated=False,
        absent={},
        notes=(),
        invalid=None,
        inferences=3000.0,
        energy_failed=False,
        energy_error=None,
        energy_note=None,
    )


def judged(result: CellResult, metric: str, sessions: int) -> Verdict:
    """The real verdict on a metric of a cell against so many sessions of the base."""
    assert result.measurement is not None
    baseline = [SessionValue(BASE[metric] * (1 + 0.002 * i), 0.01, 12) for i in range(sessions)]
    now = SessionValue(result.measurement.metrics[metric].value, 0.01, 12)
    return judge(metric, now, baseline, Policy(comparisons=8))


@pytest.fixture
def searched(pytestconfig: pytest.Config, tmp_path: Path) -> Session:
    """A search whose answer regressed, beside an ordinary cell of its model."""
    settings = Settings(invocation=("suites",), baselines=tmp_path, profile="agx-orin")
    session = Session(Resources(settings, None, Progress(pytestconfig)))
    result = CellResult(Workload("3D_fp32_0_batchd", 1, most_subjects=True))
    probes = (
        Probe(42.6, served=True, seconds=5.0, requests=5300, late=31, latency_s=0.037),
        Probe(
            44.3, served=False, seconds=0.7, requests=400, late=180, latency_s=0.081, growing=True
        ),
    )
    answer = Answer(42.6, 41.7, 45.2, probes[1], probes, settled=True, at=probes[0].subjects)
    result.measurement = replace(
        measured(result.workload, 1.0),
        metrics={
            "subjects": Estimate("subjects", 42.6, 41.7, 45.2),
            **measured(result.workload, 1.0).metrics,
        },
        search=answer,
    )
    baseline = [SessionValue(50.0 + 0.1 * i, 0.01, 12) for i in range(3)]
    now = SessionValue(42.6, 0.01, 12)
    result.verdicts = {"subjects": judge("subjects", now, baseline, Policy(comparisons=8))}
    good = CellResult(Workload("3D_fp32_0_batchd", 1, 1))
    good.measurement = measured(good.workload, 1.0)
    session.results = {r.workload: r for r in (result, good)}
    return session


@pytest.fixture
def run(pytestconfig: pytest.Config, tmp_path: Path) -> Session:
    """A regressed, a good, a missing and an unmeasured cell of models with long names."""
    settings = Settings(invocation=("suites",), baselines=tmp_path, profile="agx-orin")
    session = Session(Resources(settings, None, Progress(pytestconfig)))
    regressed = CellResult(Workload("3D_fp32_0_batchd", 8, 4))
    regressed.measurement = measured(regressed.workload, 1.6)
    regressed.model_change = "the model's files changed: sha256:0123456789ab -> sha256:ba9876543210"
    good = CellResult(Workload("3D_fp32_0_batchd", 32, 32))
    good.measurement = measured(good.workload, 1.0)
    for result in (regressed, good):
        result.verdicts = {
            metric: judged(result, metric, 3) for metric in BASE if "cpu" not in metric
        }
    missing = CellResult(Workload("a_model_with_a_name_longer_than_the_terminal_" * 2, 1, 1))
    missing.measurement = measured(missing.workload, 1.0)
    missing.verdicts = {"throughput": Verdict("throughput", VerdictKind.MISSING, "", now=1234.5)}
    lost = CellResult(Workload("[markup]", 1, 1), error=MeasurementError("it did not answer"))
    session.results = {r.workload: r for r in (regressed, good, missing, lost)}
    return session
