"""Recorded cells that a run of the whole suite had none of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.running import asks_for_all
from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_whole_run_names_them_and_removes_nothing(project: Project) -> None:
    project.record()
    (path,) = baseline_files(project)
    path.with_name("gone.json").write_text(path.read_text().replace('"steady"', '"gone"'))
    before = {path: path.read_bytes() for path in baseline_files(project)}
    grid, results = project.grid("steady"), "--gaitperf-json=results.json"
    shown = project.run(grid, results)
    shown.assert_outcomes(passed=3, skipped=1)
    shown.stdout.fnmatch_lines(
        [
            "1 recorded cell not in this suite (gone: b1-c1); remove what is gone with:",
            "  gaitperf baseline prune --results results.json",
        ]
    )
    document = project.results()
    assert (document["full_run"], document["orphans"]) == (True, {"gone": ["b1-c1"]})
    assert {path: path.read_bytes() for path in baseline_files(project)} == before

    shown = project.run(grid, results, "-k", "throughput")
    assert "recorded cell" not in shown.stdout.str()
    document = project.results()
    assert (document["full_run"], document["orphans"]) == (False, {})


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        ((), True),
        (("suites",), True),
        (("suites", "--ff"), True),
        (("suites/test_grid.py",), False),
        (("suites/test_grid.py::test_throughput",), False),
        (("suites", "--lf"), False),
        (("suites", "--stepwise"), False),
        (("suites", "--ignore=suites/test_other.py"), False),
    ],
)
def test_only_whole_directories_are_a_whole_suite(
    pytester: pytest.Pytester, arguments: tuple[str, ...], whole: bool
) -> None:
    (pytester.path / "suites").mkdir()
    (pytester.path / "suites" / "test_grid.py").write_text("")
    assert asks_for_all(pytester.parseconfig(*arguments)) is whole
