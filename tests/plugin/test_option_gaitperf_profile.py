"""--gaitperf-profile: the name of this kind of device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_profile_names_the_folder_and_the_results(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nprofile = 'of-the-table'\n")
    options = [option for option in project.options if "profile" not in option]
    grid, json = project.grid("steady"), "--gaitperf-json=results.json"
    shown = project.pytester.runpytest_inprocess(*options, grid, json, "-k", "throughput")
    shown.assert_outcomes(failed=1, deselected=3)
    shown.stdout.fnmatch_lines(["*no baseline in baselines/of-the-table; record it with:"])
    assert project.results()["profile"]["id"] == "of-the-table"


def test_the_option_wins_over_the_table(project: Project) -> None:
    project.record()
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nprofile = 'of-the-table'\n")
    shown = project.run(project.grid("steady"), "-k", "throughput")
    shown.assert_outcomes(passed=1, deselected=3)
    shown.stdout.fnmatch_lines(["profile here: green: 1 pass"])


def test_a_name_that_cannot_be_a_folder_is_refused(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-profile=../other")
    shown.assert_outcomes(errors=3)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "profile name '../other' cannot name a baseline file" in text
    assert "Traceback" not in text
