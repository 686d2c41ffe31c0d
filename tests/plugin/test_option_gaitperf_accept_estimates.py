"""--gaitperf-accept-estimates: an estimate is shown, and counts only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def run(project: Project, *options: str) -> tuple[pytest.RunResult, str]:
    """Record a cell with an estimate; return what was shown and the baseline's text."""
    grid, estimate = project.grid("steady"), "--power=estimate:5"
    shown = project.run(
        grid, estimate, "--gaitperf-budget=3", "--gaitperf-update=missing", *options
    )
    (path,) = project.pytester.path.glob("baselines/*/steady.json")
    return shown, path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_estimate_is_marked_and_neither_gated_nor_recorded(project: Project) -> None:
    shown, recorded = run(project, "-rs")
    shown.assert_outcomes(passed=3, skipped=1)
    shown.stdout.fnmatch_lines(
        [
            "*power meter: ESTIMATED: CPU seconds of the server x 5 W, no sensor*",
            "*mJ/inf (estimate)*",
            "*energy mJ est.*verdict*",
            "*ENERGY IS ESTIMATED, not measured:*",
            "SKIPPED*the energy is an estimate, which is shown but not gated*",
        ]
    )
    assert "energy_per_inference" not in recorded
    assert "throughput" in recorded


@pytest.mark.slow
def test_an_accepted_estimate_is_recorded_under_its_watts(project: Project) -> None:
    shown, recorded = run(project, "--gaitperf-accept-estimates")
    shown.assert_outcomes(passed=4)
    assert '"estimate:5"]' in recorded
    other = project.run(
        project.grid("steady"), "--power=estimate:6", "--gaitperf-accept-estimates",
        "--gaitperf-tolerance=90%", "--gaitperf-budget=3", "-k", "energy",
    )  # fmt: skip
    other.assert_outcomes(failed=1, deselected=3)
    other.stdout.fnmatch_lines(["*energy incomparable*", "*was estimate:5, is estimate:6*"])
