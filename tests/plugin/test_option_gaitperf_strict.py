"""--gaitperf-strict: a verdict that is not sure fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_provisional_verdict_is_not_green_when_strict(project: Project) -> None:
    project.record()
    shown = project.run(project.grid("steady"), "-k", "throughput", "--gaitperf-strict")
    shown.assert_outcomes(failed=1, deselected=3)
    assert shown.ret == UNMEASURED
    shown.stdout.fnmatch_lines(["throughput pass: *", "*(limit *, 1 session: provisional; *"])


def test_a_bad_value_is_refused(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nstrict = 'perhaps'\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *: strict: 'perhaps' is neither true nor false"])
