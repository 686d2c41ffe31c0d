"""Which cells become tests, in which order, and what pytest's own selection does to them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


def ids(shown: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2].split()[0] for line in shown.outlines if "::" in line]


def test_ids_read_well_and_are_grouped_by_cell(project: Project) -> None:
    grid = project.grid("steady", "slow", batches="[1, 8]", concurrencies="[4]")
    shown = project.run("--collect-only", "-q", grid)
    assert ids(shown) == [
        f"test_{quantity}[{cell}]"
        for cell in ("steady-b1-c4", "steady-b8-c4", "slow-b1-c4", "slow-b8-c4")
        for quantity in ("throughput", "latency", "energy", "cpu")
    ]


def test_collecting_starts_no_server_and_writes_no_results(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = offline.path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {offline.path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    shown = offline.run("--collect-only", "-q", "--gaitperf-json=r.json", "-p", "no:cacheprovider")
    assert shown.ret == pytest.ExitCode.OK
    assert len(ids(shown)) == 2 * 4 * 4
    assert "gaitperf ==" not in shown.stdout.str()
    assert not (offline.path / "started").exists()
    assert not (offline.path / "r.json").exists()
    offline.run("-k", "steady-b1-c1")
    assert (offline.path / "started").exists(), "this server is the one that would be started"


def test_the_quantities_share_one_measurement(project: Project, server: TritonServer) -> None:
    project.record()
    before = server.statistics("steady").inference_count
    shown = project.run(project.grid("steady"), "--gaitperf-json=results.json", "-v")
    shown.assert_outcomes(passed=3, skipped=1)
    sent = server.statistics("steady").inference_count - before
    requests = project.measured().requests
    # A warm-up is a quarter of the budget: two measurements would be over twice the requests.
    assert requests < sent < 2 * requests
    assert shown.stdout.str().count("1/1 steady-b1-c1: ") == 1


def test_k_measures_only_what_is_left(project: Project, server: TritonServer) -> None:
    project.record()
    before = server.statistics("slow").inference_count
    shown = project.run(project.grid("steady", "slow"), "-k", "latency and steady", "-v")
    shown.assert_outcomes(passed=1, deselected=7)
    shown.stdout.fnmatch_lines(["*1/1 steady-b1-c1: *", "profile here: green: 1 pass"])
    assert server.statistics("slow").inference_count == before


@pytest.mark.slow
def test_x_stops_at_the_first_red_test_and_lf_goes_on_there(project: Project) -> None:
    project.record()
    grid, json = project.grid("steady", "slow", "text"), "--gaitperf-json=results.json"
    # Beside the other tests a machine's CPU time is not steady.
    unsteady = "--gaitperf-tolerance=server_cpu_per_inference=99%"
    shown = project.run(grid, json, unsteady, "-x")
    shown.assert_outcomes(passed=3, skipped=1, failed=1)
    cells = ["steady-b1-c1", "slow-b1-c1", "text-b1-c1"]
    assert list(project.cells()) == cells, "all are measured before the first is judged"
    shown = project.run(grid, json, unsteady, "--lf")
    shown.assert_outcomes(failed=1)
    assert list(project.cells()) == ["slow-b1-c1"]


def test_a_marker_narrows_the_grid_and_the_option_narrows_it_further(project: Project) -> None:
    project.pytester.makepyfile(
        test_grid="""
        import pytest

        @pytest.mark.gaitperf(models=["s*"], batch_sizes=[2], concurrencies=[3, 5])
        def test_one(perf_cell, perf): pass

        @pytest.mark.gaitperf(models="flaky")
        def test_two(perf_cell, perf): pass
        """
    )
    shown = project.run("--collect-only", "-q", "--gaitperf-models=slow,flaky")
    # In which order the tests of several functions come, pytest's versions differ.
    assert sorted(ids(shown)) == [
        "test_one[slow-b2-c3]",
        "test_one[slow-b2-c5]",
        *(f"test_two[flaky-b{b}-c{c}]" for b in (1, 4) for c in (1, 4)),
    ]
    shown = project.run("-q", "--gaitperf-models=slow", "-k", "test_two", "-rs")
    shown.assert_outcomes(skipped=1, deselected=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("model='steady'", "unknown key 'model' (did you mean 'models'?); the keys are models, b"),
        ("'steady'", "name the argument, as in models='steady'"),
    ],
)
def test_a_wrong_marker_is_named_before_anything_runs(
    project: Project, arguments: str, message: str
) -> None:
    project.pytester.makepyfile(
        test_grid=f"""
        import pytest

        @pytest.mark.gaitperf({arguments})
        def test_one(perf_cell, perf): pass
        """
    )
    shown = project.run()
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(shown.stderr.str().split())
    assert f"ERROR: marker gaitperf of test_grid.py::test_one: {message}" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("batch_sizes=4", "batch_sizes must be a list of positive whole numbers, not 4"),
        (
            "models=['unsteady']",
            "no model matches 'unsteady' (did you mean 'steady'?); the models ",
        ),
        ("models=['steady'], batch_sizes=[9]", "batch size 9 for model 'steady', whose max_batch"),
        ("models='two', batch_sizes=[2]", "batch size 2 for model 'two', which takes no batches"),
    ],
)
def test_a_marker_without_a_possible_grid_is_named_by_its_test(
    project: Project, arguments: str, message: str
) -> None:
    project.pytester.makepyfile(
        test_grid=f"""
        import pytest

        @pytest.mark.gaitperf({arguments})
        def test_one(perf_cell, perf): pass
        """
    )
    shown = project.run()
    shown.assert_outcomes(errors=1)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert f"marker gaitperf of test_grid.py::test_one: {message}" in text
    assert "Traceback" not in text
