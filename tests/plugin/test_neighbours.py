"""Cells beside neighbours, from the grid to the verdict, on a real Triton."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from pytest_gaitperf import Outcome, VerdictKind
from pytest_gaitperf.lease import SHARED_MEMORY
from tests.plugin.baselines import baseline_files
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugin.conftest import Project

JSON, RECORD = "--gaitperf-json=results.json", "--gaitperf-update=missing"
BESIDE = "steady-b1-c1-beside=slow-r20"
ONE = '[{}, { slow = "20/s" }]'
SOON = "-k=neighbours or throughput"


def grid(project: Project, beside: str, more: str = "concurrencies = [1]\n") -> str:
    (project.path / "grid.toml").write_text(
        f'models = "steady"\nbatch_sizes = [1]\n{more}beside = {beside}\n'
    )
    return "--gaitperf-grid=grid.toml"


def said(shown: pytest.RunResult) -> str:
    """What a run printed, as if no line of it was wrapped."""
    return " ".join((shown.stdout.str() + shown.stderr.str()).split())


def test_a_model_is_measured_alone_and_beside_and_what_it_lost_is_gated(project: Project) -> None:
    """Models that sleep take nothing from each other: what they lost is a matter of a file."""
    shown = project.run(grid(project, ONE), SOON, JSON, RECORD)
    shown.assert_outcomes(passed=3, deselected=6)
    shown.stdout.fnmatch_lines(
        [
            "        inf/s * slowdown x * p50 ms *",
            "steady beside slow 20/s",
            " b1-c1 *missing, recorded",
            f"{BESIDE}: throughput *, mean latency *",
        ]
    )
    alone, beside = (project.measured(name) for name in ("steady-b1-c1", BESIDE))
    assert beside.metrics["slowdown"].value == pytest.approx(
        beside.metrics["latency_mean"].value / alone.metrics["latency_mean"].value, rel=1e-6
    )
    assert "slowdown" not in alone.metrics
    (kept,) = beside.neighbours
    assert kept.name == "slow"
    assert kept.requests == pytest.approx(20 * beside.duration_s, abs=2)
    assert kept.latency_p50 is not None
    assert kept.latency_p50.value >= 0.03
    assert "own processes" in " ".join(beside.notes)

    (path,) = baseline_files(project)
    document = json.loads(path.read_text())
    for session in document["cells"]["b1-c1-beside=slow-r20"]["sessions"].values():
        session["slowdown"][0] /= 10
    path.write_text(json.dumps(document))
    shown = project.run("--gaitperf-grid=grid.toml", SOON, JSON)
    shown.assert_outcomes(passed=2, failed=1, deselected=6)
    shown.stdout.fnmatch_lines([f"*_ test_neighbours?{BESIDE}? _*", "slowdown regressed: *"])
    verdicts = project.cells()[BESIDE].verdicts
    assert verdicts["slowdown"].kind is VerdictKind.REGRESSED
    assert verdicts["throughput"].kind is VerdictKind.PASS


def test_a_deadline_that_a_neighbour_misses_is_red_and_names_it(project: Project) -> None:
    """It sleeps 30 ms; 100 requests are needed to tell a p99."""
    more = "request_rates = [10]\n"
    late = grid(project, '{ slow = "30/s within 10 ms" }', more)
    shown = project.run(late, SOON, RECORD, JSON)
    assert "; too few to tell: slow (" in said(shown)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    shown = project.run(late, SOON, RECORD, "--gaitperf-budget=6", JSON)
    shown.assert_outcomes(passed=1, failed=1, deselected=3)
    shown.stdout.fnmatch_lines(["slow latency_p99 <= 10 ms: violated"])
    assert "; late: slow (p99 " in said(shown)
    assert shown.ret == Outcome.RED.exit_code
    # Alone it was not measured: its slowdown is not known, and that is said.
    (cell,) = project.cells().values()
    assert cell.measurement is not None
    assert "let beside list {} too" in cell.measurement.absent["slowdown"]
    assert "energy_per_inference" not in cell.measurement.metrics


def test_a_deadline_that_no_test_checks_is_said(project: Project) -> None:
    (project.path / "test_grid.py").unlink()
    project.pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.mark.gaitperf(models="steady", batch_sizes=[1], concurrencies=[1],
                              beside={"slow": "20/s within 1 s"})
        def test_throughput(perf, perf_cell):
            perf.gate(perf_cell, "throughput")
        """
    )
    shown = project.run(RECORD)
    shown.assert_outcomes(passed=1)
    assert "no test of this run checked slow latency_p99 <= 1000 ms" in said(shown)
    assert "slow at 20 requests/s" not in said(shown), "nobody limited that"
    assert shown.ret == Outcome.UNMEASURED.exit_code


