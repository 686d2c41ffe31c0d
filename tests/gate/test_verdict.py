from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pytest_gaitperf.gate import verdict as verdict_module
from pytest_gaitperf.gate.joint import judge_jointly
from pytest_gaitperf.gate.verdict import FLOOR, TYPICAL, Comparison, confirm, session_noise
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import METRICS, Direction
from pytest_gaitperf.results import Verdict, VerdictKind

# A rate and a time, one the inverse of the other, so of opposite directions.
RATE, TIME = "throughput", "latency_p50"
FROM_BEST = [
    VerdictKind.IMPROVED,
    VerdictKind.PASS,
    VerdictKind.INCONCLUSIVE,
    VerdictKind.REGRESSED,
]


class Rules(NamedTuple):
    """How a cell alone is judged: one-sided at ``level``."""

    tolerance: float = 0.05
    level: float = 0.01


ALONE, SHARED = Rules(), Rules(level=0.01 / 48)

values = st.floats(1e-3, 1e5)
spreads = st.floats(0.0, 0.5)
session = st.builds(SessionValue, values, st.one_of(st.none(), spreads), st.integers(1, 60))
near = st.floats(50, 150)
near_session = st.builds(SessionValue, near, spreads, st.integers(1, 60))
baselines = st.lists(near_session, min_size=1, max_size=8)
all_rules = st.builds(Rules, st.floats(0, 0.3), st.floats(5e-7, 0.2))


def quiet(value: float, spread: float = 0.01, n: int = 10) -> SessionValue:
    return SessionValue(value, spread, n)


def judge(
    metric: str, now: SessionValue, sessions: list[SessionValue], rules: Rules = ALONE
) -> Verdict:
    """Judge one metric of one cell alone."""
    past = {f"s{number}": session for number, session in enumerate(sessions)}
    comparison = Comparison("model", metric, now, past, rules.tolerance)
    (verdict,) = judge_jointly([comparison], rules.level).verdicts
    return verdict


def clear_of_any_limit(verdict: Verdict) -> bool:
    """Whether no rounding can move the verdict over a limit."""
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.change is not None
    assert verdict.limit is not None
    edges = (verdict.low, verdict.high, verdict.change - verdict.limit)
    return all(abs(edge) > 1e-6 for edge in edges)


@given(near_session, baselines, all_rules, st.floats(1e-6, 1e6))
def test_units_do_not_matter(
    now: SessionValue,
    sessions: list[SessionValue],
    rules: Rules,
    scale: float,
) -> None:
    first = judge(TIME, now, sessions, rules)
    assume(clear_of_any_limit(first))
    assume(abs(abs(math.log1p(first.change or 0)) - math.log1p(rules.tolerance)) > 1e-6)
    scaled = judge(
        TIME,
        replace(now, value=now.value * scale),
        [replace(s, value=s.value * scale) for s in sessions],
        rules,
    )
    assert scaled.kind is first.kind
    assert scaled.change == pytest.approx(first.change, abs=1e-9)
    assert scaled.low == pytest.approx(first.low, abs=1e-9)


@given(near_session, baselines, all_rules)
def test_the_order_in_which_sessions_are_given_does_not_matter(
    now: SessionValue, sessions: list[SessionValue], rules: Rules
) -> None:
    past = {f"s{number}": one for number, one in enumerate(sessions)}
    found = [
        judge_jointly([Comparison("m", RATE, now, given_in, rules.tolerance)], rules.level).verdicts
        for given_in in (past, dict(reversed(past.items())))
    ]
    assert found[0] == found[1]


@given(
    near_session,
    baselines,
    all_rules,
    st.tuples(st.floats(1.0, 3.0), st.sampled_from([*METRICS])),
)
def test_a_worse_now_is_never_judged_better(
    now: SessionValue,
    sessions: list[SessionValue],
    rules: Rules,
    slower: tuple[float, str],
) -> None:
    factor, metric = slower
    up = METRICS[metric].direction is Direction.HIGHER_IS_BETTER
    worse = replace(now, value=now.value / factor if up else now.value * factor)
    first = judge(metric, now, sessions, rules).kind
    second = judge(metric, worse, sessions, rules).kind
    assert FROM_BEST.index(second) >= FROM_BEST.index(first)


@given(near_session, baselines, all_rules)
def test_the_inverse_in_the_other_direction_is_judged_the_same(
    now: SessionValue,
    sessions: list[SessionValue],
    rules: Rules,
) -> None:
    first = judge(TIME, now, sessions, rules)
    assume(clear_of_any_limit(first))
    assume(abs(abs(math.log1p(first.change or 0)) - math.log1p(rules.tolerance)) > 1e-6)
    flipped = judge(
        RATE,
        replace(now, value=1 / now.value),
        [replace(s, value=1 / s.value) for s in sessions],
        rules,
    )
    assert flipped.kind is first.kind
    assert flipped.change is not None
    assert first.change is not None
    assert (1 + flipped.change) * (1 + first.change) == pytest.approx(1)


