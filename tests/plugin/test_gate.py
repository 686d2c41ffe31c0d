"""The gate: record, compare, turn red, and only where something is slower."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED, baseline_files, make_faster
from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def section(shown: pytest.RunResult, test: str) -> list[str]:
    """Return the lines of a test's failure."""
    lines = shown.outlines
    start = next(i for i, line in enumerate(lines) if test in line and line.startswith("___"))
    rest = lines[start + 1 :]
    end = next(i for i, line in enumerate(rest) if line.startswith(("___", "===")))
    return rest[:end]


def test_a_missing_baseline_is_red_and_the_command_it_gives_records_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = project.grid("steady")
    first = project.run(grid, "--gaitperf-budget=2")  # which the command in it repeats
    first.assert_outcomes(failed=3, skipped=1)
    assert first.ret == UNMEASURED
    assert not (project.path / "baselines").exists()
    said = section(first, "test_throughput[steady-b1-c1]")
    assert said[0] == "throughput missing"
    command = said[-1].strip()
    assert command.startswith("pytest ")
    assert command.endswith("--gaitperf-update=missing")

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    recording = project.pytester.run("sh", "-c", command)
    recording.assert_outcomes(passed=3, skipped=1)
    recording.stdout.fnmatch_lines(
        [
            "* missing, recorded",
            "profile here: green: 1 missing, recorded",
            "baselines written: *steady.json",
        ]
    )

    second = project.run(grid)
    second.assert_outcomes(passed=3, skipped=1)
    assert second.ret == pytest.ExitCode.OK
    second.stdout.fnmatch_lines(
        [
            "* pass",
            "profile here: green: 1 pass",
            "could have heard: throughput *%, p50 *%",
        ]
    )


@pytest.mark.slow
def test_a_slower_model_turns_its_own_tests_red_and_no_others(offline: Project) -> None:
    grid = offline.grid("other", "steady")
    budget = "--gaitperf-budget=2"  # else the slow model answers too seldom for a median
    recording = offline.run(grid, budget, "--gaitperf-update=missing")
    recording.assert_outcomes(passed=6, skipped=2)
    before = {path.name: path.read_bytes() for path in baseline_files(offline)}
    assert list(before) == ["other.json", "steady.json"]
    shutil.rmtree(offline.path / "model_repository" / "steady")
    write_model(offline.path / "model_repository", "steady", sleep_s=0.13)

    shown = offline.run(grid, budget, "--gaitperf-update=all", "-rf")
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    red = {line.split()[1].partition("::")[2] for line in shown.outlines if "FAILED" in line}
    # A sixth of the requests share the CPU time of a server that waits: that may be beyond noise.
    cpu = {"test_cpu[steady-b1-c1]"} & red
    shown.assert_outcomes(passed=4 - len(cpu), failed=2 + len(cpu), skipped=2)
    assert red - cpu == {"test_throughput[steady-b1-c1]", "test_latency[steady-b1-c1]"}
    shown.stdout.fnmatch_lines(["*steady-b1-c1: *; measuring it once more"])

    said = section(shown, "test_latency[steady-b1-c1]")
    assert len(said) <= 15
    text = "\n".join(said)
    assert said[0].startswith("p50 regressed: +")
    for part in (
        "  baseline  2",
        "  now       1",
        "  change    +",
        "confirmed by re-measurement",
        "  time per request, ms: client_send ",
        "compute_infer 1",
        "  server CPU ",
        "the model's files changed: ",
    ):
        assert part in text
    shown.stdout.fnmatch_lines(["* regressed", "no baseline was written, since the run was*"])
    assert {path.name: path.read_bytes() for path in baseline_files(offline)} == before


def test_another_server_version_is_incomparable_until_it_is_recorded_anew(
    project: Project,
) -> None:
    project.record()
    (path,) = baseline_files(project)
    path.write_text(path.read_text().replace('"triton": "2', '"triton": "1'))
    grid = project.grid("steady")
    shown = project.run(grid, "-k", "throughput")
    shown.assert_outcomes(failed=1, deselected=3)
    said = section(shown, "test_throughput")
    assert said[0] == "throughput incomparable"
    assert "Triton version was 1" in said[1]
    assert said[-1].endswith("--gaitperf-update=all")
    shown.stdout.fnmatch_lines(["* incomparable", "profile here: unmeasured: 1 incomparable"])
    project.run(grid, "--gaitperf-update=all").assert_outcomes(passed=3, skipped=1)
    assert len(json.loads(path.read_text())["sessions"]) == 2


def test_an_improvement_passes_and_asks_to_tighten_the_gate(project: Project) -> None:
    project.record()
    make_faster(baseline_files(project), 0.05)
    shown = project.run(project.grid("steady"))
    shown.assert_outcomes(passed=3, skipped=1)
    shown.stdout.fnmatch_lines(
        [
            " b1-c1 *+*%*-*%+*improved",
            "profile here: green: 1 improved",
            "could have heard: *",
            "improved beyond noise: record it, to tighten the gate",
            "record with:",
            "  pytest * --gaitperf-update=all",
        ]
    )


def test_a_word_that_is_no_quantity_is_named_with_the_nearest(offline: Project) -> None:
    offline.pytester.makepyfile(
        test_own="""
        import pytest

        from pytest_gaitperf import Workload

        @pytest.mark.parametrize("word", ["throughputs", "latency_p50", "p99", "enrgy", "zzz"])
        def test_own(perf, word):
            perf.gate(Workload("steady", 1, 1), word)
        """
    )
    shown = offline.run("test_own.py")
    shown.assert_outcomes(failed=5)
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    shown.stdout.fnmatch_lines(
        [
            "perf.gate: 'throughputs' is not a quantity (did you mean 'throughput'?); *",
            "perf.gate: 'latency_p50' is not a quantity (did you mean 'latency'?); *",
            "perf.gate: 'p99' is not a quantity (did you mean 'latency'?); *",
            "perf.gate: 'enrgy' is not a quantity (did you mean 'energy'?); *",
            "perf.gate: 'zzz' is not a quantity; the quantities are throughput, latency, *",
        ]
    )
