"""A run from end to end: one outcome in every output, its phases, and the hooks of a project."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from pytest_gaitperf import Outcome, read_results
from pytest_gaitperf.report.exporters import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.results import Run
    from tests.plugin.conftest import Project


def junit(project: Project) -> ET.Element:
    """Read the suite of the JUnit file that this test had written."""
    return ET.parse(project.path / "junit.xml").getroot()[0]  # noqa: S314 - our own


def properties(element: ET.Element) -> dict[str | None, str | None]:
    """Return the properties of a suite or of a test."""
    return {one.get("name"): one.get("value") for one in element.findall("properties/property")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "baseline", "limit"),
    [("green", True, "1 s"), ("red", True, "1 ms"), ("unmeasured", False, "1 s")],
)
def test_every_output_tells_the_same_outcome(
    project: Project, outcome: str, *, baseline: bool, limit: str
) -> None:
    if baseline:
        project.record()
    shown = project.run(
        *(project.grid("steady"), "-k", "latency", f"--gaitperf-limit=latency_p50 <= {limit}"),
        *("--gaitperf-json=results.json", "--gaitperf-report=page.html", "--junitxml=junit.xml"),
        "--gaitperf-summary=summary.md",
    )

    assert shown.ret == Outcome(outcome).exit_code
    shown.assert_outcomes(**{"passed" if outcome == "green" else "failed": 1}, deselected=3)
    document = project.results()
    assert document["outcome"] == outcome
    assert [cell["outcome"] for cell in document["cells"]] == [outcome]
    suite = junit(project)
    assert properties(suite)["gaitperf.outcome"] == outcome
    assert [properties(case)["gaitperf.outcome"] for case in suite.iter("testcase")] == [outcome]
    page = (project.path / "page.html").read_text()
    assert re.findall(r'<html lang="en" data-outcome="(\w+)"', page) == [outcome]
    assert re.findall(r'data-verdict="[^"]*" data-outcome="(\w+)"', page) == [outcome], "its cell"
    assert f" gaitperf: {outcome}: " in (project.path / "summary.md").read_text()
    assert re.search(rf"^outcome: {outcome}( |$)", shown.stdout.str(), re.MULTILINE)


def test_measuring_is_no_tests_time(project: Project) -> None:
    project.record()
    shown = project.run_apart(
        *(project.grid("steady"), "--timeout=2", "--gaitperf-budget=3"),
        *("--gaitperf-precision=0.01%", "--gaitperf-json=results.json", "--junitxml=junit.xml"),
    )

    shown.assert_outcomes(passed=3, skipped=1)
    assert project.results()["measuring_s"] > 2, "longer than a test may take"
    shown.stdout.fnmatch_lines(["measured in * s"])
    assert all(float(case.get("time", "inf")) < 1 for case in junit(project).iter("testcase"))


HOOKS = """
from msgspec.structs import replace

from pytest_gaitperf import VerdictKind

def pytest_gaitperf_prepare_models(repository, models, say, update):
    say(f"preparing {' '.join(models)} of {repository}, update: {update}")

def pytest_gaitperf_verdict(workload, verdict):
    if verdict.kind is VerdictKind.MISSING and workload.model == "steady":
        return replace(verdict, kind=VerdictKind.PASS, reason="a new model is welcome")

def pytest_gaitperf_record(run):
    return {"mine": {"cells": len(run.cells)}}

def pytest_gaitperf_finished(run):
    with open("finished.txt", "w") as file:
        file.write(f"{run.outcome.value} {run.extra} ")
