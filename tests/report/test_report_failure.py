"""The text of a red test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_gaitperf.report.failure import failure_text
from pytest_gaitperf.verdict import State, Verdict
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pytest_gaitperf.session import Session


def test_a_regression_of_two_percentiles_fits_fifteen_lines(run: Session) -> None:
    result = next(iter(run.results.values()))
    red = [result.verdicts["latency_p50"], result.verdicts["latency_p99"]]
    assert {verdict.state for verdict in red} == {State.REGRESSED}
    lines = failure_text(run, result, red).splitlines()
    assert len(lines) <= 15
    assert lines[0] == "p50 regressed: +59.7%"
    assert lines[1:4] == [
        "  baseline  21.34 ms over 3 sessions",
        "  now       34.08 ms (33.74 .. 34.42)",
        f"  change    +59.7% ({lines[3].partition('(')[2]}",
    ]
    assert lines[5] == "p99 regressed: +59.7%"
    assert lines[-4:] == [
        "  time per request, ms: queue 1.000, compute_infer 18.00, network 2.000",
        "  server CPU 1.440 ms per inference, client CPU 0.025 ms per request",
        "  mean power, W: VDD_IN 5.000, VDD_CPU_GPU_CV 3.000, VDD_SOC 1.000",
        "  the model's files changed: sha256:0123456789ab -> sha256:ba9876543210",
    ]


def test_the_second_measurement_is_shown_where_it_decided(run: Session) -> None:
    result = next(iter(run.results.values()))
    assert result.measurement is not None
    result.again = replace(result.measurement, time_split_s={"queue": 0.5})
    text = failure_text(run, result, [result.verdicts["throughput"]])
    assert "time per request, ms: queue 500.0" in text


def test_missing_and_incomparable_give_the_command(run: Session) -> None:
    result = next(iter(run.results.values()))
    missing = Verdict("throughput", State.MISSING, "nothing to compare with", now=1.0)
    assert failure_text(run, result, [missing]).splitlines() == [
        "throughput missing",
        f"  no baseline in {run.resources.store.directory}; record it with:",
        "  pytest suites --gaitperf-update=missing",
    ]
    differs = Verdict("throughput", State.INCOMPARABLE, "Triton version was 1, is 2", now=1.0)
    assert failure_text(run, result, [differs]).splitlines() == [
        "throughput incomparable",
        "  Triton version was 1, is 2",
        "  record this set-up anew with:",
        "  pytest suites --gaitperf-update=all",
    ]


def test_an_open_loop_that_fell_behind_says_so_before_where_the_time_went(run: Session) -> None:
    result = next(iter(run.results.values()))
    assert result.measurement is not None
    note = "completed 80 of 100 requests/s: the backlog grew"
    workload = Workload("3D_fp32_0_batchd", 8, request_rate=100)
    result.measurement = replace(result.measurement, workload=workload, notes=(note,))
    lines = failure_text(run, result, [result.verdicts["throughput"]]).splitlines()
    assert lines[5] == f"  {note}"
    assert lines[6].startswith("  time per request, ms: ")