def test_a_rate_beyond_the_neighbour_is_red_and_not_recorded(project: Project) -> None:
    shown = project.run(grid(project, '{ slow = "90/s" }'), SOON, RECORD, JSON)
    shown.assert_outcomes(passed=1, failed=1, deselected=3)
    shown.stdout.fnmatch_lines(["slow at 90 requests/s: violated"])
    assert re.search(r"; late: slow \(\S+ of 90 requests/s\)", said(shown))
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("refusing", "neighbour refusing: all 5 requests failed: *it was told to"),
        ("flaky", "* requests of neighbour flaky failed: *"),
    ],
)
def test_a_neighbour_that_fails_is_named_and_the_other_cells_are_kept(
    project: Project, name: str, why: str
) -> None:
    shown = project.run(grid(project, f'[{{}}, {{ {name} = "50/s" }}]'), "-k=throughput", JSON)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    shown.stdout.fnmatch_lines([f"*{why}*"])
    cells = project.cells()
    assert cells["steady-b1-c1"].unmeasured is None
    assert f"neighbour {name}" in str(cells[f"steady-b1-c1-beside={name}-r50"].unmeasured)


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        ('{ steady = "5/s" }', "model 'steady' cannot be its own neighbour"),
        ('{ slwo = "5/s" }', "no model is called 'slwo' (did you mean 'slow'?)"),
        ('{ dynamic = "5/s" }', "'ROWS' has the dynamic shape"),
        ('{ remembering = "5/s" }', "it is stateful"),
        ('{ streaming = "5/s" }', "it is decoupled"),
        ('{ spoilt = "5/s" }', "'spoilt' cannot be a neighbour"),
    ],
)
def test_what_is_no_neighbour_is_a_usage_error(project: Project, beside: str, why: str) -> None:
    shown = project.run(grid(project, beside), JSON)
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert why in said(shown)
    assert not (project.path / "results.json").exists()


def test_neighbours_are_sent_the_data_of_the_run(project: Project) -> None:
    """From a directory whose path is none of the process that loads them."""
    (project.path / "data").mkdir()
    for name in ("steady", "slow"):
        np.savez(project.path / "data" / f"{name}.npz", INPUT0=np.ones((2, 16), np.float32))
    shown = project.run(grid(project, ONE), "-k=throughput", JSON, RECORD, "--gaitperf-data=data")
    shown.assert_outcomes(passed=2, deselected=7)
    (cell,) = (one for one in project.cells().values() if one.workload.beside)
    assert cell.unmeasured is None
    assert cell.workload.beside[0].data.startswith("sha256:")


def test_pairs_have_no_neighbours(project: Project) -> None:
    shown = project.run(grid(project, ONE), "--gaitperf-against=1", "-k=beside", "-rs")
    shown.stdout.fnmatch_lines(
        ["*a load beside neighbours has no pairs: leave --gaitperf-against*"]
    )


@pytest.mark.slow
def test_a_server_of_the_run_loads_the_neighbours_and_measures_them_in_the_same_lives(
    offline: Project,
) -> None:
    """Neither the grid's models nor the option's name the neighbours: two, over gRPC and shm."""
    write_model(offline.path / "model_repository", "third", sleep_s=0.005)
    ways = 'request_rates = [25]\nprotocol = "grpc"\ntransport = "shm"\n'
    chosen = grid(offline, '[{}, { other = "10/s", third = "20/s b4" }]', ways)
    shown = offline.run(
        *(chosen, SOON, JSON, RECORD, "--gaitperf-models=steady"),
        *("--gaitperf-lives=2", "--gaitperf-budget=5"),
    )
    shown.assert_outcomes(passed=3, deselected=6)
    cell = offline.cells()["steady-b1-r25-grpc-shm-beside=other-r10+third-b4-r20"]
    assert cell.measurement is not None
    assert cell.measurement.lives == 2
    assert "slowdown" in cell.measurement.spread
    assert [one.failures for one in cell.measurement.neighbours] == [0, 0]
    assert {one.protocol for one in cell.workload.beside} == {"grpc"}
    # Another worker's server has regions of its own meanwhile.
    assert [path for path in SHARED_MEMORY.iterdir() if f"_{os.getpid()}_" in path.name] == []


def _loading() -> list[int]:
    children = psutil.Process().children()
    return [one.pid for one in children if any("measure.keeper" in word for word in one.cmdline())]


def _when_it_runs(act: Callable[[int], None]) -> threading.Thread:
    """Do something to the process that loads the neighbours, a second after it began."""

    def watch() -> None:
        for _ in range(600):
            time.sleep(0.05)
            for pid in _loading():
                time.sleep(1.0)
                act(pid)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "why"),
    [
        (_stop, "was stopped meanwhile"),
        (lambda pid: os.kill(pid, signal.SIGKILL), "the process that loads the neighbours ended"),
    ],
)
def test_what_happens_to_the_loading_process_is_not_put_down_to_a_model(
    project: Project, act: Callable[[int], None], why: str
) -> None:
    thread = _when_it_runs(act)
    project.run(grid(project, ONE), "-k=throughput", JSON, "--gaitperf-budget=4")
    thread.join()
    cells = project.cells()
    assert cells["steady-b1-c1"].unmeasured is None
    assert why in str(cells[BESIDE].unmeasured)
    assert not any(
        "measure.keeper" in " ".join(one.cmdline()) for one in psutil.Process().children()
    )
