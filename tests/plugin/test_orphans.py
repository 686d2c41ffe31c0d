"""Recorded cells that a run of the whole suite had none of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pytest_gaitperf.engine.orphans import asks_for_all, orphans
from pytest_gaitperf.engine.session import CellResult, Session

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.report.progress import Progress
from pytest_gaitperf.workload import Workload
from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project


def test_a_whole_run_names_them_and_removes_nothing(project: Project) -> None:
    project.record()
    (path,) = baseline_files(project)
    path.with_name("gone.json").write_text(path.read_text().replace('"steady"', '"gone"'))
    before = {path: path.read_bytes() for path in baseline_files(project)}
    grid, results = project.grid("steady"), "--gaitperf-json=results.json"
    shown = project.run(grid, results)
    shown.assert_outcomes(passed=2, skipped=1)
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


@pytest.mark.parametrize(
    ("grid", "recorded", "expected"),
    [
        ("quick", Workload("m", 8, 32), {}),
        ("quick", Workload("m", 64, 1), {"m": ["b64-c1"]}),
        ("quick", Workload("m", 1, request_rate=5.0), {"m": ["b1-r5"]}),
        ("quick", Workload("gone", 1, 1), {"gone": ["b1-c1"]}),
        ("grid.toml", Workload("m", 8, 32), {"m": ["b8-c32"]}),
        ("grid.toml", Workload("m", 8, 32, protocol="grpc"), {}),
        ("grid.toml", Workload("m", 1, 1), {}),
    ],
)
def test_what_another_run_may_ask_for_is_no_orphan(
    pytestconfig: pytest.Config,
    tmp_path: Path,
    grid: str,
    recorded: Workload,
    expected: dict[str, list[str]],
) -> None:
    settings = Settings(baselines=tmp_path, profile="here", grid=grid)
    session = Session(Resources(settings, None, Progress(pytestconfig)))
    facts = Fingerprint("2.51.0", "in -> out", recorded.protocol, recorded.transport)
    store = BaselineStore(tmp_path, "here", {})
    store.record(recorded.model, recorded.key, facts, {"throughput": Value(1.0)})
    store.write(Provenance("a", "2026-11-22T00:00:00Z"))
    session.results[Workload("m", 1, 1)] = CellResult(Workload("m", 1, 1))
    assert orphans(session) == expected
