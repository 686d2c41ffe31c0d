"""--gaitperf-benchmarks: cells as pytest-benchmark shows and compares its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

# The Makefile puts them beside the environment: as plugins they would be part of every run.
VERSIONS = sorted(Path(sys.prefix).glob("consumers*"))
OURS = """
import pytest

pytestmark = pytest.mark.gaitperf(models=["steady"], batch_sizes=[1], concurrencies=[1])


def test_throughput(perf, perf_cell):
    perf.gate(perf_cell, "throughput")
"""
WITH_OWN = """

def test_both(perf, perf_cell, benchmark):
    perf.gate(perf_cell, "latency")
    benchmark(sum, range(100))
"""


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def own(
    request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch
) -> set[str]:
    """A version of pytest-benchmark, and the benchmarks of its own that a test makes.

    The fixture of versions before 5.3.1 does not know pytest 9, and only it does not.
    """
    path: Path = request.param
    monkeypatch.setenv("PYTHONPATH", str(path), prepend=":")
    own = not path.name.endswith("oldest")
    (project.path / "test_both.py").write_text(OURS + (WITH_OWN if own else ""))
    return {"test_both[steady-b1-c1]"} if own else set()


def run(project: Project, server: TritonServer, *more: str) -> subprocess.CompletedProcess[str]:
    # Under xdist pytest-benchmark shows nothing, and these tests may be run by it.
    apart = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_both.py"),
            *("--triton=attach", f"--triton-url={server.url}", "--power=none"),
            *("--gaitperf-budget=2", "--gaitperf-update=missing", "--gaitperf-profile=here"),
            *("--benchmark-min-rounds=2", "--benchmark-max-time=0.01", *more),
        ],
        cwd=project.path,
        env=apart,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not VERSIONS, reason="make installs pytest-benchmark into VENV/consumers")
@pytest.mark.slow
def test_a_cell_is_a_benchmark_beside_a_tests_own_and_is_compared(
    project: Project, server: TritonServer, own: set[str]
) -> None:
    kept = ("--benchmark-json=b.json", "--benchmark-autosave")
    done = run(project, server, "--gaitperf-benchmarks", *kept)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "benchmark 'steady': 1 tests" in done.stdout
    found = {
        one["name"]: one for one in json.loads((project.path / "b.json").read_text())["benchmarks"]
    }
    assert set(found) == {"test_latency[steady-b1-c1]", *own}
    ours = found["test_latency[steady-b1-c1]"]
    assert ours["group"] == "steady"
    assert ours["stats"]["rounds"] > 10, "a round is a request"
    assert 0.02 <= ours["stats"]["median"] < 0.1, "the model sleeps for 20 ms"
    assert ours["stats"]["min"] <= ours["stats"]["median"] <= ours["stats"]["max"]

    shutil.rmtree(project.path / "baselines")  # beside one session nothing could be heard
    done = run(
        project,
        server,
        *("--gaitperf-benchmarks", "--benchmark-compare", "--benchmark-compare-fail=min:99%"),
        "--benchmark-group-by=name",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOW" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(not VERSIONS, reason="make installs pytest-benchmark into VENV/consumers")
def test_without_the_option_it_shows_nothing_of_ours(
    project: Project, server: TritonServer, own: set[str]
) -> None:
    done = run(project, server)
    assert "test_latency" not in done.stdout
    assert ("benchmark: 1 tests" in done.stdout) == bool(own), done.stdout


def test_where_it_is_not_active_that_is_said(project: Project, server: TritonServer) -> None:
    (project.path / "test_both.py").write_text(OURS)
    command = [sys.executable, "-m", "pytest", "test_both.py", "--gaitperf-benchmarks"]
    command += ["--triton=attach", f"--triton-url={server.url}", "-p", "no:benchmark"]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "pip install pytest-benchmark" in done.stderr
