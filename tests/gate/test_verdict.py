from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gate.prediction import VariancePrior
from pytest_gaitperf.gate.verdict import Policy, SessionValue, confirm, judge, variance_prior
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

values = st.floats(1e-3, 1e5)
spreads = st.floats(0.0, 0.5)
session = st.builds(SessionValue, values, st.one_of(st.none(), spreads), st.integers(0, 60))
near = st.floats(50, 150)
near_session = st.builds(SessionValue, near, spreads, st.integers(0, 60))
baselines = st.lists(near_session, min_size=1, max_size=8)
policies = st.builds(
    Policy, st.floats(0, 0.3), st.floats(1e-4, 0.2), st.integers(1, 200), st.floats(0, 0.05)
)
priors = st.one_of(
    st.none(), st.builds(VariancePrior, st.floats(1e-5, 0.02), st.floats(0, 30), st.just(100.0))
)


def quiet(value: float, spread: float = 0.01, n: int = 10) -> SessionValue:
    return SessionValue(value, spread, n)


def clear_of_any_limit(verdict: Verdict) -> bool:
    """Whether no rounding can move the verdict over a limit."""
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.change is not None
    assert verdict.limit is not None
    edges = (verdict.low, verdict.high, verdict.change - verdict.limit)
    return all(abs(edge) > 1e-6 for edge in edges)


@given(near_session, baselines, policies, priors, st.floats(1e-6, 1e6))
def test_units_do_not_matter(
    now: SessionValue,
    sessions: list[SessionValue],
    policy: Policy,
    prior: VariancePrior | None,
    scale: float,
) -> None:
    first = judge(TIME, now, sessions, policy, prior)
    assume(clear_of_any_limit(first))
    assume(abs(abs(math.log1p(first.change or 0)) - math.log1p(policy.tolerance)) > 1e-6)
    scaled = judge(
        TIME,
        replace(now, value=now.value * scale),
        [replace(s, value=s.value * scale) for s in sessions],
        policy,
        prior,
    )
    assert scaled.state is first.state
    assert scaled.change == pytest.approx(first.change, abs=1e-9)
    assert scaled.low == pytest.approx(first.low, abs=1e-9)


@given(near_session, baselines, policies, priors, st.randoms())
def test_the_order_of_sessions_does_not_matter(
    now: SessionValue,
    sessions: list[SessionValue],
    policy: Policy,
    prior: VariancePrior | None,
    random: object,
) -> None:
    shuffled = sorted(sessions, key=lambda s: (s.value, s.spread or 0, s.n))
    assert judge(RATE, now, shuffled, policy, prior) == judge(
        RATE, now, shuffled[::-1], policy, prior
    )


@given(
    near_session,
    baselines,
    policies,
    priors,
    st.tuples(st.floats(1.0, 3.0), st.sampled_from([*METRICS])),
)
def test_a_worse_now_is_never_judged_better(
    now: SessionValue,
    sessions: list[SessionValue],
    policy: Policy,
    prior: VariancePrior | None,
    slower: tuple[float, str],
) -> None:
    factor, metric = slower
    up = METRICS[metric].direction is Direction.HIGHER_IS_BETTER
    worse = replace(now, value=now.value / factor if up else now.value * factor)
    first = judge(metric, now, sessions, policy, prior).state
    second = judge(metric, worse, sessions, policy, prior).state
    assert FROM_BEST.index(second) >= FROM_BEST.index(first)


@given(near_session, baselines, policies, priors)
def test_the_inverse_in_the_other_direction_is_judged_the_same(
    now: SessionValue,
    sessions: list[SessionValue],
    policy: Policy,
    prior: VariancePrior | None,
) -> None:
    first = judge(TIME, now, sessions, policy, prior)
    assume(clear_of_any_limit(first))
    assume(abs(abs(math.log1p(first.change or 0)) - math.log1p(policy.tolerance)) > 1e-6)
    flipped = judge(
        RATE,
        replace(now, value=1 / now.value),
        [replace(s, value=1 / s.value) for s in sessions],
        policy,
        prior,
    )
    assert flipped.state is first.state
    assert flipped.change is not None
    assert first.change is not None
    assert (1 + flipped.change) * (1 + first.change) == pytest.approx(1)


not_data = st.sampled_from([0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])


@given(not_data, st.lists(session, max_size=5), policies)
def test_bad_data_now_is_invalid(bad: float, sessions: list[SessionValue], policy: Policy) -> None:
    verdict = judge(RATE, quiet(bad), sessions, policy)
    assert verdict.state is VerdictKind.INVALID
    assert "this session's value" in verdict.reason


