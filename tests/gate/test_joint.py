"""A whole run's verdicts: three scopes, one alpha, one confirmation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from pytest_gaitperf.gate import verdict as verdict_module
from pytest_gaitperf.gate.joint import Judgement, confirm_jointly, judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS, Direction
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

RATE, TIME, JOULES = "throughput", "latency_p50", "energy_per_inference"
METRICS_JUDGED = (RATE, TIME, JOULES)
BAD_VALUES = [0.0, -1.0, math.nan, math.inf]


def value(metric: str, worse: float) -> SessionValue:
    """A quiet session's value that is worse than 1 by this much on the log scale."""
    up = METRICS[metric].direction is Direction.LOWER_IS_BETTER
    return SessionValue(math.exp(worse if up else -worse), 0.01, 12)


def simulated(
    seed: int,
    models: int = 4,
    cells: int = 9,
    *,
    sessions: int = 8,
    sd: tuple[float, float, float] = (0.02, 0.01, 0.025),
    metrics: Sequence[str] = METRICS_JUDGED,
) -> list[Comparison]:
    """An unchanged run; its sessions differ by SDs common to all, per model, per cell."""
    rng = np.random.default_rng(seed)
    shape = (sessions + 1, models, cells, len(metrics))
    logs = sd[2] * rng.standard_normal(shape)
    logs += sd[1] * rng.standard_normal((sessions + 1, models, 1, len(metrics)))
    logs += sd[0] * rng.standard_normal((sessions + 1, 1, 1, len(metrics)))
    return [
        Comparison(
            f"model{m}",
            metric,
            value(metric, float(logs[-1, m, c, k])),
            {f"s{s}": value(metric, float(logs[s, m, c, k])) for s in range(sessions)},
        )
        for m in range(models)
        for c in range(cells)
        for k, metric in enumerate(metrics)
    ]


def slowed(comparisons: Sequence[Comparison], change: float, *which: int) -> list[Comparison]:
    """Make what is now of some comparisons (of all where none is named) worse by a ratio."""
    slow = []
    for i, comparison in enumerate(comparisons):
        up = METRICS[comparison.metric].direction is Direction.LOWER_IS_BETTER
        factor = (1 + change) if up else 1 / (1 + change)
        now = structs.replace(comparison.now, value=comparison.now.value * factor)
        slow.append(replace(comparison, now=now) if not which or i in which else comparison)
    return slow


def judged(comparisons: Sequence[Comparison], alpha: float = 0.01) -> Judgement:
    return judge_jointly(comparisons, alpha)


def kinds(judgement: Judgement) -> list[VerdictKind]:
    return [verdict.kind for verdict in judgement.verdicts]


numbers = st.floats(-0.4, 0.4)


@st.composite
def small_runs(draw: st.DrawFn) -> list[Comparison]:
    run = []
    for model in range(draw(st.integers(1, 3))):
        for metric in (RATE, TIME):
            for _ in range(draw(st.integers(0, 3))):
                ids = draw(st.sets(st.integers(0, 5), max_size=6))
                sessions = {f"s{i}": value(metric, draw(numbers)) for i in sorted(ids)}
                run.append(Comparison(f"m{model}", metric, value(metric, draw(numbers)), sessions))
    return run


def close_calls(judgement: Judgement) -> bool:
    """Whether rounding could turn a verdict."""
    return any(
        abs(abs(math.log1p(v.change)) - math.log1p(0.05)) < 1e-6
        or (v.limit is not None and abs(v.change - v.limit) < 1e-6)
        for v in judgement.verdicts
        if v.change is not None
    )


@settings(deadline=None, max_examples=25)
@given(small_runs(), st.lists(st.floats(1e-6, 1e6), min_size=18, max_size=18))
def test_units_do_not_matter(run: list[Comparison], units: list[float]) -> None:
    scaled = [
        replace(
            c,
            now=structs.replace(c.now, value=c.now.value * unit),
            sessions={
                s: SessionValue(v.value * unit, v.spread, v.lives) for s, v in c.sessions.items()
            },
        )
        for c, unit in zip(run, units, strict=False)
    ]
    first = judged(run)
    assume(not close_calls(first))
    assert kinds(judged(scaled)) == kinds(first)


