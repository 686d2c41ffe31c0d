"""--gaitperf-report: the run as one HTML page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_it_is_written_after_a_failure_too_with_what_was_measured(project: Project) -> None:
    shown = project.run(
        project.grid("steady", "refusing"), "-k", "throughput", "--gaitperf-report=out/r.html"
    )
    assert shown.ret != pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(["report written: out/r.html"])
    text = (project.path / "out" / "r.html").read_text()
    assert 'href="#cell=steady-b1-c1"' in text
    assert "unmeasured: 1 unmeasured, 1 missing (of 2 cells)" in text
    assert [path.name for path in (project.path / "out").iterdir()] == ["r.html"]


def test_a_file_that_cannot_be_written_is_found_before_anything_is_measured(
    project: Project,
) -> None:
    (project.path / "out").write_text("not a directory")
    shown = project.run(project.grid("steady"), "--gaitperf-report=out/r.html")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "out/r.html cannot be written" in text
    assert "inf/s +-" not in text


def test_without_plotly_it_says_what_to_install_before_anything_is_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    shown = project.run(project.grid("steady"), "--gaitperf-report=r.html")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "pip install 'pytest-gaitperf[report]'" in text
    assert "inf/s +-" not in text
    assert "Traceback" not in text
    assert not (project.path / "r.html").exists()
