"""--gaitperf-update: what is recorded, and when nothing is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def sessions(project: Project) -> dict[str, int]:
    """How many sessions each recorded cell has."""
    return {
        f"{path.stem}-{key}": len(cell["sessions"])
        for path in baseline_files(project)
        for key, cell in json.loads(path.read_text())["cells"].items()
    }


def test_missing_records_only_what_is_missing(project: Project) -> None:
    project.record()
    shown = project.run(project.grid("steady", "slow"), "--gaitperf-update", "missing")
    shown.assert_outcomes(passed=6, skipped=2)
    assert sessions(project) == {"steady-b1-c1": 1, "slow-b1-c1": 1}
    shown.stdout.fnmatch_lines(
        ["slow", "* recorded", "baselines written: baselines/here: slow.json"]
    )


def test_none_on_the_command_line_wins_over_the_table(project: Project) -> None:
    project.record()
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nupdate = 'all'\n")
    before = {path: path.read_bytes() for path in baseline_files(project)}
    shown = project.run(project.grid("steady"), "--gaitperf-update=none", "-k", "throughput")
    shown.assert_outcomes(passed=1, deselected=3)
    assert {path: path.read_bytes() for path in baseline_files(project)} == before


def test_a_run_with_any_failure_records_nothing(project: Project) -> None:
    project.pytester.makepyfile(test_own="def test_fails(): assert False")
    shown = project.run(project.grid("steady"), "--gaitperf-update=missing")
    shown.assert_outcomes(passed=3, skipped=1, failed=1)
    assert "no baseline was written, since the run was not green" in shown.stdout.str()
    assert "recorded" not in shown.stdout.str()
    assert not (project.path / "baselines").exists()


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-update", "yes", "'yes'", "missing", "all")
