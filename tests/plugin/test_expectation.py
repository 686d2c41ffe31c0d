"""What a run is expected to show, and what becomes of models that cannot be measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import Outcome, VerdictKind, read_results
from tests.plugin.baselines import baseline_files
from tests.triton.models import write_broken_config, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf import Run
    from tests.plugin.conftest import Project

JSON = "--gaitperf-json=results.json"
OTHERS = ("slow", "dynamic", "flaky", "refusing", "text", "two", "streaming", "remembering")
ONLY_STEADY = ("*", *(f"!{name}" for name in OTHERS))


def result(project: Project) -> Run:
    return read_results(project.path / "results.json")


def recorded_as(project: Project, *names: str) -> None:
    """Record "steady", and have the same baseline for models of other names."""
    project.record()
    (path,) = baseline_files(project)
    for name in names:
        path.with_name(f"{name}.json").write_text(path.read_text().replace('"steady"', f'"{name}"'))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("spoilt", "model 'spoilt' could not be loaded: *no weights here*"),
        ("gone", "model 'gone' is not on this server*"),
    ],
)
def test_a_recorded_model_that_is_not_served_is_unmeasured_and_named(
    project: Project, name: str, reason: str
) -> None:
    recorded_as(project, name)
    grid = project.grid(*ONLY_STEADY)
    shown = project.run(grid, JSON)
    run = result(project)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert {cell.id: cell.outcome for cell in run.cells} == {
        "steady-b1-c1": Outcome.GREEN,
        f"{name}-b1-c1": Outcome.UNMEASURED,
    }
    shown.stdout.fnmatch_lines([f"{name}-b1-c1 could not be measured: {reason}"])
    assert run.outcome is Outcome.UNMEASURED
    assert f"{name}-b1-c1: model '{name}' " in " ".join(run.reasons)
    others = {"spoilt"} - {name}
    assert {note.split(": ")[1] for note in run.notes} == others, "named, and no more"


@pytest.mark.parametrize(
    "narrower",
    ["-k=steady", "--gaitperf-models=steady", "test_grid.py::test_latency[steady-b1-c1]"],
)
def test_a_run_that_is_narrower_than_the_baselines_expects_less(
    project: Project, narrower: str
) -> None:
    recorded_as(project, "gone")
    grid = project.grid(*ONLY_STEADY)
    assert project.run(grid, narrower).ret == pytest.ExitCode.OK


def test_models_that_nobody_expects_are_named_and_spoil_nothing(project: Project) -> None:
    shown = project.run(
        *(
            "--gaitperf-models=s*,two,d*,!slow,!streaming",
            "-k",
            "c1",
            "--gaitperf-update=missing",
            JSON,
        )
    )
    run = result(project)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert {cell.id for cell in run.cells} == {"steady-b1-c1", "steady-b4-c1", "two-b1-c1"}
    assert [path.stem for path in baseline_files(project)] == ["steady", "two"]
    notes = "\n".join(run.notes)
    for name, reason in (
        ("dynamic", "give its shape in the grid file"),
        ("spoilt", "no weights here"),
        ("two", "it takes no batches"),
    ):
        assert sum(f": {name}: " in note for note in run.notes) == 1, notes
        assert reason in notes


@pytest.mark.parametrize("name", ["spoilt"])
def test_a_model_that_the_user_named_is_expected(project: Project, name: str) -> None:
    project.record()
    arguments = (project.grid("*"), "-k", "throughput", JSON)
    shown = project.run(*arguments, f"--gaitperf-models=steady,{name}")
    assert shown.ret == Outcome.UNMEASURED.exit_code
    outcomes = {cell.id: cell.outcome for cell in result(project).cells}
    assert outcomes == {"steady-b1-c1": Outcome.GREEN, f"{name}-b1-c1": Outcome.UNMEASURED}


@pytest.mark.parametrize("name", ["spoilt", "dynamic"])
def test_a_run_that_measured_nothing_is_not_green(project: Project, name: str) -> None:
    shown = project.run(project.grid(f"{name[:-1]}?"), "--gaitperf-update=missing", JSON)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert result(project).outcome is Outcome.UNMEASURED


def test_a_gate_that_judged_nothing_is_not_green(project: Project) -> None:
    project.record()
    grid = project.grid("steady")
    shown = project.run(grid, "-k", "energy")
    assert shown.ret == Outcome.UNMEASURED.exit_code
    shown.stdout.fnmatch_lines(["unmeasured: nothing was judged: every gate was skipped, *"])
    assert project.run(grid, "-k", "energy or throughput").ret == pytest.ExitCode.OK


def odd_repository(repository: Path) -> None:
    """Add to a repository what others' repositories have."""
    write_broken_config(repository, "broken")
    write_model(repository, "copied")
    config = repository / "copied" / "config.pbtxt"
    config.write_text('name: "original"\n' + config.read_text())
    write_model(repository, "latin")
    config = repository / "latin" / "config.pbtxt"
    config.write_bytes(b"# gr\xf6\xdfer\n" + config.read_bytes())
    write_model(repository, "template")
    config = repository / "template" / "config.pbtxt"
    config.write_text(config.read_text() + "instance_group [ { count: ${instances} } ]\n")
    write_model(repository, "sequence", extra_config="sequence_batching { }")
    write_model(repository, "unbatched", max_batch_size=0)
    (repository / ".git").mkdir()
    (repository / "notes").mkdir()