not_data = st.sampled_from([0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])


@given(st.lists(session, min_size=1, max_size=5))
def test_nothing_left_of_a_rate_is_a_regression(sessions: list[SessionValue]) -> None:
    verdict = judge(RATE, quiet(0.0), sessions)
    assert verdict.kind is VerdictKind.REGRESSED
    assert verdict.now == 0
    assert verdict.change == pytest.approx(-1, abs=1e-3)


@given(not_data, st.lists(session, max_size=5))
def test_bad_data_now_is_incomparable(bad: float, sessions: list[SessionValue]) -> None:
    verdict = judge(RATE if bad else TIME, quiet(bad), sessions)
    assert verdict.kind is VerdictKind.INCOMPARABLE
    assert "this session's value" in verdict.reason


@given(not_data, st.lists(session, max_size=5), session, st.integers(0, 5))
def test_bad_data_in_the_baseline_is_incomparable(
    bad: float, sessions: list[SessionValue], now: SessionValue, place: int
) -> None:
    sessions.insert(place, quiet(bad))
    verdict = judge(RATE, now, sessions)
    assert verdict.kind is VerdictKind.INCOMPARABLE
    assert "the baseline's value" in verdict.reason


@pytest.mark.parametrize("spread", [-0.1, math.inf])
def test_a_spread_that_is_none_is_incomparable(spread: float) -> None:
    assert judge(RATE, quiet(1.0, spread), [quiet(1.0)]).kind is VerdictKind.INCOMPARABLE


@given(session)
def test_no_baseline_is_missing(now: SessionValue) -> None:
    assert judge(RATE, now, []).kind is VerdictKind.MISSING


@given(session, st.lists(session, min_size=1, max_size=12), all_rules)
def test_any_numbers_get_a_verdict_of_one_line(
    now: SessionValue,
    sessions: list[SessionValue],
    rules: Rules,
) -> None:
    verdict = judge(TIME, now, sessions, rules)
    assert verdict.kind in FROM_BEST
    assert verdict.reason
    assert "\n" not in verdict.reason
    assert verdict.sensitivity is not None
    assert verdict.must_hear == 0.25
    assert verdict.sessions == len(sessions)


def test_the_ends_of_what_a_float_holds_are_judged() -> None:
    verdict = judge(TIME, quiet(1e300), [quiet(1e-300)])
    assert verdict.kind is VerdictKind.REGRESSED
    assert judge(RATE, quiet(1e300), [quiet(5e-324)]).kind is VerdictKind.IMPROVED


