"""--gaitperf-baselines: where the baselines are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_directory_is_the_one_asked_for(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nbaselines = 'not/this'\n")
    where = ("-k", "throughput", project.grid("steady"), "--gaitperf-baselines=kept/here")
    shown = project.run(*where, "--gaitperf-update=missing")
    shown.assert_outcomes(passed=1, deselected=3)
    shown.stdout.fnmatch_lines(["baselines written: kept/here/*"])
    assert len(list((project.path / "kept" / "here").glob("*/steady.json"))) == 1
    assert not (project.path / "baselines").exists()
    assert not (project.path / "not").exists()


def test_a_directory_that_cannot_be_written_is_found_before_anything_is_measured(
    project: Project,
) -> None:
    # A file in place of the directory: that stops even root, who may run the tests.
    (project.path / "kept").write_text("not a directory")
    shown = project.run(
        project.grid("steady"), "--gaitperf-baselines=kept", "--gaitperf-update=missing"
    )
    shown.assert_outcomes(errors=3)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "kept" in text
    assert "name another with --gaitperf-baselines; nothing was measured" in text
    assert "inf/s +-" not in text


def test_a_table_entry_of_the_wrong_kind_is_refused(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nbaselines = 3\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *: baselines: 3 is not text: put it in quotes"])
