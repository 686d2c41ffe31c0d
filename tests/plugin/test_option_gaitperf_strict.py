"""--gaitperf-strict: a verdict that is not sure fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

def test_a_provisional_verdict_passes_and_fails_only_when_strict(project: Project) -> None:
    grid = project.grid("steady")
    project.run(grid, "--gaitperf-update=missing").assert_outcomes(passed=2, skipped=1)
    lax = project.run(grid, "-k", "throughput")
    lax.assert_outcomes(passed=1, deselected=2)
    lax.stdout.fnmatch_lines(["* provisional: the baseline has 1 session; record 2 more, *"])
    strict = project.run(grid, "-k", "throughput", "--gaitperf-strict")
    strict.assert_outcomes(failed=1, deselected=2)
    assert strict.ret == pytest.ExitCode.TESTS_FAILED
    strict.stdout.fnmatch_lines(["throughput pass: *", "*(limit *, 1 session: provisional; *"])
    ini = project.run(grid, "-k", "throughput", "-o", "gaitperf_strict=yes")
    ini.assert_outcomes(failed=1, deselected=2)


def test_a_bad_value_is_refused(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nstrict = 'perhaps'\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *: strict: 'perhaps' is neither true nor false"])
