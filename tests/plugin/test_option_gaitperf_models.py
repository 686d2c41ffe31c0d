"""--gaitperf-models: only some of the grid's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def models(project: Project, *arguments: str) -> set[str]:
    shown = project.run("--collect-only", "-q", *arguments)
    assert shown.ret == pytest.ExitCode.OK, shown.stderr.str()
    return {line.partition("[")[2].partition("-b")[0] for line in shown.outlines if "::" in line}


def test_patterns_choose_models(project: Project) -> None:
    assert models(project, "--gaitperf-models=st*dy,slow") == {"steady", "slow"}


def test_the_command_line_wins_over_the_table(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nmodels = ['slow', 'text']\n")
    assert models(project) == {"slow", "text"}
    assert models(project, "--gaitperf-models=steady") == {"steady"}


def test_a_pattern_that_matches_nothing_lists_what_exists(project: Project) -> None:
    project.refuses(
        "--gaitperf-models",
        "unsteady",
        "no model matches 'unsteady' (did you mean 'steady'?); the models are: dynamic, flaky",
        named=False,
    )