@settings(deadline=None, max_examples=25)
@given(small_runs(), st.randoms(use_true_random=False))
def test_the_order_of_cells_and_sessions_does_not_matter(
    run: list[Comparison], random: Random
) -> None:
    order = list(range(len(run)))
    random.shuffle(order)
    shuffled = [
        replace(run[i], sessions=dict(sorted(run[i].sessions.items(), reverse=True))) for i in order
    ]
    first = judged(run)
    assume(not close_calls(first))
    second = kinds(judged(shuffled))
    assert [second[order.index(i)] for i in range(len(run))] == kinds(first)


@settings(deadline=None, max_examples=25)
@given(small_runs())
def test_the_inverse_in_the_other_direction_is_judged_the_same(run: list[Comparison]) -> None:
    other = {RATE: TIME, TIME: RATE}
    inverse = [
        replace(
            c,
            metric=other[c.metric],
            now=structs.replace(c.now, value=1 / c.now.value),
            sessions={
                s: SessionValue(1 / v.value, v.spread, v.lives) for s, v in c.sessions.items()
            },
        )
        for c in run
    ]
    first = judged(run)
    assume(not close_calls(first))
    assert kinds(judged(inverse)) == kinds(first)


@settings(deadline=None, max_examples=25)
@given(small_runs(), st.floats(0, 1))
def test_nothing_is_judged_better_when_everything_gets_worse(
    run: list[Comparison], change: float
) -> None:
    rank = [
        VerdictKind.MISSING,
        VerdictKind.IMPROVED,
        VerdictKind.PASS,
        VerdictKind.INCONCLUSIVE,
        VerdictKind.REGRESSED,
    ]
    pairs = zip(judged(run).verdicts, judged(slowed(run, change)).verdicts, strict=True)
    for before, after in pairs:
        # Beside others that got as much worse it may be noise, but then it is not green.
        assert after.unheard or rank.index(after.kind) >= rank.index(before.kind)


@settings(deadline=None, max_examples=25)
@given(small_runs(), st.floats(0, 1))
def test_what_did_not_get_worse_beyond_its_tolerance_is_never_red(
    run: list[Comparison], tolerance: float
) -> None:
    loose = [replace(c, tolerance=tolerance) for c in run]
    for comparison, verdict in zip(loose, judged(loose, alpha=0.9).verdicts, strict=True):
        if verdict.kind is VerdictKind.REGRESSED:
            assert verdict.change is not None
            up = METRICS[comparison.metric].direction is Direction.LOWER_IS_BETTER
            assert (verdict.change if up else 1 / (1 + verdict.change) - 1) > tolerance


@settings(deadline=None, max_examples=25)
@given(small_runs(), st.sampled_from(BAD_VALUES), st.data())
def test_bad_or_missing_data_never_pass_and_take_no_share(
    run: list[Comparison], bad: float, data: st.DataObject
) -> None:
    assume(run)
    place = data.draw(st.integers(0, len(run) - 1))
    broken, empty = [*run], [*run]
    broken[place] = replace(run[place], now=SessionValue(bad, 0.01))
    empty[place] = replace(run[place], sessions={})
    without = kinds(judged([*run[:place], *run[place + 1 :]]))
    for changed, kind in ((broken, VerdictKind.INCOMPARABLE), (empty, VerdictKind.MISSING)):
        found = kinds(judged(changed))
        assert found.pop(place) is kind
        assert found == without


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


@settings(deadline=None, max_examples=25)
@given(small_runs())
def test_all_at_once_each_stands_where_it_stands_by_itself(run: list[Comparison]) -> None:
    for comparison, together in zip(run, judged(run).verdicts, strict=True):
        (alone,) = judged([comparison]).verdicts
        if not comparison.sessions:
            assert together == alone
            continue
        assert together.sessions == alone.sessions
        assert together.now == alone.now
        assert together.baseline == pytest.approx(alone.baseline, rel=1e-12)
        assert together.change == pytest.approx(alone.change, rel=1e-12, abs=1e-12)


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


def test_unchanged_runs_keep_alpha() -> None:
    alarms = [
        bool(judged(simulated(seed, 3, 4, sessions=6, metrics=[RATE, TIME]), alpha=0.1).suspects)
        for seed in range(60)
    ]
    assert float(np.mean(alarms)) <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 60)


def test_whole_models_and_single_cells_are_heard() -> None:
    models = [judged(slowed(simulated(s), 0.10, *range(0, 27, 3))) for s in range(12)]
    assert float(np.mean([bool(j.suspects) for j in models])) >= 0.7
    cells = [judged(slowed(simulated(s), 0.18, 0, 1)) for s in range(12)]
    assert float(np.mean([bool({0, 1} & set(j.suspects)) for j in cells])) >= 0.7


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
