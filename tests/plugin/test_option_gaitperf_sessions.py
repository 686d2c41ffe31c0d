"""--gaitperf-sessions: several sessions of the baseline from one run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_every_repetition_is_a_session_of_its_own(project: Project) -> None:
    shown = project.run(
        project.grid("steady"),
        "--gaitperf-sessions=3",
        "--gaitperf-update=missing",
        "--gaitperf-json=results.json",
    )
    shown.assert_outcomes(passed=3, skipped=1)
    shown.stdout.fnmatch_lines(
        [
            "1 cell to measure in each of 3 sessions (up to 2 s left)",
            "session 1/3, cell 1/1 steady-b1-c1: * inf/s*(about *left)",
            "the server is not restarted between sessions: they share its state",
            "session 2/3, cell 1/1 steady-b1-c1: * inf/s*(about *left)",
            "session 3/3, cell 1/1 steady-b1-c1: * inf/s*",
            "* recorded",
            "3 sessions recorded; the table shows the first",
        ]
    )
    (path,) = baseline_files(project)
    document = json.loads(path.read_text())
    times = [session["time"] for _, session in sorted(document["sessions"].items())]
    assert len(times) == 3
    assert times == project.results()["sessions"]["began"]
    measured = [project.measured(), *project.cells()["steady-b1-c1"].further]
    (recorded,) = document["cells"].values()
    assert [entries["throughput"][0] for _, entries in sorted(recorded["sessions"].items())] == [
        pytest.approx(one.metrics["throughput"].value, rel=1e-4) for one in measured
    ]


def test_without_an_update_it_is_refused_on_the_command_line_alone(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-sessions=3")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "nothing is to be recorded: add --gaitperf-update=missing or --gaitperf-up" in said
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nsessions = 3\n")
    shown = project.run(project.grid("steady"), "--collect-only", "-q")
    assert shown.ret == pytest.ExitCode.OK


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-sessions", "0", "'0' is not a whole number of 1 or more")


def test_more_than_a_baseline_keeps_is_refused(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-sessions=11", "--gaitperf-update=all")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "a baseline keeps the last 10 sessions of a cell; give at most 10" in said