@given(not_data, st.lists(session, max_size=5), session, policies, st.integers(0, 5))
def test_bad_data_in_the_baseline_is_invalid(
    bad: float, sessions: list[SessionValue], now: SessionValue, policy: Policy, place: int
) -> None:
    sessions.insert(place, quiet(bad))
    verdict = judge(RATE, now, sessions, policy)
    assert verdict.state is VerdictKind.INVALID
    assert "the baseline's value" in verdict.reason


@pytest.mark.parametrize("spread", [-0.1, math.inf])
def test_a_spread_that_is_none_is_invalid(spread: float) -> None:
    assert judge(RATE, quiet(1.0, spread), [quiet(1.0)], Policy()).state is VerdictKind.INVALID


@given(session, policies)
def test_no_baseline_is_missing(now: SessionValue, policy: Policy) -> None:
    assert judge(RATE, now, [], policy).state is VerdictKind.MISSING


@given(session, st.lists(session, min_size=1, max_size=12), policies, priors)
def test_any_numbers_get_a_verdict_of_one_line(
    now: SessionValue, sessions: list[SessionValue], policy: Policy, prior: VariancePrior | None
) -> None:
    verdict = judge(TIME, now, sessions, policy, prior)
    assert verdict.state in FROM_BEST
    assert verdict.reason
    assert "\n" not in verdict.reason
    assert verdict.provisional == (len(sessions) < 3)
    assert verdict.sessions == len(sessions)


def test_the_ends_of_what_a_float_holds_are_judged() -> None:
    verdict = judge(TIME, quiet(1e300), [quiet(1e-300)], Policy())
    assert verdict.state is VerdictKind.REGRESSED
    assert judge(RATE, quiet(1e300), [quiet(5e-324)], Policy()).state is VerdictKind.IMPROVED


@pytest.mark.parametrize(
    ("metric", "now", "state"),
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
    metric: str, now: float, state: VerdictKind, count: int
) -> None:
    exact = Policy(tolerance=0.05, floor=0.0)
    sessions = [quiet(100.0, spread=0.0)] * count
    assert judge(metric, quiet(now, spread=0.0), sessions, exact).state is state


def test_beyond_tolerance_within_noise_is_inconclusive_from_both_gates() -> None:
    policy = Policy(tolerance=0.05, comparisons=48)
    few = judge(TIME, quiet(0.110, 0.05), [quiet(0.100, 0.05)], policy)
    assert few.state is VerdictKind.INCONCLUSIVE
    many = judge(TIME, quiet(0.110), [quiet(v) for v in (0.09, 0.1, 0.11)], policy)
    assert many.state is VerdictKind.INCONCLUSIVE


def test_the_limit_is_where_the_verdict_turns() -> None:
    policy = Policy(comparisons=48)
    for sessions in ([quiet(0.1, 0.03)], [quiet(v) for v in (0.099, 0.1, 0.101, 0.1, 0.1)]):
        limit = judge(TIME, quiet(0.1), sessions, policy).limit
        assert limit is not None
        base = judge(TIME, quiet(0.1), sessions, policy).baseline
        assert base is not None
        over = judge(TIME, quiet(base * (1 + limit) * 1.0001), sessions, policy)
        under = judge(TIME, quiet(base * (1 + limit) / 1.0001), sessions, policy)
        assert over.state is VerdictKind.REGRESSED
        assert under.state is not VerdictKind.REGRESSED


def test_unknown_spreads_cannot_turn_red() -> None:
    for unknown in (None, math.nan):
        nothing = SessionValue(100.0, unknown)
        verdict = judge(TIME, SessionValue(200.0, unknown), [nothing], Policy())
        assert verdict.state is VerdictKind.INCONCLUSIVE
        assert "no session's windows tell the noise" in verdict.reason
        assert (verdict.low, verdict.high, verdict.limit) == (None, None, None)
        assert judge(TIME, quiet(200.0), [nothing], Policy()).state is VerdictKind.REGRESSED


def test_noisier_windows_widen_a_provisional_limit() -> None:
    limits = [
        judge(TIME, quiet(1.0, spread), [quiet(1.0, spread)], Policy()).limit or 0
        for spread in (0.0, 0.02, 0.05, 0.15)
    ]
    assert limits == sorted(limits)
    assert limits[0] > Policy().tolerance


