"""Memory and cold start of models by themselves, on a real Triton."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.planted_faults import CASES, measure, record, red_tests, run_once, write_models
from pytest_gaitperf.results import Outcome, VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import write_ensemble, write_model

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

ROOT = Path(__file__).parents[2]
PLANTED = ["--gaitperf-disturbed=95%", "--gaitperf-budget=4.2", "--gaitperf-lives=2"]
RESULTS = "--gaitperf-json=results.json"
MODEL = ("--gaitperf-lives=2", "--gaitperf-budget=5", RESULTS)


@pytest.fixture
def suite(project: Project) -> Project:
    shutil.copy(ROOT / "suites" / "test_models.py", project.path)
    return project


@pytest.fixture
def alone(offline: Project) -> Project:
    """The suite of models by themselves, and no other."""
    (offline.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_models.py", offline.path)
    return offline


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


@pytest.mark.slow
def test_a_model_takes_as_much_whichever_models_are_loaded_before(alone: Project) -> None:
    """The first model of a backend would take that along."""
    found = []
    for models in ("other,steady", "steady"):
        alone.run(alone.grid("other", "steady"), f"--gaitperf-models={models}", RESULTS)
        found.append(alone.measured("steady-model").metrics["server_memory_loaded"].value)
    assert found[0] == pytest.approx(found[1], rel=0.03)


@pytest.mark.slow
def test_without_any_load_the_memory_that_is_loaded_is_gated(alone: Project) -> None:
    recorded = alone.run(alone.grid("steady"), RESULTS, "--gaitperf-update=missing")
    recorded.assert_outcomes(passed=2, skipped=1)
    model = alone.path / "model_repository" / "steady" / "1" / "model.py"
    model.write_text(f"BALLAST = b'x' * (100 << 20)\n{model.read_text()}")
    shown = alone.run(alone.grid("steady"), RESULTS)
    assert shown.ret == Outcome.RED.exit_code
    kinds = {name: one.kind for name, one in alone.cells()["steady-model"].verdicts.items()}
    assert kinds["server_memory_loaded"] is VerdictKind.REGRESSED
    assert "server_memory_peak" not in kinds


@pytest.mark.slow
def test_an_ensemble_starts_with_its_steps_and_each_step_by_itself(alone: Project) -> None:
    """The server loads an ensemble's steps with it, and none that it has."""
    repository = alone.path / "model_repository"
    for name in ("one", "two"):
        write_model(repository, name, initialize_sleep_s=0.5)
    write_ensemble(repository, "both", "one", "two")
    write_ensemble(repository, "single", "one")
    write_ensemble(repository, "nested", "both", "one")
    alone.run(alone.grid("*"), RESULTS)
    metrics = {one.workload.model: one.measurement.metrics for one in measured_cells(alone)}
    assert all(
        metrics[name]["model_load_time"].value > 0.5 for name in ("both", "nested", "one", "single")
    )
    memory = {name: one["server_memory_loaded"].value for name, one in metrics.items()}
    for name in ("one", "two", "single"):
        assert memory[name] == pytest.approx(memory["steady"], rel=0.05)
    for name in ("both", "nested"):
        assert memory[name] == pytest.approx(2 * memory["steady"], rel=0.05)


@pytest.mark.slow
def test_what_a_model_spoils_is_its_own_and_no_number(alone: Project) -> None:
    """One dies of its first request, one refuses it, one is named as a folder above it is.

    One has a link that leads nowhere, and the smallest cannot be loaded.
    """
    repository = alone.path / "model_repository"
    for name, line in (("dying", "__import__('os')._exit(1)"), ("refusing", "1 / 0")):
        path = write_model(repository, name) / "1" / "model.py"
        begins = "        self.seen += 1\n"
        told = f"{begins}        if self.seen == 1:\n            {line}\n"
        path.write_text(path.read_text().replace(begins, told))
    write_model(repository, repository.name)
    (write_model(repository, "linked") / "1" / "weights").symlink_to("gone")
    (write_model(repository, "broken") / "1" / "model.py").write_text("1 / 0\n")
    alone.run(alone.grid("*"), RESULTS)
    assert "cannot read" in (alone.cells()["linked-model"].error or "")
    cells = {one.workload.model: one.measurement for one in measured_cells(alone)}
    for name in ("dying", "refusing"):
        assert "first_inference_latency" in cells[name].absent
    assert "its process has ended" in cells["dying"].absent["server_memory_loaded"]
    memory = {
        name: one.metrics["server_memory_loaded"].value
        for name, one in cells.items()
        if name != "dying"
    }
    assert memory == pytest.approx(dict.fromkeys(memory, memory["steady"]), rel=0.05)


def measured_cells(project: Project) -> list[Any]:
    return [cell for cell in project.cells().values() if cell.measurement is not None]


def attached(project: Project, server: TritonServer, *arguments: str) -> pytest.RunResult:
    url = f"--triton-url={server.url}"
    return project.run(url, project.grid("steady"), *MODEL, *arguments)
