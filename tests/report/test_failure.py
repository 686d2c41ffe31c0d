"""The text of a red or unmeasured test."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pytest_gaitperf.config.policy import Limit, parse_limit
from pytest_gaitperf.metrics import GATED, METRICS, Estimate
from pytest_gaitperf.report.failure import MOST_COLUMNS, MOST_LINES, failure_text
from pytest_gaitperf.report.text import word_rank
from pytest_gaitperf.results import Cell, LimitCheck, Policy, Verdict, VerdictKind
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, REGRESSED, cell, measured, run, searched, verdict


def text_of(
    of_cell: Cell,
    *metrics: str,
    verdicts: list[Verdict] | None = None,
    checks: list[LimitCheck] | None = None,
    policy: Policy | None = None,
    **more: Any,
) -> list[str]:
    """The lines about some of the cell's metrics, or about other verdicts and limits."""
    chosen = [of_cell.verdicts[name] for name in metrics] if verdicts is None else verdicts
    where: dict[str, Any] = {"arguments": ("suites",), "baselines": "baselines", "paired": False}
    return failure_text(
        policy or Policy(), of_cell, chosen, checks or [], **(where | more)
    ).splitlines()


def test_a_regression_of_two_percentiles_fits_fifteen_lines() -> None:
    lines = text_of(REGRESSED, "latency_p50", "latency_p99")
    assert len(lines) <= 15
    assert lines[:4] == [
        "p50 regressed: +60.0%",
        "  baseline  21.30 ms over 4 sessions",
        "  now       34.08 ms (33.74 .. 34.42)",
        "  change    +60.0% (+56.8% .. +63.2%, limit +2.0%)",
    ]
    assert lines[5] == "p99 regressed: +60.0%"
    assert lines[-4:] == [
        "  time per request, ms: network 3.408, queue 6.816, compute_infer 23.86",
        "  server CPU 1.440 ms per inference, client CPU 0.025 ms per request",
        "  mean power, W: VDD_IN 15.18, VDD_CPU_GPU_CV 9.111, VDD_SOC 3.037",
        "  the model's files changed: sha256:0123456789ab -> sha256:ba9876543210",
    ]


def test_the_second_measurement_is_shown_where_it_decided() -> None:
    again = replace(REGRESSED, again=measured(time_split_s={"queue": 0.5}))
    assert "  time per request, ms: queue 500.0" in text_of(again, "throughput")


def test_a_suspect_that_could_not_be_measured_again_says_why() -> None:
    lines = text_of(replace(REGRESSED, unconfirmed="the server died"), "throughput")
    assert "  not confirmed: the server died" in lines


def test_missing_and_incomparable_give_the_command() -> None:
    nothing = Verdict("throughput", VerdictKind.MISSING, "nothing to compare with", now=1.0)
    assert text_of(GOOD, verdicts=[nothing]) == [
        "throughput missing",
        "  no baseline in baselines; record it with:",
        "  pytest suites --gaitperf-update=missing",
    ]
    differs = Verdict("throughput", VerdictKind.INCOMPARABLE, "Triton version was 1, is 2", now=1.0)
    assert text_of(GOOD, verdicts=[differs]) == [
        "throughput incomparable",
        "  Triton version was 1, is 2",
        "  record this set-up anew with:",
        "  pytest suites --gaitperf-update=all",
    ]


def test_where_regressions_can_be_accepted_it_says_how() -> None:
    assert text_of(REGRESSED, "throughput", policy=Policy(update="all"))[-2:] == [
        "  to accept it as the new level:",
        "  pytest suites --gaitperf-update=all --gaitperf-accept-regressions",
    ]


def test_an_open_loop_that_fell_behind_says_so_before_where_the_time_went() -> None:
    note = "completed 80 of 100 requests/s: the backlog grew"
    load = Workload("3D_fp32_0_batchd", 8, request_rate=100)
    lines = text_of(cell(load, 1.6, measurement={"notes": (note,)}), "throughput")
    assert lines[5] == f"  {note}"
    assert lines[6].startswith("  time per request, ms: ")


def test_a_search_says_how_many_are_served_and_what_broke() -> None:
    lines = text_of(searched(), "subjects")
    assert lines[:3] == [
        "subjects regressed: -14.8%",
        "  baseline  50.00 subjects over 4 sessions",
        "  now       42.60 subjects (41.70 .. 45.20)",
    ]
    assert lines[5:7] == [
        "  42.6 subjects served: p99 37 ms, 31 of 5300 requests late",
        "  44.3 subjects not served: p99 81 ms, 180 of 400 requests late, and the backlog grew",
    ]


def test_in_pairs_the_reference_stands_in_place_of_the_baseline() -> None:
    paired = verdict("throughput", 1234.5, 1.5, blocks=14)
    lines = text_of(REGRESSED, verdicts=[paired], paired=True)
    assert lines[1] == "  reference 1234 inf/s"
    assert lines[3].endswith(", 14 blocks")


