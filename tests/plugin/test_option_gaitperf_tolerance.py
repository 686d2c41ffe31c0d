"""--gaitperf-tolerance: the change that does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import baseline_files, make_faster

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_wide_tolerance_accepts_what_a_narrow_one_would_not(project: Project) -> None:
    project.record()
    make_faster(baseline_files(project), 1.6)
    # With so large an alpha the tolerance, not the noise of a busy machine, is the limit.
    options = (project.grid("steady"), "--gaitperf-json=results.json", "--gaitperf-alpha=0.9")
    wide = project.run(*options, "--gaitperf-tolerance=80%,latency_p50=85%")
    wide.assert_outcomes(passed=3, skipped=1)
    (cell,) = project.cells().values()
    judged = cell.verdicts["throughput"]
    assert judged.change is not None
    assert 0.2 < -judged.change < 0.6
    # A ratio of 1.8 either way: throughput may fall to 1/1.8 of the baseline.
    assert judged.limit == pytest.approx(-0.8 / 1.8, abs=0.001)
    assert cell.verdicts["latency_p50"].limit == pytest.approx(0.85, abs=0.001)


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-tolerance", "5%%", "'5%%' is neither a percentage below 100%")
