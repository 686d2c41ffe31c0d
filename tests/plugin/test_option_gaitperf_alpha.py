"""--gaitperf-alpha: the chance of any false alarm in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

def test_a_smaller_alpha_widens_the_interval(project: Project) -> None:
    grid = project.grid("steady")
    project.run(grid, "--gaitperf-update=missing").assert_outcomes(passed=2, skipped=1)
    widths = []
    for alpha in ("0.4", "0.0001%"):
        project.run(grid, f"--gaitperf-alpha={alpha}", "--gaitperf-json=results.json")
        (cell,) = project.cells().values()
        judged = cell["judgements"]["throughput"]
        widths.append(judged["high"] - judged["low"])
    assert widths[1] > 2 * widths[0]


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-alpha", "1", "'1' is neither a percentage below 100% nor a number")
