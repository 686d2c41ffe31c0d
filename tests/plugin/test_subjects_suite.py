"""The suite's real-time tests, as a user runs them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import ROOT

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# The model "slow" takes 30 ms.
OPTIONS = ("--gaitperf-deadline=20 ms", "--gaitperf-models=slow", "--gaitperf-update=missing")


@pytest.fixture
def subjects(project: Project) -> Project:
    """The project with the real-time tests in place of the grid's."""
    (project.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_subjects.py", project.path)
    return project


@pytest.mark.slow
def test_a_model_that_serves_nobody_is_measured_and_recorded_and_loads_beyond_are_skipped(
    subjects: Project,
) -> None:
    shown = subjects.run(*OPTIONS, "--gaitperf-json=results.json", "-rs")
    shown.assert_outcomes(passed=1, skipped=10)
    shown.stdout.fnmatch_lines(
        [
            "1/4 slow-b1-most-20ms: 0 subjects (capacity 0.*",
            "* b1-most-20ms *0 (0.*) *recorded",
            "SKIPPED*b1-most-20ms found 0.* subjects served: more are not measured",
        ]
    )
    (cell,) = subjects.cells().values()
    assert cell.measurement is not None
    assert 0 < cell.measurement.metrics["subjects"].value <= 20 / 30
    assert cell.measurement.capacity is not None
    assert cell.measurement.capacity.subjects < 1
    recorded = json.loads((subjects.path / "baselines" / "here" / "slow.json").read_text())
    (sessions,) = recorded["cells"]["b1-most-20ms"]["sessions"].values()
    assert "subjects" in sessions
    assert "throughput" not in sessions, "the load is the answer"


def test_there_are_no_pairs_of_searches(subjects: Project) -> None:
    shown = subjects.run("--gaitperf-models=slow", "--gaitperf-against=2", "-rs")
    shown.assert_outcomes(skipped=11)
    shown.stdout.fnmatch_lines(
        [
            "SKIPPED*searching for the most subjects has no pairs: leave --gaitperf-against out",
            "SKIPPED*so that nothing tells whether so many are served",
        ]
    )
