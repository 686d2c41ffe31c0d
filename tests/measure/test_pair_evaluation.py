"""Verdicts from runs whose truth is known, without a server."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.pairing import Effect, paired_verdicts
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.turns import Side, Visit, evaluate_pair
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import open_loop, steady

if TYPE_CHECKING:
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.measurement import Measurement

WORKLOAD = Workload("model", 2, 1)
NOTHING = ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)


def side(latency_s: float, workload: Workload = WORKLOAD, turns: int = 3) -> Side:
    """Three turns of 5 requests, all counted by the server."""
    load: Load = None  # type: ignore[assignment] # nothing is sent any more
    one = Visit(load, NOTHING, warm_ups=[steady(1, latency_s, 2 * latency_s)])
    one.turns = [steady(1, latency_s, 5 * latency_s) for _ in range(turns)]
    sent = (2 + 5 * turns) * workload.batch_size
    one.sent = replace(NOTHING, inference_count=sent, success_count=2 + 5 * turns)
    return Side(workload, [one])


def measured(candidate: Side, reference: Side) -> tuple[Measurement, Measurement]:
    return evaluate_pair(candidate, reference, {}, uncompared={})


RULES = (lambda _metric: 0.05, lambda _metric: 0.25)


def judged(effect: Effect, metric: str = "latency_p50") -> Verdict:
    pair = measured(side(0.011), side(0.01))
    return paired_verdicts(*pair, {metric: effect}, *RULES, undecided={})[metric]


def test_an_undecided_pair_that_could_not_hear_says_so() -> None:
    wide = replace(effect(0.94, -0.5, 5.0), sensitivity=2.0)
    verdict = judged(wide)
    assert (verdict.kind, verdict.must_hear) == (VerdictKind.INCONCLUSIVE, 0.25)
    assert "could have heard 200% at least, and 25% must be heard" in verdict.unheard
    assert verdict.reason.endswith("raise --gaitperf-budget")
    sharp = replace(effect(0.04, -0.01, 0.09), sensitivity=0.1)
    assert judged(sharp).unheard == ""
    decided = replace(effect(0.0, -0.01, 0.01, VerdictKind.PASS), sensitivity=2.0)
    assert judged(decided).unheard == "", "what is shown equal was heard"


def effect(change: float, low: float, high: float, kind: VerdictKind | None = None) -> Effect:
    return Effect(9, math.log1p(change), math.log1p(low), math.log1p(high), kind)


def test_a_regression_has_its_numbers_and_its_reason() -> None:
    verdict = judged(effect(0.1, 0.07, 0.13, VerdictKind.REGRESSED))
    assert verdict.kind is VerdictKind.REGRESSED
    assert verdict.baseline == pytest.approx(0.01)
    assert verdict.now == pytest.approx(0.011)
    assert verdict.change == pytest.approx(0.1)
    assert verdict.low == pytest.approx(0.07)
    assert verdict.high == pytest.approx(0.13)
    assert verdict.blocks == 9
    assert verdict.reason == (
        "11.00 ms beside the reference's 10.00: +10.0% block by block, confirmed, +7.0% or worse "
        "(tolerance 5.0%, 9 blocks)"
    )


def test_a_throughput_falls_where_an_effect_is_for_the_worse() -> None:
    verdict = judged(effect(0.25, 0.1, 1.0, VerdictKind.REGRESSED), "throughput")
    assert verdict.change == pytest.approx(-0.2)
    assert verdict.low == pytest.approx(-0.5)
    assert verdict.high == pytest.approx(1 / 1.1 - 1)
    assert verdict.now == pytest.approx(2 / 0.011)
    assert verdict.baseline == pytest.approx(200)
    assert "-20.0% block by block, confirmed, -9.1% or worse" in verdict.reason


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (effect(0.0, -0.02, 0.02, VerdictKind.PASS), VerdictKind.PASS, "+2.0% at worst"),
        (
            effect(-0.1, -0.13, -0.07, VerdictKind.IMPROVED),
            VerdictKind.IMPROVED,
            "confirmed, -7.0% or better",
        ),
        (effect(-0.1, -0.3, 0.01), VerdictKind.PASS, "+1.0% at worst"),
        (effect(0.04, -0.01, 0.09), VerdictKind.INCONCLUSIVE, "undecided, +9.0% at worst"),
        (effect(0.2, 0.04, 0.4), VerdictKind.INCONCLUSIVE, "raise --gaitperf-budget"),
    ],
)
def test_the_kind_follows_the_limits(given: Effect, kind: VerdictKind, words: str) -> None:
    verdict = judged(given)
    assert verdict.kind is kind
    assert words in verdict.reason


def test_too_few_blocks_for_limits_are_undecided_and_claim_none() -> None:
    verdict = judged(Effect(2, 0.5, -math.inf, math.inf, None))
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "too few blocks" in verdict.reason
    assert verdict.low is None
    assert verdict.high is None


def test_a_median_of_few_requests_is_told_and_a_p99_of_few_is_not() -> None:
    same = {"latency_p50": Effect(1, 0.0, -1.0, 1.0, None, level=math.log(0.01))}
    candidate, _ = evaluate_pair(side(0.01, turns=1), side(0.01, turns=1), same, uncompared={})
    assert candidate.invalid is None
    assert candidate.metrics["latency_p50"].value == pytest.approx(0.01)
    assert "latency_p99" in candidate.absent
    assert candidate.metrics["throughput"].value == pytest.approx(200)


def test_failures_and_foreign_requests_of_one_side_make_both_invalid_and_give_no_verdict() -> None:
    foreign = side(0.01)
    foreign.visits[0].sent = replace(foreign.sent, inference_count=99)
    failing = side(0.01)
    failing.turns[0].fail("HTTP 500")
    for pair in ((foreign, side(0.01)), (side(0.01), foreign), (failing, side(0.01))):
        candidate, reference = measured(*pair)
        assert candidate.invalid
        assert candidate.invalid == reference.invalid
        same = {"throughput": effect(0.0, 0.0, 0.0, VerdictKind.PASS)}
        assert paired_verdicts(candidate, reference, same, *RULES, undecided={}) == {}


def test_a_client_that_misses_its_schedule_makes_an_open_loop_invalid() -> None:
    late = side(0.01, Workload("model", 1, request_rate=100.0))
    late.turns[0].delays_ns = array("q", [0, 0, 0, 5_000_000])
    candidate, _ = measured(late, side(0.01, Workload("model", 1, request_rate=100.0)))
    assert "sent 1 of 4 requests of the candidate late" in (candidate.invalid or "")


def test_a_candidate_that_falls_behind_an_open_loop_is_no_fault_of_the_client() -> None:
    workload = Workload("model", 1, request_rate=100.0)
    sent = np.arange(100) / 100
    for latencies, fault in ((0.01 + 0.5 * sent, False), (np.full(100, 0.03), True)):
        candidate = side(0.01, workload)
        record = open_loop(sent, latencies)
        record.delays_ns = array("q", [0] * 50 + [5_000_000] * 50)
        candidate.visits[0].turns = [record]
        candidate.visits[0].sent = replace(NOTHING, inference_count=102, success_count=102)
        found, _ = measured(candidate, side(0.01, workload))
        assert found.late_sends == 50
        assert ("requests of the candidate late" in (found.invalid or "")) == fault


def test_a_run_without_an_answer_is_an_error() -> None:
    silent = side(0.01)
    silent.visits[0].turns = [LoadRecord()]
    with pytest.raises(MeasurementError):
        measured(silent, side(0.01))


def test_levels_are_those_of_the_blocks_behind_the_change() -> None:
    change, level = math.log(1.2), math.log(0.02)
    effects = {
        metric: Effect(4, change, change, change, VerdictKind.REGRESSED, level=level)
        for metric in ("throughput", "latency_p50", "server_cpu_per_inference")
    }
    pair = evaluate_pair(side(0.011), side(0.01), effects, uncompared={})
    verdicts = paired_verdicts(*pair, effects, *RULES, undecided={})
    for verdict in verdicts.values():
        assert verdict.now is not None
        assert verdict.baseline is not None
        assert verdict.change == pytest.approx(verdict.now / verdict.baseline - 1)
    slow_s, fast_s = 0.02 * math.sqrt(1.2), 0.02 / math.sqrt(1.2)
    assert verdicts["latency_p50"].now == pytest.approx(slow_s)
    assert verdicts["latency_p50"].baseline == pytest.approx(fast_s)
    # Two samples a request.
    assert verdicts["throughput"].now == pytest.approx(2 / slow_s)
    assert verdicts["server_cpu_per_inference"].now == pytest.approx(slow_s / 2)


def test_what_fresh_blocks_did_not_confirm_is_undecided_and_says_so() -> None:
    doubted = replace(effect(0.2, 0.1, 0.3), doubted=True)
    verdict = judged(doubted)
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "fresh blocks did not confirm it" in verdict.reason
