"""The frontier under the table and in the results file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pytest_gaitperf.engine.session import CellResult, Session

from pytest_gaitperf.config.policy import parse_limit
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.progress import Progress
from pytest_gaitperf.report.results import results, write_results
from pytest_gaitperf.workload import Workload
from tests.report.conftest import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_gaitperf.measurement import Measurement

    Cells = Mapping[tuple[str, int], Mapping[str, float]]
    Maker = Callable[[Cells, Settings], Session]

# Of each model and batch size: p50 (s), throughput (inf/s), joules, p99 (s).
CELLS = {
    ("large", 1): {"p50": 0.02, "rate": 50.0, "joules": 0.20, "p99": 0.025},
    ("large", 4): {"p50": 0.06, "rate": 66.0, "joules": 0.15, "p99": 0.075},
    ("small", 1): {"p50": 0.01, "rate": 100.0, "joules": 0.10, "p99": 0.015},
    ("small", 4): {"p50": 0.03, "rate": 133.0, "joules": 0.08, "p99": 0.0399},
    ("small", 8): {"p50": 0.06, "rate": 130.0, "joules": 0.09, "p99": 0.075},
}
NAMES = {
    "p50": "latency_p50",
    "rate": "throughput",
    "joules": "energy_per_inference",
    "p99": "latency_p99",
}


def measurement(model: str, batch: int, values: Mapping[str, float]) -> Measurement:
    """One cell, each value known to 0.5 %."""
    return replace(
        measured(Workload(model, batch, 1), 1.0),
        metrics={
            NAMES[name]: Estimate(METRICS[NAMES[name]].unit, value, value * 0.995, value * 1.005)
            for name, value in values.items()
        },
    )


@pytest.fixture
def session_of(pytestconfig: pytest.Config) -> Maker:
    def make(cells: Cells, settings: Settings) -> Session:
        session = Session(Resources(settings, None, Progress(pytestconfig)))
        for (model, batch), values in cells.items():
            item = measurement(model, batch, values)
            session.results[item.workload] = CellResult(item.workload, item)
        return session

    return make


def test_the_frontier_over_latency_and_energy_and_the_best_cells_under_a_bound(
    session_of: Maker,
) -> None:
    settings = Settings(latency_bound=parse_limit("latency_p99 <= 40 ms"))
    lines = frontier_lines(session_of(CELLS, settings))
    assert lines[0] == "frontier over p50, energy: 2 of 5 cells:"
    assert [line.split() for line in lines[1:3]] == [
        ["small-b1-c1", "10.00", "ms", "100.0", "mJ"],
        ["small-b4-c1", "30.00", "ms", "80.00", "mJ"],
    ]
    # The interval of small-b4-c1's p99 reaches over 40 ms: it is not surely under it.
    assert lines[3] == (
        "with latency_p99 <= 40 ms: most throughput: small-b1-c1, 100.0 inf/s; "
        "least energy: small-b1-c1, 100.0 mJ"
    )
    assert len(lines) == 4


def test_an_accuracy_table_keeps_the_accurate_model_and_leaves_out_unknown_ones(
    session_of: Maker, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("large,95%\nsmall,90%\n")
    cells = {**CELLS, ("new", 1): CELLS["small", 1]}
    session = session_of(cells, Settings(accuracy=tmp_path / "a.csv"))
    data = results(session).frontier
    assert data is not None
    assert data.objectives == ["latency_p50", "energy_per_inference", "accuracy"]
    assert data.cells == ["small-b1-c1", "large-b1-c1", "small-b4-c1", "large-b4-c1"]
    assert data.left_out == {"new-b1-c1": "the accuracy of new is not known"}
    lines = frontier_lines(session)
    assert lines[0] == "frontier over p50, energy, accuracy: 4 of 5 cells:"
    assert lines[2].split()[-1] == "95.0%"
    assert lines[-1] == "not compared: new-b1-c1: the accuracy of new is not known"
    assert len(lines) == 6


def test_without_energy_throughput_takes_its_place(session_of: Maker) -> None:
    cells = {
        cell: {name: value for name, value in values.items() if name != "joules"}
        for cell, values in CELLS.items()
    }
    data = results(session_of(cells, Settings(power="none"))).frontier
    assert data is not None
    assert data.objectives == ["latency_p50", "throughput"]
    assert data.cells == ["small-b1-c1", "small-b4-c1"]


def test_at_most_six_lines_and_the_rest_in_the_results(session_of: Maker, tmp_path: Path) -> None:
    cells = {
        ("a" if size % 2 else "b", size): {"p50": 0.01 * size, "joules": 1 / size, "rate": 1.0}
        for size in range(1, 21)
    }
    session = session_of(cells, Settings())
    lines = frontier_lines(session)
    assert lines[0] == "frontier over p50, energy: 20 of 20 cells, among them:"
    assert len(lines) == 6
    assert (lines[1].split()[0], lines[-1].split()[0]) == ("a-b1-c1", "b-b20-c1")
    assert all(line in closing_lines(session) for line in lines)
    write_results(session, tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())["frontier"]
    assert len(written["cells"]) == 20
    assert written["best"] == {}


def test_one_model_shows_no_frontier_unasked_and_nothing_is_under_an_unknown_p99(
    session_of: Maker,
) -> None:
    cells = {("m", size): {"p50": 0.01 * size, "rate": 1.0, "joules": 1 / size} for size in (1, 2)}
    assert frontier_lines(session_of(cells, Settings())) == []
    bound = Settings(latency_bound=parse_limit("latency_p99 <= 1 s"))
    assert frontier_lines(session_of(cells, bound))[-1] == (
        "with latency_p99 <= 1 s: no cell is surely under it (p99 not known in 2 cells)"
    )
    single = {key: cells[key] for key in [("m", 1)]}
    assert frontier_lines(session_of(single, bound)) == []
    assert results(session_of(single, bound)).frontier is None
