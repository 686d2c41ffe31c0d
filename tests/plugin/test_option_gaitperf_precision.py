"""--gaitperf-precision: when a cell is known well enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.slow
def test_a_coarse_precision_ends_a_cell_early_and_a_fine_one_uses_the_budget(
    project: Project,
) -> None:
    grid = project.grid("steady")
    output = ("--gaitperf-json=results.json", "-k", "throughput", "--gaitperf-update=missing")
    # Too short for a p90, which is else waited for.
    project.run(grid, *output, "--gaitperf-budget=1.2", "--gaitperf-precision=90%")
    coarse = project.measured()
    assert coarse.windows == 6, "the fewest there may be"
    assert not coarse.notes
    shown = project.run(grid, *output, "--gaitperf-precision=0.0001%")
    assert list(project.measured().notes) == ["the budget ended before the asked precision of 0.0%"]
    shown.stdout.fnmatch_lines(["steady-b1-c1: the budget ended before the asked precision*"])


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-precision", "2", "'2' is neither a percentage below 100% nor a")
