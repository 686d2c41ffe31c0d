"""--gaitperf-profile: the name of this kind of device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

def test_the_profile_names_the_folder_and_the_results(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nprofile = 'of-the-table'\n")
    grid = project.grid("steady")
    shown = project.run(
        grid,
        "--gaitperf-profile=bench-7",
        "--gaitperf-update=missing",
        "--gaitperf-json=results.json",
    )
    shown.assert_outcomes(passed=2, skipped=1)
    assert (project.path / "baselines" / "bench-7" / "steady.json").is_file()
    assert project.results()["profile"]["id"] == "bench-7"
    other = project.run(grid, "-k", "throughput")
    other.assert_outcomes(failed=1, deselected=2)
    other.stdout.fnmatch_lines(["*no baseline in baselines/of-the-table; record it with:"])


def test_a_name_that_cannot_be_a_folder_is_refused(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-profile=../other")
    shown.assert_outcomes(errors=3)
    assert shown.ret == pytest.ExitCode.INTERNAL_ERROR
    text = " ".join(shown.stdout.str().split())
    assert "profile name '../other' cannot name a baseline file" in text
    assert "Traceback" not in text
