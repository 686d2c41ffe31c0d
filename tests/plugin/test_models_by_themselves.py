"""Memory and cold start of models by themselves, on a real Triton."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.planted_faults import CASES, measure, record, red_tests, run_once, write_models
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

ROOT = Path(__file__).parents[2]
PLANTED = ["--gaitperf-disturbed=95%", "--gaitperf-budget=4.2", "--gaitperf-lives=2"]
MODEL = ("--gaitperf-lives=2", "--gaitperf-budget=5", "--gaitperf-json=results.json")


@pytest.fixture
def suite(project: Project) -> Project:
    shutil.copy(ROOT / "suites" / "test_models.py", project.path)
    return project


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two models, with sessions of them as they are."""
    path = tmp_path_factory.mktemp("planted")
    record(path, CASES[0], PLANTED, sessions=2, verbose=False)
    return path


@pytest.mark.slow
def test_a_leak_turns_its_own_test_red(planted: Path) -> None:
    leak = next(case for case in CASES if case.leaks)
    found = run_once(leak, planted, PLANTED, verbose=False)
    assert found["right"], found
    assert found["red"] == ["test_memory[suspect-model]"], found


@pytest.mark.slow
def test_slower_loading_turns_its_own_test_red(planted: Path) -> None:
    """Two sessions know little: three seconds in place of a fifth of one, which eight find."""
    write_models(planted / "model_repository", CASES[0])
    model = planted / "model_repository" / "suspect" / "1" / "model.py"
    model.write_text(model.read_text().replace("time.sleep(0.0)", "time.sleep(3.0)"))
    run = measure(planted, CASES[0], *PLANTED)
    assert run is not None
    assert red_tests(run) == ["test_cold_start[suspect-model]"]


@pytest.mark.slow
def test_a_server_that_had_loaded_its_models_is_not_measured_and_that_is_said_once(
    suite: Project,
) -> None:
    shown = suite.run(suite.grid("steady", "slow"), *MODEL, "-rs", "--gaitperf-update=missing")
    said = shown.stdout.str()
    assert said.count("load time, first inference: the server") == 1
    outcomes = {cell.id: cell.outcome for cell in suite.cells().values()}
    assert outcomes["steady-model"] is Outcome.GREEN, "nothing was expected of it"
    assert shown.ret == 0


@pytest.mark.slow
def test_the_models_of_an_attached_server_are_measured_from_the_second_life_on(
    suite: Project, served: Path
) -> None:
    options = ServerOptions(mode="local", repository=served, models=("steady",))
    with open_server(options) as server:
        attached(suite, server, "--gaitperf-update=missing")
        cell = suite.cells()["steady-model"]
        assert cell.measurement is not None
        assert cell.measurement.lives == 1
        assert {"model_load_time", "first_inference_latency", "server_memory_peak"} <= set(
            cell.measurement.metrics
        )
        assert "cannot be seen" in cell.measurement.absent["model_file_size"]
        once = attached(suite, server, "--gaitperf-lives=1")
    assert once.ret == Outcome.UNMEASURED.exit_code
    lacking = suite.cells()["steady-model"].lacking
    assert set(lacking) == {"memory", "cold_start"}
    assert "the baseline has it, and this run not" in lacking["cold_start"]


def attached(project: Project, server: TritonServer, *arguments: str) -> pytest.RunResult:
    url = f"--triton-url={server.url}"
    return project.run(url, project.grid("steady"), *MODEL, *arguments)
