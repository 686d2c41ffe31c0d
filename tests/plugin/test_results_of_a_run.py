"""What a real run writes fits the schema that is published for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.report.results_schema import misfits

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_results_of_a_run_fit_their_schema(project: Project) -> None:
    project.record()
    project.run(
        *(project.grid("steady", "refusing"), "--gaitperf-json=results.json"),
        *("--gaitperf-limit=throughput >= 1", "--power=estimate:5", "--gaitperf-accept-estimates"),
    )
    cells = project.cells()
    assert cells["refusing-b1-c1"].error
    assert "throughput" in cells["steady-b1-c1"].verdicts
    assert cells["steady-b1-c1"].limits
    assert misfits(project.results()) == []