"""


def test_a_project_can_have_its_say_through_the_hooks(offline: Project) -> None:
    offline.pytester.makeconftest(HOOKS)
    shown = offline.run(offline.grid("steady"), "-k", "throughput", "--gaitperf-json=results.json")

    shown.assert_outcomes(passed=1, deselected=3)
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(["preparing steady of *model_repository, update: True"])
    document = offline.results()
    (verdict,) = document["cells"][0]["verdicts"].values()
    assert (verdict["kind"], verdict["reason"]) == ("pass", "a new model is welcome")
    assert document["extra"] == {"mine": {"cells": 1}}
    assert (offline.path / "finished.txt").read_text() == "green {'mine': {'cells': 1}} "


@pytest.mark.parametrize("body", ["raise OSError('no room')", "return {'mine': object()}"])
def test_a_hook_that_breaks_is_a_problem_of_the_run_and_costs_no_results(
    project: Project, body: str
) -> None:
    project.pytester.makeconftest(f"def pytest_gaitperf_record(run):\n    {body}\n")
    project.record()
    shown = project.run(project.grid("steady"), "-k", "throughput", "--gaitperf-json=results.json")

    shown.assert_outcomes(passed=1, deselected=3)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    (problem,) = project.results()["problems"]
    assert problem.startswith("pytest_gaitperf_record: ")
    assert list(project.cells()) == ["steady-b1-c1"]


class Broken:
    """An exporter of another package."""

    def export(self, runs: Sequence[Run], name: str) -> str:
        raise LookupError(f"{name} of {len(runs)}")


def test_what_cannot_be_written_is_in_the_results_and_keeps_nothing_else_from_being_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "broken", Broken())
    project.record()
    shown = project.run(
        *(project.grid("steady"), "-k", "throughput", "--gaitperf-json=results.json"),
        *("--gaitperf-report=/dev/full", "--gaitperf-export=broken:b.txt"),
        "--gaitperf-export=csv:cells.csv",
    )

    shown.assert_outcomes(passed=1, deselected=3)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    document = project.results()
    assert document["outcome"] == "unmeasured"
    page, export = document["problems"]
    assert page.startswith("/dev/full cannot be written")
    assert export == "the exporter of broken failed: LookupError('b.txt of 1')"
    assert (project.path / "cells.csv").exists()


def test_a_grid_that_cannot_be_is_an_error_of_its_own_test(project: Project) -> None:
    project.record()
    (project.path / "test_grid.py").write_text(
        """
import pytest

@pytest.mark.gaitperf(models="no_such_model")
def test_none(perf, perf_cell):
    perf.gate(perf_cell, "throughput")

@pytest.mark.gaitperf(models="steady", batch_sizes=[99])
def test_too_large(perf_cell):
    raise AssertionError

def test_steady(perf, perf_cell):
    perf.gate(perf_cell, "throughput")

def test_plain():
    pass
"""
    )
    shown = project.run(project.grid("steady"), "--gaitperf-json=results.json")

    shown.assert_outcomes(passed=2, errors=2)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    shown.stdout.fnmatch_lines_random(
        [
            "marker gaitperf of test_grid.py::test_none: no model matches 'no_such_model'; *",
            "marker gaitperf of test_grid.py::test_too_large: batch size 99 for model 'steady', *",
        ]
    )
    assert "Traceback" not in shown.stdout.str()
    assert list(project.cells()) == ["steady-b1-c1"]
    assert project.cells()["steady-b1-c1"].outcome is Outcome.GREEN


def test_what_a_fixture_cannot_give_is_unmeasured_and_what_a_test_finds_is_red(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = offline.path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no device >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (offline.path / "test_grid.py").write_text(
        """
from pytest_gaitperf import Workload

def test_server(triton_server): pass

def test_loaded(triton_load):
    triton_load(Workload("steady", 1, 1), seconds=0.1)

def test_plain(): pass

def test_red(perf):
    raise AssertionError
"""
    )
    shown = offline.run("-k", "not red")
    shown.assert_outcomes(passed=1, failed=1, errors=1, deselected=1)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert "no device" in shown.stdout.str()
    shown = offline.run()
    shown.assert_outcomes(passed=1, failed=2, errors=1)
    assert shown.ret == Outcome.RED.exit_code


def test_a_module_that_cannot_be_collected_is_red_and_the_run_no_whole_one(
    project: Project,
) -> None:
    project.pytester.makepyfile(test_broken="import nothing_of_that_name")
    shown = project.run(
        *(project.grid("steady"), "--continue-on-collection-errors"),
        "--gaitperf-json=results.json",
    )
    shown.assert_outcomes(failed=3, skipped=1, errors=1)
    assert shown.ret == Outcome.RED.exit_code, "what has no baseline is unmeasured"
    run = read_results(project.path / "results.json")
    assert run.outcome is Outcome.RED
    assert "collecting 1 module failed" in run.reasons
    assert not run.full_run
