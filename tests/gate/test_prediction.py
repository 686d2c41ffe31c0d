"""Where one more session may lie: against formulae, and on sessions whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_gaitperf.gate.prediction import (
    Prediction,
    Seen,
    holm,
    predict,
    successive_dof,
    successive_variance,
    upper_quantile,
)

LEVEL = 1e-4


def seen_of(
    logs: list[float] | np.ndarray[tuple[int], np.dtype[np.float64]], **more: float
) -> Seen:
    """What sessions with an assumed SD of 1 show."""
    values = np.asarray(logs, dtype=np.float64)
    count = values.size
    variance = successive_variance(values) if count > 1 else 0.0
    fields = {"assumed": 1.0, "factor": 1 + 1 / count, **more}
    return Seen(variance=variance, dof=successive_dof(count), **fields)


def limits(sessions: int, sd: float, *, cells: int, rounds: int, noisy: float = 1.0) -> list[float]:
    """Limits of the last of some cells with that SD, the first of which may be noisier."""
    rng = np.random.default_rng(round(100 * sd) + sessions)
    found = []
    for _ in range(rounds):
        logs = sd * rng.standard_normal((cells, sessions))
        logs[0] *= noisy
        found.append(predict([seen_of(row) for row in logs])[-1].limit(LEVEL))
    return found


variances = st.floats(0, 100)
dofs = st.floats(0.5, 10)
seen = st.builds(
    Seen, st.floats(0.01, 10), variances, dofs, st.floats(1.05, 2), st.just(0.0), st.just(1.0)
)


@given(st.lists(seen, min_size=1, max_size=6), st.floats(1e-7, 0.1))
def test_the_limit_is_exceeded_with_its_level(group: list[Seen], level: float) -> None:
    for prediction in predict(group):
        assert prediction.weights.sum() == pytest.approx(1)
        assert prediction.tail(prediction.limit(level)) == pytest.approx(level, rel=1e-3)
        assert prediction.tail(0.0) == pytest.approx(0.5)


@given(st.lists(seen, min_size=1, max_size=6), st.floats(0.01, 100))
def test_units_do_not_matter(group: list[Seen], unit: float) -> None:
    scaled = [
        one._replace(assumed=one.assumed * unit**2, variance=one.variance * unit**2)
        for one in group
    ]
    for first, second in zip(predict(group), predict(scaled), strict=True):
        assert second.limit(LEVEL) == pytest.approx(unit * first.limit(LEVEL), rel=1e-3)


def test_one_session_takes_the_assumed_sd_for_an_upper_end() -> None:
    (alone,) = predict([Seen(assumed=1.0)])
    normal = stats.norm.isf(LEVEL) * math.sqrt(2)
    assert normal < alone.limit(LEVEL) < 1.3 * normal
    (loud,) = predict([Seen(assumed=4.0)])
    assert loud.limit(LEVEL) == pytest.approx(2 * alone.limit(LEVEL), rel=1e-3)


def test_no_session_varies_less_than_its_lives_make_it() -> None:
    (still,) = predict([seen_of([0.0] * 10, least=0.5)])
    assert still.limit(LEVEL) >= stats.norm.isf(LEVEL) * math.sqrt(0.5 * 1.1)


@pytest.mark.parametrize("sd", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("cells", [1, 3, 12])
def test_more_sessions_never_hear_less(sd: float, cells: int) -> None:
    typical = [
        float(np.median(limits(count, sd, cells=cells, rounds=120 // cells)))
        for count in (1, 2, 3, 8)
    ]
    for fewer, more in itertools.pairwise(typical):
        assert more < fewer * 1.06
    assert typical[-1] < 0.9 * typical[0]


@pytest.mark.parametrize("sd", [2.0, 4.0])
def test_sessions_that_vary_more_than_assumed_are_believed(sd: float) -> None:
    for count in (3, 8):
        typical = float(np.median(limits(count, sd, cells=12, rounds=12)))
        assert typical > 0.95 * sd * stats.norm.isf(LEVEL) * math.sqrt(1 + 1 / count)


@pytest.mark.parametrize("sessions", [2, 3, 8])
def test_one_noisy_cell_does_not_widen_the_others(sessions: int) -> None:
    calm = float(np.median(limits(sessions, 0.7, cells=12, rounds=12)))
    beside = float(np.median(limits(sessions, 0.7, cells=12, rounds=12, noisy=7)))
    assert beside < 1.25 * calm


def test_the_noisy_cell_widens_itself() -> None:
    rng = np.random.default_rng(2)
    own = []
    for _ in range(20):
        logs = 0.7 * rng.standard_normal((16, 5))
        logs[0] *= 7
        own.append(predict([seen_of(row) for row in logs])[0].limit(LEVEL))
    assert float(np.median(own)) > 4.9 * stats.norm.isf(LEVEL)


def test_evidence_teaches_the_group_and_takes_no_place_in_it() -> None:
    group = [Seen(assumed=1.0)] * 12
    loud = [Seen(assumed=1.0, variance=16.0, dof=1.0)] * 12
    without, taught = predict(group)[0], predict(group, loud)[0]
    assert taught.limit(LEVEL) > 2 * without.limit(LEVEL)


def test_a_single_outlier_among_the_evidence_teaches_little() -> None:
    group = [Seen(assumed=1.0)] * 12
    usual = [Seen(assumed=1.0, variance=1.0, dof=1.0)] * 12
    far = Seen(assumed=1.0, variance=400.0, dof=1.0)
    calm, found = predict(group, usual)[0], predict(group, [*usual[1:], far])
    assert found[0].limit(LEVEL) < 1.3 * calm.limit(LEVEL)
    # What regressed does not widen its own limit.
    assert found[-1].limit(LEVEL) == pytest.approx(calm.limit(LEVEL))


def test_what_has_no_variance_leaves_nothing_to_chance() -> None:
    for nothing in predict([Seen(assumed=0.0), Seen(assumed=0.0)]):
        assert (nothing.tail(1e-6), nothing.tail(0.0), nothing.limit(LEVEL)) == (0.0, 1.0, 0.0)
    assert predict([]) == []


@pytest.mark.parametrize("sessions", [1, 3, 6])
def test_what_is_expected_of_further_sessions_comes(sessions: int) -> None:
    rng = np.random.default_rng(7)
    expected, found = [], []
    for _ in range(40):
        logs = rng.standard_normal((6, sessions + 3))
        before = predict([seen_of(row[:sessions]) for row in logs])[0]
        expected.append(before.after(3).limit(LEVEL))
        found.append(predict([seen_of(row) for row in logs])[0].limit(LEVEL))
        assert expected[-1] < 1.05 * before.limit(LEVEL)
    assert float(np.median(expected)) == pytest.approx(float(np.median(found)), rel=0.2)


def test_alarms_keep_their_level_where_sessions_vary_as_assumed() -> None:
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(150):
        logs = rng.standard_normal((12, 5))
        now = rng.standard_normal(12)
        for row, value, error in zip(logs, now, predict([seen_of(r) for r in logs]), strict=True):
            alarms += value - row.mean() > error.limit(0.005)
    assert 0 < alarms / 1800 < 0.005 + 3 * math.sqrt(0.005 / 1800)


def test_successive_differences_tell_the_variance_and_overlook_what_creeps() -> None:
    rng = np.random.default_rng(3)
    found = [successive_variance(row) for row in 0.1 * rng.standard_normal((4000, 6))]
    assert float(np.mean(found)) == pytest.approx(0.01, rel=0.03)
    dof = 2 * float(np.mean(found)) ** 2 / float(np.var(found))
    assert dof == pytest.approx(successive_dof(6), rel=0.08)
    assert successive_variance(np.arange(10) * 0.01) == pytest.approx(0.00005)
    assert np.var(np.arange(10) * 0.01, ddof=1) > 0.0009
    assert [successive_dof(count) for count in (1, 2)] == [0.0, 1.0]


@pytest.mark.parametrize("dof", [1.0, 4.0, 30.5])
@pytest.mark.parametrize("tail", [0.05, 1e-4, 1e-7])
def test_upper_quantile_is_students(dof: float, tail: float) -> None:
    assert upper_quantile(tail, dof) == pytest.approx(stats.t.isf(tail, dof), rel=1e-6)


def test_a_mixture_of_one_is_students_t() -> None:
    one = Prediction(np.array([0.1]), np.ones(1), 5.0, Seen(1.0))
    assert one.tail(0.3) == pytest.approx(stats.t.sf(3.0, 5))
    assert one.limit(0.01) == pytest.approx(0.1 * stats.t.isf(0.01, 5), rel=1e-4)


tests = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=30)


def rejected(pairs: list[tuple[float, float]], alpha: float = 0.05) -> list[bool]:
    tails = [tail for tail, _ in pairs]
    levels = holm(tails, [weight for _, weight in pairs], alpha)
    return [tail <= level for tail, level in zip(tails, levels, strict=True)]


def test_equal_weights_are_holms_steps() -> None:
    levels = holm([0.02, 0.001, 0.9, 0.012], [1.0] * 4, 0.04)
    assert levels == pytest.approx([0.02, 0.01, 0.04, 0.04 / 3])


def test_the_first_that_is_not_rejected_stops_the_rest() -> None:
    assert rejected([(0.03, 1.0), (0.03, 1.0)]) == [False, False]
    assert rejected([(0.025, 1.0), (0.05, 1.0)]) == [True, True]


@given(tests)
def test_holm_rejects_all_that_bonferroni_does(pairs: list[tuple[float, float]]) -> None:
    whole = sum(weight for _, weight in pairs)
    for (tail, weight), red in zip(pairs, rejected(pairs), strict=True):
        assert red or tail >= 0.05 * weight / whole * (1 - 1e-9)


@given(tests, st.data())
def test_a_smaller_tail_rejects_no_less(
    pairs: list[tuple[float, float]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(pairs) - 1))
    tail, weight = pairs[place]
    smaller = [*pairs]
    smaller[place] = (tail * data.draw(st.floats(0, 1)), weight)
    for before, after in zip(rejected(pairs), rejected(smaller), strict=True):
        assert after or not before


def test_false_rejections_keep_alpha_whatever_the_weights() -> None:
    rng = np.random.default_rng(4)
    weights = list(rng.uniform(0.1, 3.0, 12))
    # The first four tests are of true effects: they make the steps that Holm grants the others.
    wrong = 0
    for _ in range(4000):
        tails = [*rng.uniform(0, 1e-4, 4), *rng.uniform(0, 1, 8)]
        levels = holm(tails, weights, 0.05)
        wrong += any(tail <= level for tail, level in list(zip(tails, levels, strict=True))[4:])
    assert 0.02 < wrong / 4000 <= 0.05 + 0.012