def test_cells_known_to_vary_more_than_their_windows_widen_a_provisional_limit() -> None:
    loud = VariancePrior(0.14**2, 8.0, 100.0)
    now, sessions = quiet(1.3), [quiet(1.0)]
    assert judge(TIME, now, sessions, Policy()).state is VerdictKind.REGRESSED
    assert judge(TIME, now, sessions, Policy(), loud).state is VerdictKind.INCONCLUSIVE


def test_a_prior_lets_three_sessions_hear() -> None:
    now, sessions = quiet(1.15), [quiet(v) for v in (0.98, 1.0, 1.02)]
    policy = Policy(comparisons=48)
    assert judge(TIME, now, sessions, policy).state is VerdictKind.INCONCLUSIVE
    prior = VariancePrior(0.02**2, 40.0, 200.0)
    assert judge(TIME, now, sessions, policy, prior).state is VerdictKind.REGRESSED


@pytest.mark.parametrize(
    ("metric", "now", "sessions", "reason"),
    [
        (
            RATE,
            quiet(41.2, 0.0),
            [quiet(47.0, 0.0)],
            (
                "41.2 inf/s is 12.3 % below the baseline 47.0 "
                "(limit 7.9 %, 1 session: provisional; record 2 more)"
            ),
        ),
        (
            "latency_p99",
            quiet(0.0412),
            [quiet(0.0402), quiet(0.0404)],
            (
                "41.2 ms is 2.2 % above the baseline 40.3 "
                "(limit 8.0 %, 2 sessions: provisional; record 1 more)"
            ),
        ),
        (
            "energy_per_inference",
            quiet(0.00631),
            [quiet(0.00971)] * 3,
            (
                "6.31 mJ is 35.0 % below the baseline 9.71: better beyond noise, "
                "record it to tighten the gate (3 sessions)"
            ),
        ),
        (
            RATE,
            quiet(40.0, 0.1),
            [quiet(47.0, 0.1)],
            (
                "40.0 inf/s is 14.9 % below the baseline 47.0: beyond the tolerance of 5.0 %, "
                "within the noise of 31.7 % (1 session: provisional; record 2 more)"
            ),
        ),
    ],
)
def test_the_reason_reads_like_this(
    metric: str, now: SessionValue, sessions: list[SessionValue], reason: str
) -> None:
    assert judge(metric, now, sessions, Policy()).reason == reason


def test_confirmation_needs_both_measurements() -> None:
    base, policy = [quiet(100.0)], Policy()
    red = judge(TIME, quiet(150.0), base, policy)
    again = judge(TIME, quiet(140.0), base, policy)
    calm = judge(TIME, quiet(101.0), base, policy)
    assert red.state is VerdictKind.REGRESSED
    confirmed = confirm(red, again)
    assert confirmed.state is VerdictKind.REGRESSED
    assert confirmed.now == 140.0
    assert "confirmed by re-measurement" in confirmed.reason
    assert "150000 ms" in confirmed.reason
    for second in (
        calm,
        judge(TIME, quiet(math.nan), base, policy),
        judge(TIME, quiet(101.0), [], policy),
    ):
        doubtful = confirm(red, second)
        assert doubtful.state is VerdictKind.INCONCLUSIVE
        assert red.reason in doubtful.reason
        assert second.reason in doubtful.reason
    assert confirm(calm, red) == calm
    with pytest.raises(ValueError, match="different metrics"):
        confirm(red, replace(calm, metric=RATE))


@pytest.mark.parametrize(
    "fields",
    [
        {"tolerance": -0.1},
        {"tolerance": math.nan},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"comparisons": 0},
        {"floor": -1.0},
    ],
)
def test_a_policy_that_cannot_be_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        Policy(**fields)  # type: ignore[arg-type]


def test_variance_prior_learns_from_the_cells() -> None:
    rng = np.random.default_rng(1)
    cells = [[quiet(v) for v in np.exp(0.03 * rng.standard_normal(5))] for _ in range(200)]
    prior = variance_prior(cells)
    assert prior is not None
    assert math.sqrt(prior.variance) == pytest.approx(0.03, rel=0.1)
    assert variance_prior([[quiet(1.0)], [quiet(2.0), quiet(2.0)], []]) is None


def test_importing_the_verdict_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest_gaitperf.gate.verdict; "
        "sys.exit(str([m for m in ('numpy', 'scipy', 'msgspec') if m in sys.modules] or ''))"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter, the code above
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
