"""--gaitperf-relative-to: each cell beside the same load of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.report.relative import ratios, relative_lines
from pytest_gaitperf.report.table import table
from pytest_gaitperf.workload import Workload
from tests.report.runs import BASE, cell, lost, run

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_each_cell_is_set_beside_the_same_load_of_the_model(project: Project) -> None:
    grid = project.grid("slow", "steady")
    options = ("-k", "throughput", "--gaitperf-update=missing", "--gaitperf-json=results.json")
    shown = project.run(grid, "--gaitperf-relative-to=slow", *options)
    assert project.results()["relative_to"] == "slow"
    lines = shown.outlines
    header = next(line for line in lines if "verdict" in line)
    assert header.split()[-5:] == ["CPU", "ms", "faster", "x", "verdict"]
    (said,) = (line for line in lines if line.startswith("steady beside slow: "))
    # 30 ms of sleep beside 20 ms, and what a request costs.
    assert 1.2 < float(said.removeprefix("steady beside slow: ").partition("x faster")[0]) < 1.6


def test_a_model_that_is_not_measured_is_refused_before_measuring(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-relative-to=stedy")
    assert shown.ret == 4
    shown.stderr.fnmatch_lines(
        ["*relative-to=stedy: no cell of it is measured (did you mean 'steady'?); the models are:*"]
    )


def test_energy_counts_where_both_have_it_and_estimates_are_called_so() -> None:
    cells = [
        cell(Workload("fast", 1, 1)),
        cell(Workload("fast", 8, 1)),
        cell(Workload("big", 1, 1), factor=2.0),
        cell(Workload("dark", 1, 1), values={"latency_p50": BASE["latency_p50"] * 4}),
        lost(Workload("big", 8, 1)),
    ]
    found = run(*cells, relative_to="fast")
    assert ratios(found, "faster") == {
        "fast-b1-c1": 1.0,
        "fast-b8-c1": 1.0,
        "big-b1-c1": 0.5,
        "dark-b1-c1": 0.25,
    }
    assert set(ratios(found, "less_energy")) == {"fast-b1-c1", "fast-b8-c1", "big-b1-c1"}
    assert relative_lines(found) == [
        "big beside fast: 0.50x faster, 0.50x less energy",
        "dark beside fast: 0.25x faster",
    ]
    assert "less energy" in table(found, width=200, colour=False)
    assert "less energy" not in table(run(*cells), width=200, colour=False)
    guessed = cell(Workload("fast", 1, 1), measurement={"energy_estimated": True})
    shown = table(run(guessed, *cells[1:], relative_to="fast"), width=200, colour=False)
    assert "less energy x est." in " ".join(shown.split())
    assert relative_lines(run(*cells)) == []
