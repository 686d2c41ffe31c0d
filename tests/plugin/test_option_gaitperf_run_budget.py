"""--gaitperf-run-budget: how long the whole run may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_run_without_time_measures_nothing_and_says_so(project: Project) -> None:
    shown = project.run(
        project.grid("steady"), "--gaitperf-run-budget=0.01", "--gaitperf-json=results.json"
    )
    shown.assert_outcomes(errors=3)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "could not be measured: of the run's budget 0.0 s are left, and a cell needs" in text
    assert "1 unmeasured" in text
    (cell,) = project.cells().values()
    assert "raise --gaitperf-run-budget" in str(cell.error)


def test_a_run_with_time_enough_is_measured_as_ever(project: Project) -> None:
    project.record()
    shown = project.run(project.grid("steady"), "--gaitperf-run-budget=600", "-k", "throughput")
    shown.assert_outcomes(passed=1, deselected=3)


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-run-budget", "0", "'0' is not a positive number of seconds")
