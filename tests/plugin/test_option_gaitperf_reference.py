"""--gaitperf-reference: suspects of the stored gate are confirmed beside earlier files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.baseline.recording import commit, git
from tests.plugin.baselines import baseline_files, make_faster
from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_revision_or_directory_without_models_is_refused_before_measuring(
    offline: Project,
) -> None:
    offline.refuses("--gaitperf-reference", "HEAD", "not in a git repository", named=False)
    commit(offline.path)
    (offline.path / "pyproject.toml").unlink()
    (offline.path / "empty").mkdir()
    git("rm", "-r", "-q", "--cached", "model_repository", directory=offline.path)
    commit_without = ("commit", "-q", "-m", "no models")
    git(*commit_without, directory=offline.path)
    for given, message in (
        ("nothing", "'nothing' is no revision of the git repository"),
        ("HEAD", "model_repository has no models in"),
        ("empty", "empty: no models are there"),
    ):
        shown = offline.run(f"--gaitperf-reference={given}", "--gaitperf-json=refused.json")
        text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
        assert shown.ret == pytest.ExitCode.USAGE_ERROR, text
        assert f"--gaitperf-reference={given}: " in text
        assert message in text
        assert not (offline.path / "refused.json").exists()


def test_a_server_that_runs_already_cannot_be_given_the_reference(project: Project) -> None:
    project.record()
    make_faster(baseline_files(project), 4.0)
    write_model(project.path / "before", "steady", sleep_s=0.005)
    shown = project.run(
        *(project.grid("steady"), "--gaitperf-reference=before", "-k", "throughput"),
        "--gaitperf-json=results.json",
    )
    assert shown.ret == pytest.ExitCode.TESTS_FAILED, shown.stdout.str()
    (cell,) = project.cells().values()
    assert cell.again is not None
    (note,) = project.results()["notes"]
    assert note.startswith("steady-b1-c1: not compared with before, but measured again: ")


@pytest.mark.slow
def test_suspects_are_red_where_the_pairs_show_it_too(offline: Project) -> None:
    # Both models seem slower than their baselines; since v1 only "other" has become so.
    commit(offline.path)
    git("tag", "v1", directory=offline.path)
    grid = offline.grid("*")
    recorded = offline.run(grid, "--gaitperf-update=missing", "-k", "throughput")
    assert recorded.ret == 0, recorded.stdout.str()
    make_faster(baseline_files(offline), 3.0)
    shutil.rmtree(offline.path / "model_repository" / "other")
    write_model(offline.path / "model_repository", "other", sleep_s=0.06)
    shown = offline.run(
        *(grid, "--gaitperf-reference=v1", "-k", "throughput", "--gaitperf-json=results.json"),
        *("--gaitperf-tolerance=50%", "--gaitperf-budget=4"),
    )
    assert shown.ret == pytest.ExitCode.TESTS_FAILED, shown.stdout.str()
    cells = offline.cells()
    other = cells["other-b1-c1"].verdicts["throughput"]
    assert other.kind.value == "regressed"
    assert other.blocks >= 4
    assert other.change == pytest.approx(-2 / 3, abs=0.1), "that beside the reference"
    assert "at first, beside the baseline: " in other.reason
    steady = cells["steady-b1-c1"].verdicts["throughput"]
    assert steady.kind.value == "inconclusive"
    assert "pairs with v1 did not confirm: first " in steady.reason
    assert cells["steady-b1-c1"].again is None
