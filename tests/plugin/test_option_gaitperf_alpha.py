"""--gaitperf-alpha: the chance of any false alarm in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_smaller_alpha_moves_the_limit_away(project: Project) -> None:
    project.record()
    shown = project.run(
        *(project.grid("steady"), "--gaitperf-json=results.json"),
        *("--gaitperf-alpha=0.0000001%", "--gaitperf-tolerance=20%"),
    )
    shown.assert_outcomes(passed=3, skipped=1)
    (cell,) = project.cells().values()
    # The tolerance of 20 % alone gives -0.2 / 1.2; six normal SDs of 2.5 % x sqrt(2) are more.
    throughput, latency = (cell.verdicts[one].limit for one in ("throughput", "latency_p50"))
    assert throughput is not None
    assert throughput < -0.185
    assert latency is not None
    assert latency > 0.22


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-alpha", "1", "'1' is neither a percentage below 100% nor a number")