@pytest.mark.parametrize(
    ("limit", "lines"),
    [
        (
            "latency_p50 <= 30 ms",
            ["latency_p50 <= 30 ms: violated", "  now       34.08 ms (33.74 .. 34.42)"],
        ),
        (
            "latency_p50 <= 33.9 ms",
            [
                "latency_p50 <= 33.9 ms: violated",
                "  now       34.08 ms (33.74 .. 34.42); the limit lies within the interval",
            ],
        ),
        (
            "latency_p50 <= 34.3 ms",
            [
                "latency_p50 <= 34.3 ms: met, but not surely",
                "  now       34.08 ms (33.74 .. 34.42)",
            ],
        ),
        ("latency_p90 <= 1 s", ["latency_p90 <= 1 s: unmeasured", "  too few requests"]),
    ],
)
def test_a_limit_says_the_value_and_whether_it_is_sure(limit: str, lines: list[str]) -> None:
    asked, measurement = parse_limit(limit), REGRESSED.measurement
    assert measurement is not None
    check = asked.check(measurement.metrics.get(asked.metric), "too few requests")
    assert text_of(REGRESSED, checks=[check])[:2] == lines


def test_without_a_verdict_it_says_what_keeps_the_cell_from_being_green() -> None:
    of_run = run(replace(GOOD, lacking={"energy": "the meter failed"}))
    assert text_of(of_run.cells[0]) == ["energy: the meter failed"]


CAPACITY = searched().measurement.capacity  # type: ignore[union-attr]
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
    blocks=st.integers(0, 90),
)


@st.composite
def checks(draw: st.DrawFn) -> LimitCheck:
    limit = Limit(draw(st.sampled_from(list(METRICS))), draw(st.floats(1e-6, 1e6)), "40 ms")
    value = draw(st.none() | st.floats(1e-9, 1e9))
    unit = METRICS[limit.metric].unit
    estimate = None if value is None else Estimate(unit, value, value * 0.9, value * 1.1)
    return limit.check(estimate, draw(SENTENCE))


@given(
    of_cell=st.builds(
        cell,
        st.sampled_from([Workload("m", 1, 1), Workload("m", 1, request_rate=25.0)]),
        measurement=st.fixed_dictionaries(
            {
                "notes": st.lists(SENTENCE, max_size=4).map(tuple),
                "rails_j": st.dictionaries(TEXT, st.just(3.0), max_size=12),
                "capacity": st.sampled_from([None, CAPACITY]),
            }
        ),
        model_change=st.none() | SENTENCE,
        unconfirmed=st.none() | SENTENCE,
    ),
    red=st.lists(VERDICTS, max_size=6),
    broken=st.lists(checks(), max_size=6),
    words=st.lists(TEXT, max_size=20),
    paired=st.booleans(),
    update=st.sampled_from(["none", "all"]),
)
def test_no_failure_has_more_than_fifteen_lines_with_its_title_nor_more_than_100_columns(
    of_cell: Cell,
    red: list[Verdict],
    broken: list[LimitCheck],
    *,
    words: list[str],
    paired: bool,
    update: Any,
) -> None:
    policy = Policy(update=update)
    lines = text_of(
        of_cell, verdicts=red, checks=broken, policy=policy, arguments=tuple(words), paired=paired
    )
    assert len(lines) <= MOST_LINES == 14
    assert all(len(line) <= MOST_COLUMNS or line.startswith("  pytest") for line in lines)
    if red:
        worst = min((verdict.kind.value for verdict in red), key=word_rank)
        assert f" {worst}" in lines[0], "the most important first"
    titles = sum(not line.startswith(" ") for line in lines)
    said = next((line for line in lines if line.endswith(": see --gaitperf-json")), "")
    more = re.search(r"(\d+) more metric", said)
    assert titles + (int(more[1]) if more else 0) == len(red) + len(broken)
    kinds = {verdict.kind for verdict in red}
    if kinds & {VerdictKind.MISSING, VerdictKind.REGRESSED} and update == "all" and not paired:
        assert "--gaitperf-update=" in lines[-1], "what to do is never cut"


def test_what_a_failure_leaves_out_is_counted_and_the_first_keeps_its_numbers() -> None:
    limits = [Limit(metric, 1e-6, "1 us") for metric in ("latency_p50", "latency_p99")]
    measurement = REGRESSED.measurement
    assert measurement is not None
    broken = [limit.check(measurement.metrics[limit.metric]) for limit in limits]
    lines = text_of(
        REGRESSED,
        verdicts=[
            verdict("latency_p50", 0.0213, 1.6),
            verdict("latency_p99", 0.0831, 1.6),
            verdict("throughput", 1234.5, 1.7),
        ],
        checks=broken,
    )
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        "throughput regressed",
        "p50 regressed",
        "p99 regressed",
        "latency_p50 <= 1 us",
        "latency_p99 <= 1 us",
    ]
    assert lines[1].startswith("  baseline  1234 inf/s")
    assert "  time per request, ms: network 3.408, queue 6.816, compute_infer 23.86" in lines
    assert lines[-1] == "  10 more lines: see --gaitperf-json"
