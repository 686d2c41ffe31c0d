"""CPU and the percentiles: gated where they can be had, unmeasured where they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.baseline.admission import percentile_margin
from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.record import record
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import GATED, METRICS, QUANTITIES, Estimate, quantity_of
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.results import Outcome, Run, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CELL = Workload("m", 1, 1)
FACTS = Fingerprint("2.51.0", "in -> out", "http", "inline")
USUAL = {"throughput": 100.0, "latency_p50": 0.01, "latency_p90": 0.012, "latency_p95": 0.013}
P99, CPU = {"latency_p99": 0.02}, {"server_cpu_per_inference": 0.005}
JUST_P99, CLEARLY_P99 = 700, 3000
"""Requests: p99 needs 662, is recorded from 993 on, and expected to be recorded from 1490 on."""


def measured(values: dict[str, float], requests: int = JUST_P99) -> Measurement:
    return Measurement(
        metrics={name: Estimate(METRICS[name].unit, value) for name, value in values.items()},
        absent={"latency_p99": "662 requests are needed"},
        spread=dict.fromkeys(values, 0.01),
        lives=3,
        requests=requests,
    )


@pytest.fixture
def engine_of(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Engine]:
    """Make an engine that measures what it is told, against a session with other metrics."""

    def make(
        now: dict[str, float], baseline: dict[str, float], requests: int = JUST_P99, **more: Any
    ) -> Engine:
        store = BaselineStore(tmp_path, "here", {})
        if baseline:
            values = {name: Value(value, 0.01, 3) for name, value in baseline.items()}
            store.record(CELL.model, CELL.key, FACTS, values)
            store.write(Provenance(id="20261101T000000Z", time="2026-11-01T00:00:00Z"))
        settings = Settings(baselines=tmp_path, profile="here", lock="off", lives=1, **more)
        engine = Engine(Resources(settings, None, TerminalProgress(pytestconfig)), lambda *_: None)
        again = measured(now, requests)
        monkeypatch.setattr(engine.measuring, "_measured", lambda *_: again)
        monkeypatch.setattr(engine.measuring._fingerprints, "of", lambda *_: FACTS)
        monkeypatch.setattr(engine.resources, "restart_server", lambda: None)
        monkeypatch.setattr(engine.resources, "served", dict.fromkeys)
        engine.resources.plan([CELL], others=False)
        engine.run_planned()
        return engine

    return make


def gated(engine: Engine, quantity: str) -> tuple[str | None, dict[str, VerdictKind]]:
    """Do what ``perf.gate`` does; return why there is nothing, and the verdicts by metric."""
    absent = engine.absent(CELL, quantity)
    verdicts = [] if absent is not None else engine.verdicts(CELL, quantity)
    return absent, {verdict.metric: verdict.kind for verdict in verdicts}


def run_of(engine: Engine) -> Run:
    return settled(record(engine))


def test_every_gated_metric_has_its_quantity() -> None:
    assert {metric: quantity_of(metric) for metric in GATED} == {
        metric: quantity for quantity, metrics in QUANTITIES.items() for metric in metrics
    }
    assert [quantity_of(name) for name in ("latency_mean", "power_mean")] == ["latency", "energy"]


def test_a_percentile_that_the_baseline_has_and_the_run_lacks_is_unmeasured(
    engine_of: Callable[..., Engine],
) -> None:
    engine = engine_of(USUAL, USUAL | P99)
    absent, verdicts = gated(engine, "latency")
    assert absent is None
    assert verdicts == dict.fromkeys(QUANTITIES["latency"][:3], VerdictKind.PASS)
    run = run_of(engine)
    assert run.outcome is Outcome.UNMEASURED
    assert run.cells[0].lacking == {
        "latency": "the baseline has it, and this run not: p99: 662 requests are needed"
    }


def test_what_else_regressed_is_red_all_the_same(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(USUAL | {"latency_p50": 0.03}, USUAL | P99)
    assert gated(engine, "latency")[1]["latency_p50"] is VerdictKind.REGRESSED
    assert run_of(engine).outcome is Outcome.RED


@pytest.mark.parametrize(
    ("requests", "outcome"), [(JUST_P99, Outcome.GREEN), (CLEARLY_P99, Outcome.UNMEASURED)]
)
def test_a_percentile_that_can_be_had_for_the_first_time_is_unmeasured(
    engine_of: Callable[..., Engine], requests: int, outcome: Outcome
) -> None:
    engine = engine_of(USUAL | P99, USUAL, requests)
    _, verdicts = gated(engine, "latency")
    missing = {name for name, kind in verdicts.items() if kind is VerdictKind.MISSING}
    assert missing == (set(P99) if outcome is Outcome.UNMEASURED else set())
    assert run_of(engine).outcome is outcome


def test_a_run_that_records_all_may_record_without_a_percentile(
    engine_of: Callable[..., Engine],
) -> None:
    engine = engine_of(USUAL, USUAL | P99, update="all")
    gated(engine, "latency")
    assert run_of(engine).cells[0].lacking == {}


def test_a_percentile_is_recorded_with_requests_to_spare() -> None:
    assert percentile_margin(measured(P99, 993), "latency_p99") == 1.5
    assert percentile_margin(measured(P99, 992), "latency_p99") < 1.5
    for metric in ("latency_p50", "throughput"):
        assert percentile_margin(measured(USUAL, 11), metric) > 100


def test_cpu_is_gated(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(USUAL | {"server_cpu_per_inference": 0.008}, USUAL | CPU)
    absent, verdicts = gated(engine, "cpu")
    assert absent is None
    assert verdicts == {"server_cpu_per_inference": VerdictKind.REGRESSED}
    assert run_of(engine).outcome is Outcome.RED


@pytest.mark.parametrize("baseline", [USUAL, USUAL | CPU])
def test_cpu_that_cannot_be_seen_is_unmeasured_where_the_baseline_has_it(
    engine_of: Callable[..., Engine], baseline: dict[str, float]
) -> None:
    engine = engine_of(USUAL, baseline)
    absent, verdicts = gated(engine, "cpu")
    assert verdicts == {}
    assert str(absent).endswith("server_cpu_per_inference: it was not measured")
    outcome = Outcome.UNMEASURED if "server_cpu_per_inference" in baseline else Outcome.GREEN
    assert run_of(engine).outcome is outcome
