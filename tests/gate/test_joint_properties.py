"""What holds of the joint gate's verdicts on any run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS, Direction
from pytest_gaitperf.results import VerdictKind
from tests.gate.joint_runs import RATE, TIME, judged, kinds, slowed, value

if TYPE_CHECKING:
    from random import Random

    from pytest_gaitperf.gate.joint import Judgement

numbers = st.floats(-0.4, 0.4)


@st.composite
def small_runs(draw: st.DrawFn) -> list[Comparison]:
    run = []
    for model in range(draw(st.integers(1, 3))):
        for metric in (RATE, TIME):
            for cell in range(draw(st.integers(0, 3))):
                ids = draw(st.sets(st.integers(0, 5), max_size=6))
                sessions = {f"s{i}": value(metric, draw(numbers)) for i in sorted(ids)}
                now = value(metric, draw(numbers))
                run.append(Comparison(f"m{model}", metric, now, sessions, cell=f"c{cell}"))
    return run


def close_calls(judgement: Judgement) -> bool:
    """Whether rounding could turn a verdict."""
    return any(
        abs(abs(math.log1p(v.change)) - math.log1p(0.05)) < 1e-6
        or (v.limit is not None and abs(v.change - v.limit) < 1e-6)
        for v in judgement.verdicts
        if v.change is not None
    )


@settings(max_examples=25)
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


@settings(max_examples=25)
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


@settings(max_examples=25)
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


@settings(max_examples=25)
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


@settings(max_examples=25)
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


@settings(max_examples=25)
@given(small_runs(), st.sampled_from([-1.0, math.nan, math.inf]), st.data())
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


@settings(max_examples=25)
@given(small_runs())
def test_all_at_once_each_stands_where_it_stands_by_itself(run: list[Comparison]) -> None:
    for comparison, beside in zip(run, judged(run).verdicts, strict=True):
        (alone,) = judged([comparison]).verdicts
        if not comparison.sessions:
            assert beside == alone
            continue
        assert beside.sessions == alone.sessions
        assert beside.now == alone.now
        # What is red from the accepted level alone is told from there.
        red = beside.kind is VerdictKind.REGRESSED
        levels = [alone.baseline, *([alone.anchor] if red else [])]
        told_from = [one for one in levels if one == pytest.approx(beside.baseline, rel=1e-12)]
        assert told_from
        assert beside.now is not None
        assert told_from[0] is not None
        change = beside.now / told_from[0] - 1
        assert beside.change == pytest.approx(change, rel=1e-12, abs=1e-12)
