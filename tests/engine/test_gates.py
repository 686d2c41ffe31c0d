"""What a gate asks of a cell that is measured: what it has, and what holds for all its tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.marker import Marker
from pytest_gaitperf.config.policy import ANY, Rules, parse_limit
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.perf import Perf
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FACTS = Fingerprint("2.51.0", "in -> out", "http", "inline")
CELL = Workload("m", 1, 1)


@pytest.fixture
def engine_of(pytestconfig: pytest.Config, tmp_path: Path) -> Callable[..., Engine]:
    """Make an engine that has measured one cell, beside one recorded session of it."""

    def make(
        cell: Workload, now: dict[str, float], baseline: dict[str, float], **more: Any
    ) -> Engine:
        store = BaselineStore(tmp_path, "here", {})
        values = {name: Value(value, 0.01, 3) for name, value in baseline.items()}
        store.record(cell.model, cell.key, FACTS, values)
        store.write(Provenance(id="20261101T000000Z", time="2026-11-01T00:00:00Z"))
        settings = Settings(baselines=tmp_path, profile="here", lock="off", **more)
        engine = Engine(Resources(settings, None, TerminalProgress(pytestconfig)), lambda *_: None)
        measurement = Measurement(
            metrics={name: Estimate(METRICS[name].unit, value) for name, value in now.items()},
            spread=dict.fromkeys(now, 0.01),
            lives=3,
        )
        engine.measuring.cells[cell] = CellState(cell, measurement=measurement, fingerprint=FACTS)
        return engine

    return make


def gate(engine: Engine, cell: Workload, quantity: str, rules: Rules) -> None:
    """Gate a cell as a test does whose marker has these rules."""
    node = cast("pytest.Item", SimpleNamespace(user_properties=[]))
    Perf(node, engine, Marker("marker of test_it", (), rules)).gate(cell, quantity)


def test_a_limit_is_not_checked_on_a_cell_that_has_not_its_quantity(
    engine_of: Callable[..., Engine],
) -> None:
    search = Workload("m", 1, most_subjects=True)
    found = {"subjects": 4.0}
    limits = {"latency_p50": parse_limit("latency_p50 <= 1 ms")}
    engine = engine_of(search, found | {"latency_p50": 0.01}, found, limits=limits)
    with pytest.raises(pytest.skip.Exception, match="has no latency to gate, but energy and subj"):
        gate(engine, search, "latency", Rules())
    assert engine.measuring.cells[search].limits == {}


@pytest.mark.parametrize("rules", [Rules({ANY: 0.5}), Rules(must_hear={"throughput": 0.9})])
def test_what_a_marker_asks_of_a_cell_that_was_judged_by_something_else_is_refused(
    engine_of: Callable[..., Engine], rules: Rules
) -> None:
    usual = {"throughput": 100.0}
    engine = engine_of(CELL, usual, usual)
    gate(engine, CELL, "throughput", Rules())
    said = "marker of test_it: m-b1-c1 was judged before, by another tolerance: give all of its"
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match=said):
            gate(engine, CELL, "throughput", rules)


@pytest.mark.parametrize(("power", "missed"), [("none", False), ("auto", True)])
def test_goodput_per_joule_is_not_missed_where_energy_is_not_measured(
    engine_of: Callable[..., Engine], power: str, missed: bool
) -> None:
    due, now = Workload("m", 1, 1, deadline_s=0.02), {"goodput": 90.0}
    engine = engine_of(due, now, now | {"goodput_per_joule": 9.0}, power=power)
    assert engine.absent(due, "goodput") is None
    assert ("goodput" in engine.measuring.cells[due].lacking) is missed


def test_a_load_whose_server_could_not_be_asked_afterwards_is_unmeasured(
    engine_of: Callable[..., Engine],
) -> None:
    soak, values = Workload("m", 1, 1, sustained_s=60.0), {"sustained_throughput": 50.0}
    engine = engine_of(soak, values, values)
    engine.measuring.cells[soak].fingerprint = None
    with pytest.raises(pytest.fail.Exception, match="could not be asked afterwards"):
        gate(engine, soak, "sustained", Rules())
    assert list(engine.measuring.cells[soak].lacking) == ["sustained"]