@pytest.mark.slow
def test_in_a_repository_what_can_be_measured_is_measured_and_the_rest_is_named(
    offline: Project,
) -> None:
    odd_repository(offline.path / "model_repository")
    (offline.path / "grid.toml").write_text("concurrencies = [1]\n")
    shown = offline.run(
        *("--gaitperf-grid=grid.toml", "-k", "throughput", "--gaitperf-models=!other"),
        *("--gaitperf-update=missing", JSON),
    )
    run = result(offline)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    measured = {cell.id for cell in run.cells}
    assert {"steady-b1-c1", "steady-b4-c1", "unbatched-b1-c1"} <= measured
    named = {name for note in run.notes for name in note.split(": ")[1].split(", ")}
    assert {"broken", "copied", "template", "sequence", "notes", "unbatched"} <= named
    assert "latin" in named or "latin-b1-c1" in measured, "as the server has it"
    assert ".git" not in named
    assert "broken/config.pbtxt:3:" in "\n".join(run.notes)


@pytest.mark.slow
def test_a_recorded_model_without_its_folder_is_unmeasured(offline: Project) -> None:
    grid = offline.grid("*")
    assert offline.run(grid, "--gaitperf-update=missing").ret == pytest.ExitCode.OK
    (offline.path / "model_repository" / "other").rename(offline.path / "moved")
    shown = offline.run(grid, JSON, "-k", "throughput")
    assert shown.ret == Outcome.UNMEASURED.exit_code
    outcomes = {cell.id: cell.outcome for cell in result(offline).cells}
    assert outcomes == {"steady-b1-c1": Outcome.GREEN, "other-b1-c1": Outcome.UNMEASURED}
    shown.stdout.fnmatch_lines(["*model 'other' is not on this server*"])


@pytest.mark.parametrize("update", ["none", "all"])
def test_a_baseline_of_another_device_is_incomparable_and_stays(
    project: Project, update: str
) -> None:
    project.record()
    (path,) = baseline_files(project)
    document = json.loads(path.read_text())
    document["profile"]["fields"]["cpu"] = "Cortex-A57"
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    arguments = (project.grid("steady"), "-k", "throughput", f"--gaitperf-update={update}", JSON)
    shown = project.run(*arguments)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    (verdict,) = result(project).cells[0].verdicts.values()
    assert verdict.kind is VerdictKind.INCOMPARABLE
    assert "cpu was Cortex-A57, is " in verdict.reason
    assert path.read_bytes() == before
