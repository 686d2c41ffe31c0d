"""--gaitperf-summary and what GitHub gets without asking: its job summary and annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_an_unmeasured_run_on_github_is_summed_up_and_annotated(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "job.md"))
    grid = project.grid("steady", "refusing")
    shown = project.run(grid, "-q", "-k", "throughput", "--gaitperf-summary=out/own.md")
    shown.assert_outcomes(failed=1, errors=1, deselected=6)
    job = (project.path / "job.md").read_text()
    assert job == (project.path / "out" / "own.md").read_text()
    assert job.startswith(
        "## ⚠️ gaitperf: unmeasured: 1 unmeasured, 1 missing (of 2 cells)\n\n"
        "profile here · Triton 2."
    )
    assert "| steady&#45;b1&#45;c1 | throughput | missing |" in job
    place = f"file={project.path.name}/test_grid.py,line="
    commands = [line for line in shown.outlines if line.startswith("::")]
    assert commands[0].startswith(f"::warning title=test_throughput[steady-b1-c1],{place}")
    assert "::throughput missing%0A" in commands[0]
    assert commands[1].startswith("::warning title=refusing-b1-c1::unmeasured: ")
    assert len(commands) == 2


def test_elsewhere_nothing_is_annotated(project: Project) -> None:
    project.record()
    shown = project.run(project.grid("steady"), "-k", "throughput", "--gaitperf-summary=out/own.md")
    assert (project.path / "out" / "own.md").read_text().startswith("## ")
    assert not [line for line in shown.outlines if line.startswith("::")]


def test_an_unwritable_summary_is_refused_before_anything_is_measured(project: Project) -> None:
    (project.path / "out").write_text("not a directory")
    shown = project.run(project.grid("steady"), "--gaitperf-summary=out/own.md")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: out/own.md cannot be written *"])
    assert "to measure" not in shown.stdout.str()


def test_a_job_summary_that_cannot_be_written_is_only_warned_of(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is GitHub's file, and for reading only."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path))
    project.record()
    shown = project.run(project.grid("steady"), "-k", "throughput")
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(["warning: no job summary in *"])
