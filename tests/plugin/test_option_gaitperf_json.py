"""--gaitperf-json: everything, in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_it_is_written_into_folders_that_are_not_there_yet(project: Project) -> None:
    shown = project.run(
        project.grid("steady"), "-k", "throughput", "--gaitperf-json=out/deep/r.json"
    )
    shown.stdout.fnmatch_lines(["results written: out/deep/r.json"])
    assert list(project.cells("out/deep/r.json")) == ["steady-b1-c1"]
    assert [path.name for path in (project.path / "out" / "deep").iterdir()] == ["r.json"]


def test_a_file_that_cannot_be_written_is_found_before_anything_is_measured(
    project: Project,
) -> None:
    # A file in place of the directory: that stops even root, who may run the tests.
    (project.path / "out").write_text("not a directory")
    shown = project.run(project.grid("steady"), "--gaitperf-json=out/r.json")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "out/r.json cannot be written" in text
    assert "give a path in a directory" in text
    assert "inf/s +-" not in text
    assert (project.path / "out").read_text() == "not a directory"
