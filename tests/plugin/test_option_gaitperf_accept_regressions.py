"""--gaitperf-accept-regressions: a worse level becomes the baseline because somebody said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf import Outcome, read_results
from tests.plugin.baselines import baseline_files, kinds, make_faster

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def recorded(project: Project) -> dict[str, Any]:
    """The sessions of the only recorded cell."""
    (path,) = baseline_files(project)
    (cell,) = json.loads(path.read_text())["cells"].values()
    sessions: dict[str, Any] = cell["sessions"]
    return sessions


@pytest.mark.slow
def test_a_regression_enters_the_baseline_only_when_it_is_accepted(project: Project) -> None:
    project.record()
    make_faster(baseline_files(project), 3.0)
    (old,) = recorded(project)
    before = baseline_files(project)[0].read_bytes()
    arguments = (project.grid("steady"), "--gaitperf-update=all", "-k", "throughput")
    command = "  pytest * -k throughput --gaitperf-update=all --gaitperf-accept-regressions"
    refused = project.run(*arguments)
    refused.assert_outcomes(failed=1, deselected=3)
    refused.stdout.fnmatch_lines(
        [
            "  to accept it as the new level:",
            command,
            "* regressed",
            "no baseline was written, since the run was not green: *",
            "1 cell regressed; to accept that as the new level:",
            command,
        ]
    )
    assert [path.read_bytes() for path in baseline_files(project)] == [before]

    accepted = project.run(*arguments, "--gaitperf-accept-regressions", "--gaitperf-json=r.json")
    accepted.assert_outcomes(passed=1, deselected=3)
    accepted.stdout.fnmatch_lines(
        [
            "* -[5-9]?.?%! * regressed, accepted",
            "profile here: green: 1 regressed, accepted",
            "steady-b1-c1: a new history of 1 session begins, *",
        ]
    )
    (new,) = recorded(project)
    assert new != old
    said = read_results(project.path / "r.json")
    assert said.policy.accept_regressions
    assert said.outcome is Outcome.GREEN
    assert kinds(said.cells[0])["throughput"] == "regressed"


@pytest.mark.parametrize("update", ["none", "missing"])
def test_without_an_update_of_all_it_is_refused(project: Project, update: str) -> None:
    shown = project.run(
        project.grid("steady"), "--gaitperf-accept-regressions", f"--gaitperf-update={update}"
    )
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert f"--gaitperf-update={update} records over none: add --gaitperf-update=all" in said
