"""The text of a red test."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_gaitperf.measure.capacity.search import Answer, Probe

from pytest_gaitperf.config.policy import Limit
from pytest_gaitperf.metrics import GATED, METRICS, Estimate
from pytest_gaitperf.report.failure import MOST_COLUMNS, MOST_LINES, failure_text
from pytest_gaitperf.report.looks import WORST_FIRST
from pytest_gaitperf.results import LimitCheck, Verdict, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import Session

    from pytest_gaitperf.engine.paired import Paired


def test_a_regression_of_two_percentiles_fits_fifteen_lines(run: Session) -> None:
    result = next(iter(run.results.values()))
    red = [result.verdicts["latency_p50"], result.verdicts["latency_p99"]]
    assert {verdict.state for verdict in red} == {VerdictKind.REGRESSED}
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
    missing = Verdict("throughput", VerdictKind.MISSING, "nothing to compare with", now=1.0)
    title, *where, command = failure_text(run, result, [missing]).splitlines()
    assert title == "throughput missing"
    known = f"no baseline in {run.resources.store.directory}; record it with:"
    assert " ".join(line.strip() for line in where) == known
    assert command == "  pytest suites --gaitperf-update=missing"
    differs = Verdict("throughput", VerdictKind.INCOMPARABLE, "Triton version was 1, is 2", now=1.0)
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


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=90)
SENTENCE = st.lists(TEXT, max_size=12).map(" ".join)
SHARE = st.none() | st.floats(-0.99, 900)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(GATED),
    st.sampled_from(VerdictKind),
    SENTENCE,
    baseline=st.none() | st.floats(1e-9, 1e9),
    now=st.none() | st.floats(1e-9, 1e9),
    change=SHARE,
    low=SHARE,
    high=SHARE,
    limit=SHARE,
    sessions=st.integers(0, 30),
    pairs=st.integers(0, 90),
)


@st.composite
def checks(draw: st.DrawFn) -> LimitCheck:
    limit = Limit(draw(st.sampled_from(list(METRICS))), draw(st.floats(1e-6, 1e6)), "40 ms")
    value = draw(st.none() | st.floats(1e-9, 1e9))
    unit = METRICS[limit.metric].unit
    estimate = None if value is None else Estimate(unit, value, value * 0.9, value * 1.1)
    return limit.check(estimate, draw(SENTENCE))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    red=st.lists(VERDICTS, max_size=6),
    broken=st.lists(checks(), max_size=6),
    notes=st.lists(SENTENCE, max_size=4),
    rails=st.lists(TEXT, max_size=12),
    words=st.lists(TEXT, max_size=20),
    change=st.none() | SENTENCE,
    rate=st.sampled_from([0.0, 25.0]),
    searched=st.booleans(),
    paired=st.booleans(),
    update=st.sampled_from(["none", "all"]),
)
def test_no_failure_has_more_than_fifteen_lines_with_its_title_nor_more_than_100_columns(
    run: Session,
    red: list[Verdict],
    broken: list[LimitCheck],
    notes: list[str],
    rails: list[str],
    words: list[str],
    change: str | None,
    rate: float,
    searched: bool,
    paired: bool,
    update: str,
) -> None:
    result = replace(next(iter(run.results.values())), model_change=change)
    assert result.measurement is not None
    probe = Probe(42.0, served=True, seconds=5.0, requests=5300, late=31, latency_s=0.037)
    result.measurement = replace(
        result.measurement,
        workload=Workload("m", 1, 0 if rate else 1, request_rate=rate),
        notes=tuple(notes),
        rails_j=dict.fromkeys(rails, 3.0),
        search=Answer(42.0, 41.0, 43.0, probe, (probe,), settled=True, at=42.0)
        if searched
        else None,
    )
    run.settings = replace(run.settings, invocation=tuple(words), update=update)
    run.paired = cast("Paired", object()) if paired else None
    lines = failure_text(run, result, red, broken).splitlines()
    assert len(lines) <= MOST_LINES == 14
    assert all(len(line) <= MOST_COLUMNS or line.startswith("  pytest") for line in lines)
    if red:
        worst = min(WORST_FIRST.index(verdict.state) for verdict in red)
        assert f" {WORST_FIRST[worst].value}" in lines[0], "the most important first"
    titles = sum(not line.startswith(" ") for line in lines)
    told = next((line for line in lines if line.endswith(": see --gaitperf-json")), "")
    more = re.search(r"(\d+) more metric", told)
    assert titles + (int(more[1]) if more else 0) == len(red) + len(broken)
    states = {verdict.state for verdict in red}
    if states & {VerdictKind.MISSING, VerdictKind.REGRESSED} and update == "all":
        assert "--gaitperf-update=" in lines[-1], "what to do is never cut"


def test_what_a_failure_leaves_out_is_counted_and_the_first_keeps_its_numbers(
    run: Session,
) -> None:
    result = next(iter(run.results.values()))
    limits = [Limit(metric, 1e-6, "1 us") for metric in ("latency_p50", "latency_p99")]
    broken = run.check(result.workload, limits)
    red = [result.verdicts[metric] for metric in ("latency_p50", "latency_p99", "throughput")]
    lines = failure_text(run, result, red, broken).splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        "throughput regressed",
        "p50 regressed",
        "p99 regressed",
        "latency_p50 <= 1 us",
        "latency_p99 <= 1 us",
    ]
    assert lines[1].startswith("  baseline  1237 inf/s")
    assert "  time per request, ms: queue 1.000, compute_infer 18.00, network 2.000" in lines
    assert lines[-1] == "  10 more lines: see --gaitperf-json"
