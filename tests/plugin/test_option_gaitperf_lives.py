"""--gaitperf-lives: in how many lives of the models' processes each cell is measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

LIVES = ("--gaitperf-lives=2", "--gaitperf-budget=5", "--gaitperf-json=results.json")


@pytest.fixture(scope="module")
def controlled(served: Path) -> Iterator[TritonServer]:
    """A server whose models may be loaded and unloaded."""
    options = ServerOptions(mode="local", repository=served, models=("steady", "two"))
    with open_server(options) as server:
        yield server


def attached(project: Project, server: TritonServer, *arguments: str) -> pytest.RunResult:
    return project.run(f"--triton-url={server.url}", project.grid("steady"), *LIVES, *arguments)


@pytest.mark.slow
def test_the_models_of_a_server_that_allows_it_are_loaded_anew(
    project: Project, controlled: TritonServer
) -> None:
    before = controlled.cpu_clocks()
    shown = attached(project, controlled, "--gaitperf-update=missing")
    shown.assert_outcomes(passed=3, skipped=1)
    shown.stdout.fnmatch_lines(
        ["1 cell to measure in 2 lives (up to * left)", "life 2 of 2", "life 2/2, cell 1/1 steady*"]
    )
    assert set(controlled.cpu_clocks()) - set(before), "a stub of its own for the second life"
    assert set(before) & set(controlled.cpu_clocks()), "the other model's stub is the same"
    assert {"steady", "two"} <= set(controlled.models())
    measured = project.measured()
    assert measured.lives == 2
    assert measured.spread["server_cpu_per_inference"] > 0
    assert project.results()["sessions"]["lives"] == 2
    (path,) = baseline_files(project)
    (cell,) = json.loads(path.read_text())["cells"].values()
    (entries,) = cell["sessions"].values()
    assert entries["throughput"][1] == pytest.approx(measured.spread["throughput"], rel=0.01)
    assert entries["throughput"][2] == 2


@pytest.mark.slow
def test_a_server_of_ours_is_started_anew(offline: Project) -> None:
    shown = offline.run(offline.grid("steady", "other"), *LIVES, "--gaitperf-update=missing")
    shown.assert_outcomes(passed=6, skipped=2)
    assert shown.stdout.str().count("life 2 of 2") == 1
    assert [one.measurement.lives for one in offline.cells().values() if one.measurement] == [2, 2]
    assert list(offline.cells()) == ["steady-b1-c1", "other-b1-c1"], "as planned"


@pytest.mark.slow
def test_where_no_other_life_can_be_had_that_is_said_once(
    project: Project, server: TritonServer
) -> None:
    project.record()
    shown = attached(project, server)
    said = "neither is ours nor lets its models be unloaded: each cell is measured in one life"
    assert shown.stdout.str().count(said) == 1
    assert (project.measured().lives, project.measured().spread) == (1, {})


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-lives", "0", "'0' is not a whole number of 1 or more")
