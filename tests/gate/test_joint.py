"""A whole run's verdicts: three scopes, one alpha, one confirmation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.gate import verdict as verdict_module
from pytest_gaitperf.gate.joint import Judgement, confirm_jointly, judge_jointly, together
from pytest_gaitperf.gate.scopes import CellLogs
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import TOGETHER
from pytest_gaitperf.results import VerdictKind
from tests.gate.joint_runs import JOULES, RATE, TIME, judged, kinds, simulated, slowed


def test_no_comparisons_give_no_verdicts() -> None:
    assert judged([]) == Judgement((), (), ())


@pytest.mark.parametrize("metric", [RATE, TIME])
def test_exactly_the_tolerance_is_tolerated(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_module, "FLOOR", 0.0)
    flat = {f"s{s}": SessionValue(100.0, 0.0, 3) for s in range(5)}
    run = [Comparison("m", metric, SessionValue(100.0, 0.0, 3), flat) for _ in range(4)]
    assert kinds(judged(slowed(run, 0.05))) == [VerdictKind.PASS] * 4
    assert kinds(judged(slowed(run, 0.0501))) == [VerdictKind.REGRESSED] * 4
    assert kinds(judged(slowed(run, 0.0501, 2))).count(VerdictKind.REGRESSED) == 1


def test_what_costs_a_little_of_everything_is_found_in_all_together() -> None:
    found = single = 0
    for seed in range(20):
        run = simulated(seed, 3, 4, sessions=10)
        slower = slowed(run, 0.08, *range(12))
        whole, apart = judged(slower), judged([replace(one, cell="") for one in slower])
        for judgement in (whole, apart):
            assert set(judgement.suspects) <= set(range(12))
        found += bool(whole.suspects)
        single += bool(apart.suspects)
        texts = [one for one in whole.findings if one.metric == TOGETHER]
        for finding in texts:
            assert finding.text.startswith("cost over all quantities of model0 as a whole changed")
            assert finding.change == pytest.approx(0.08, abs=0.05)
    assert found > single


def test_a_quantity_that_did_not_move_is_not_red_for_the_others() -> None:
    red = 0
    for seed in range(30):
        run = simulated(seed, 3, 4, sessions=3)
        joules = {i for i in range(12) if run[i].metric == JOULES}
        suspects = set(judged(slowed(run, 1.0, *(set(range(12)) - joules))).suspects)
        assert suspects - joules
        red += bool(suspects & joules)
    assert red <= 1


def test_the_parts_of_a_whole_weigh_as_they_are_known() -> None:
    past = {"s0": 0.0, "s1": 0.1}
    quiet = CellLogs("m", past, 0.3, TIME, assumed=0.01**2, least=1e-5, cell="c")
    loud = replace(quiet, metric=RATE, assumed=0.03**2, now=0.5, sessions={"s1": 0.2, "s2": 0.9})
    tail = replace(quiet, metric="latency_p99")
    other = replace(quiet, cell="d")
    ((mean, indices),) = together({3: quiet, 5: loud, 6: tail, 8: other})
    assert indices == (3, 5)
    assert (mean.model, mean.metric, mean.cell) == ("m", TOGETHER, "c")
    assert mean.now == pytest.approx(0.9 * 0.3 + 0.1 * 0.5)
    assert mean.sessions == {"s1": pytest.approx(0.9 * 0.1 + 0.1 * 0.2)}
    assert math.sqrt(mean.assumed) == pytest.approx(0.9 * 0.01 + 0.1 * 0.03)
    assert mean.least == pytest.approx((0.9**2 + 0.1**2) * 1e-5)


def test_a_slower_model_is_found_as_a_model_and_only_its_cells_are_red() -> None:
    run = slowed(simulated(2), 0.12, *range(27))
    judgement = judged(run)
    assert judgement.suspects
    assert set(judgement.suspects) <= set(range(27))
    assert {judgement.verdicts[i].scope for i in judgement.suspects} == {"model"}
    assert {(f.scope, f.model, f.worse) for f in judgement.findings} == {("model", "model0", True)}
    reason = judgement.verdicts[judgement.suspects[0]].reason
    assert ": throughput of model0 as a whole changed by -1" in reason
    assert "% (limit -" in reason
    assert "8 sessions)" in reason


def test_a_slower_cell_is_found_as_a_cell() -> None:
    judgement = judged(slowed(simulated(3), 0.3, 0, 1))
    assert judgement.suspects == (0, 1)
    assert {judgement.verdicts[i].scope for i in (0, 1)} == {"cell"}
    assert judgement.findings == ()


def test_a_common_shift_is_said_to_be_one() -> None:
    judgement = judged(slowed(simulated(4), 0.25))
    assert {finding.scope for finding in judgement.findings} == {"run"}
    assert len(judgement.suspects) > 100
    assert {verdict.scope for verdict in judgement.verdicts} == {"run"}
    text = next(f.text for f in judgement.findings if f.metric == JOULES)
    assert text.startswith("energy of the whole run changed by +")
    assert "%: the device or the server changed, not one model (limit +" in text


def test_a_shift_of_a_run_with_one_model_is_not_laid_at_the_devices_door() -> None:
    judgement = judged(slowed(simulated(4, models=1), 0.4))
    assert {finding.scope for finding in judgement.findings} == {"run"}
    texts = [finding.text for finding in judgement.findings]
    assert all(": the model, the device or the server changed (limit " in text for text in texts)


def test_a_small_common_shift_of_a_quiet_device_is_said_and_not_red() -> None:
    run = simulated(5, sd=(0.001, 0.001, 0.001))
    for change in (0.04, 1 / 1.04 - 1):
        judgement = judged(slowed(run, change))
        assert set(kinds(judgement)) == {VerdictKind.PASS}
        assert len(judgement.findings) == 3
        finding = next(f for f in judgement.findings if f.metric == TIME)
        assert finding.change == pytest.approx(change, abs=0.002)
        assert f" {finding.change:+.1%}: the device or the server changed" in finding.text


@pytest.mark.parametrize("models", [2, 4])
def test_a_model_that_improved_makes_no_other_red(models: int) -> None:
    red = sum(
        bool(judged(slowed(simulated(seed, models, metrics=[TIME]), -0.2, *range(9))).suspects)
        for seed in range(20)
    )
    assert red <= 2


def test_unchanged_runs_keep_alpha() -> None:
    alarms = [
        bool(judged(simulated(seed, 3, 4, sessions=6, metrics=[RATE, TIME]), alpha=0.1).suspects)
        for seed in range(60)
    ]
    assert float(np.mean(alarms)) <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 60)


def test_a_metric_of_one_cell_of_each_model_is_judged_beside_those_of_all() -> None:
    run = simulated(3, models=4, cells=9, metrics=(RATE,))
    run += simulated(4, models=4, cells=1, metrics=("subjects",))
    first = judge_jointly(run, 0.01)
    assert len(first.verdicts) == 40
    assert all(verdict.kind is VerdictKind.PASS for verdict in first.verdicts[36:])
    worse = slowed(run, 0.3, 37)
    verdicts = judge_jointly(worse, 0.01).verdicts
    assert verdicts[37].kind is VerdictKind.REGRESSED
    assert [i for i, verdict in enumerate(verdicts) if verdict.kind is VerdictKind.REGRESSED] == [
        37
    ]
    assert verdicts[37].metric == "subjects"


def test_a_confirmed_regression_carries_the_second_value() -> None:
    run = slowed(simulated(3), 0.3, 0)
    first = judged(run)
    assert first.suspects == (0,)
    second = confirm_jointly(run, first, {0: slowed(run, 0.02, 0)[0].now}, 0.01)
    assert second.suspects == (0,)
    assert "confirmed by re-measurement" in second.verdicts[0].reason
    assert second.verdicts[0].now != first.verdicts[0].now
    assert second.verdicts[1:] == first.verdicts[1:]


def test_what_is_confirmed_is_told_with_the_numbers_of_the_confirmation() -> None:
    run, everything = simulated(2), range(27)
    first = judged(slowed(run, 0.4, *everything))
    again = slowed(run, 0.2, *everything)
    values = {i: again[i].now for i in first.suspects}
    second = confirm_jointly(slowed(run, 0.4, *everything), first, values, 0.01)
    assert second.suspects == first.suspects == tuple(everything)
    assert len(second.findings) == len(first.findings) > 0
    for before, after in zip(first.findings, second.findings, strict=True):
        assert (after.metric, after.scope) == (before.metric, before.scope)
        if after.scope == "run":
            assert before.change is not None
            assert after.change is not None
            assert abs(math.log1p(before.change)) == pytest.approx(math.log(1.4), rel=0.2)
            assert abs(math.log1p(after.change)) == pytest.approx(math.log(1.2), rel=0.2)


def test_a_regression_that_does_not_come_back_is_inconclusive() -> None:
    run = slowed(simulated(2), 0.12, *range(27))
    first = judged(run)
    calm = simulated(2)
    again = {i: calm[i].now for i in first.suspects}
    second = confirm_jointly(run, first, again, 0.01)
    assert second.suspects == ()
    assert second.findings == ()
    doubted = [second.verdicts[i] for i in first.suspects]
    assert {verdict.kind for verdict in doubted} == {VerdictKind.INCONCLUSIVE}
    assert "did not confirm" in doubted[0].reason


def test_a_quantity_that_recovers_is_not_red_for_what_all_together_cost() -> None:
    """It was red for their mean alone, which the others still make worse."""
    run = simulated(2, 3, 4, sd=(0.005, 0.005, 0.005))
    slow = slowed(run, 1.0, *range(12))
    first = judged(slow)
    assert first.suspects == tuple(range(12))
    whole = tuple(claim for claim in first.worse if claim.shift.metric == TOGETHER)
    calm = {i for i in first.suspects if run[i].metric == JOULES}
    again = {i: (run if i in calm else slow)[i].now for i in first.suspects}
    second = confirm_jointly(slow, replace(first, worse=whole), again, 0.01)
    assert set(second.suspects) == set(first.suspects) - calm
    assert {second.verdicts[i].kind for i in calm} == {VerdictKind.INCONCLUSIVE}
    assert all("did not confirm" in second.verdicts[i].reason for i in calm)


def test_an_invalid_or_absent_second_value_acquits_nobody() -> None:
    run = slowed(simulated(3), 0.3, 0)
    first = judged(run)
    invalid = confirm_jointly(run, first, {0: SessionValue(math.nan, None)}, 0.01)
    assert invalid.verdicts[0].kind is VerdictKind.INCOMPARABLE
    assert confirm_jointly(run, first, {}, 0.01).verdicts == first.verdicts


def test_a_neighbours_invalid_second_value_acquits_nobody() -> None:
    run = slowed(simulated(2), 0.3, *range(0, 27, 3))  # the first model's throughput
    first = judged(run)
    assert first.suspects == tuple(range(0, 27, 3))
    again = {i: run[i].now for i in first.suspects} | {0: SessionValue(math.nan, None)}
    second = confirm_jointly(run, first, again, 0.01)
    assert kinds(second)[0] is VerdictKind.INCOMPARABLE
    assert set(second.suspects) == set(first.suspects) - {0}
    assert second.findings == first.findings
