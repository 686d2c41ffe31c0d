"""--gaitperf-models: only some of the grid's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED

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


OWN = """
import pytest

@pytest.mark.gaitperf(models="steady")
def test_steady(perf, perf_cell):
    perf.gate(perf_cell, "throughput")

@pytest.mark.gaitperf(models="slow")
def test_slow(perf, perf_cell):
    perf.gate(perf_cell, "throughput")
"""


def test_a_run_that_measures_nothing_since_its_grids_have_none_of_them_is_not_green(
    project: Project,
) -> None:
    project.pytester.makepyfile(test_own=OWN)
    options = (project.grid("steady"), "--gaitperf-models=slow", "--gaitperf-update=missing")
    none = project.run("test_own.py::test_steady", *options)
    none.assert_outcomes(skipped=1)
    assert none.ret == UNMEASURED
    why = "nothing was measured: the grid has no model of --gaitperf-models=slow"
    assert why in " ".join(none.stdout.str().split())
    some = project.run("test_own.py", *options)
    some.assert_outcomes(passed=1, skipped=1)
    assert some.ret == pytest.ExitCode.OK