@pytest.mark.parametrize(
    ("metric", "now", "kind"),
    [
        (TIME, 105.0, VerdictKind.PASS),
        (TIME, 105.001, VerdictKind.REGRESSED),
        (RATE, 100 / 1.05, VerdictKind.PASS),
        (RATE, 100 / 1.05 - 0.001, VerdictKind.REGRESSED),
        (TIME, 100 / 1.05, VerdictKind.PASS),
        (TIME, 100 / 1.05 - 0.001, VerdictKind.IMPROVED),
        (RATE, 105.0, VerdictKind.PASS),
        (RATE, 105.001, VerdictKind.IMPROVED),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_exactly_the_tolerance_is_tolerated(
    metric: str, now: float, kind: VerdictKind, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_module, "FLOOR", 0.0)
    sessions = [quiet(100.0, spread=0.0)] * count
    assert judge(metric, quiet(now, spread=0.0), sessions).kind is kind


def test_beyond_tolerance_within_noise_is_inconclusive_from_both_gates() -> None:
    few = judge(TIME, quiet(0.110, 0.05), [quiet(0.100, 0.05)], SHARED)
    assert few.kind is VerdictKind.INCONCLUSIVE
    many = judge(TIME, quiet(0.110), [quiet(v) for v in (0.09, 0.1, 0.11)], SHARED)
    assert many.kind is VerdictKind.INCONCLUSIVE


def test_the_limit_is_where_the_verdict_turns() -> None:
    for sessions in ([quiet(0.1, 0.03)], [quiet(v) for v in (0.099, 0.1, 0.101, 0.1, 0.1)]):
        limit = judge(TIME, quiet(0.1), sessions, SHARED).limit
        assert limit is not None
        base = judge(TIME, quiet(0.1), sessions, SHARED).baseline
        assert base is not None
        over = judge(TIME, quiet(base * (1 + limit) * 1.0001), sessions, SHARED)
        under = judge(TIME, quiet(base * (1 + limit) / 1.0001), sessions, SHARED)
        assert over.kind is VerdictKind.REGRESSED
        assert under.kind is not VerdictKind.REGRESSED


def test_without_lives_the_largest_usual_noise_is_assumed() -> None:
    for unknown in (None, math.nan):
        nothing = SessionValue(100.0, unknown)
        assert judge(TIME, SessionValue(130.0, unknown), [nothing]).kind is VerdictKind.INCONCLUSIVE
        assert judge(TIME, SessionValue(300.0, unknown), [nothing]).kind is VerdictKind.REGRESSED


def test_noisier_lives_widen_a_limit() -> None:
    limits = [
        judge(TIME, quiet(1.0, spread), [quiet(1.0, spread)]).limit or 0
        for spread in (0.0, 0.02, 0.05, 0.15)
    ]
    assert limits == sorted(limits)
    assert limits[0] > 0.05


def test_the_noise_that_lives_suggest() -> None:
    three = [SessionValue(1.0, 0.06, 3), SessionValue(1.0, 0.06, 3)]
    ((assumed, least),) = session_noise([three])
    usual = 0.06**2 / (1 - 2 / (9 * 4)) ** 3  # the median of one cell is that cell
    w2 = (4 * usual + 4 * 0.06**2) / 8
    assert least == pytest.approx(w2 / 3)
    assert assumed == pytest.approx(FLOOR**2 + 1.5 * w2 / 3)
    assert session_noise([[SessionValue(1.0)]]) == [(TYPICAL**2, 0.0)]


def test_what_is_counted_and_not_measured_has_a_floor_of_its_own() -> None:
    usual, own = (session_noise([[SessionValue(1.0, 0.0, 3)] * 2], floor)[0] for floor in (1, 0.1))
    assert usual[0] == pytest.approx(FLOOR**2)
    assert own[0] == pytest.approx(FLOOR**2 / 100)
    assert session_noise([[SessionValue(1.0)]], 0.1)[0][0] == pytest.approx(TYPICAL**2 / 100)
    # Of large steps, a typical session has no more than its lives would say that it has.
    assert session_noise([[SessionValue(1.0)]], 5.0)[0][0] == pytest.approx((5 * FLOOR) ** 2)


def test_one_cell_with_noisy_lives_widens_hardly_the_others() -> None:
    calm = [[SessionValue(1.0, 0.02, 3)] * 2 for _ in range(9)]
    loud = [SessionValue(1.0, 0.3, 3)] * 2
    alone, beside = session_noise(calm), session_noise([*calm, loud])
    assert beside[0] == pytest.approx(alone[0], rel=0.05)
    assert beside[-1][0] > 20 * beside[0][0]


@pytest.mark.parametrize(
    ("metric", "now", "sessions", "reason"),
    [
        (
            RATE,
            quiet(41.2, 0.0),
            [quiet(47.0, 0.0)],
            ("41.20 inf/s, -12.3% from the baseline of 47.00 (limit -8.1%, 1 session)"),
        ),
        (
            "latency_p99",
            quiet(0.0412),
            [quiet(0.0402), quiet(0.0404)],
            ("41.20 ms, +2.2% from the baseline of 40.30 (limit +6.2%, 2 sessions)"),
        ),
        (
            "energy_per_inference",
            quiet(0.00631),
            [quiet(0.00971)] * 3,
            (
                "6.310 mJ, -35.0% from the baseline of 9.710: better beyond noise, "
                "record it to tighten the gate (3 sessions)"
            ),
        ),
        (
            RATE,
            quiet(40.0, 0.1, 3),
            [quiet(47.0, 0.1, 3)],
            (
                "40.00 inf/s, -14.9% from the baseline of 47.00: beyond the tolerance of 5.0%, "
                "within the noise of -21.4% (1 session)"
            ),
        ),
    ],
)
def test_the_reason_reads_like_this(
    metric: str, now: SessionValue, sessions: list[SessionValue], reason: str
) -> None:
    assert judge(metric, now, sessions).reason == reason


def test_confirmation_needs_both_measurements() -> None:
    base = [quiet(100.0)]
    red = judge(TIME, quiet(150.0), base)
    assert red.kind is VerdictKind.REGRESSED
    confirmed = confirm(red, judge(TIME, quiet(140.0), base))
    assert confirmed.kind is VerdictKind.REGRESSED
    assert confirmed.now == 140.0
    assert "confirmed by re-measurement" in confirmed.reason
    assert "150000 ms" in confirmed.reason
    calm = judge(TIME, quiet(101.0), base)
    doubtful = confirm(red, calm)
    assert doubtful.kind is VerdictKind.INCONCLUSIVE
    assert red.reason in doubtful.reason
    assert calm.reason in doubtful.reason
