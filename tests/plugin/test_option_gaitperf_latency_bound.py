"""--gaitperf-latency-bound: the best cells under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_best_cell_under_a_bound_stands_under_the_table_and_in_the_results(
    project: Project,
) -> None:
    grid = project.grid("steady", batches="[1, 8]")
    shown = project.run(
        grid, "-k", "throughput", "--gaitperf-latency-bound=300ms", "--gaitperf-json=results.json"
    )
    shown.assert_outcomes(failed=2, deselected=6)
    text = " ".join(shown.stdout.str().split())
    assert "frontier over p50, throughput: " in text
    # Two seconds of requests of 20 ms are too few for a p99.
    assert (
        "with latency_p99 <= 300 ms: no cell is surely under it (p99 not known in 2 cells)" in text
    )
    found = project.results()["frontier"]
    assert found["objectives"] == ["latency_p50", "throughput"]
    assert "steady-b8-c1" in found["cells"], "eight at once in the same time"
    assert found["best"] == {"throughput": None}


def test_a_bound_without_a_unit_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-latency-bound", "40", "'40' is not a positive number with a unit")
