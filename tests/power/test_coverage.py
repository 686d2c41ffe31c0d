"""What a meter did not see bounds the error of its joules, and too much of it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pytest_gaitperf.power.coverage import Known
from pytest_gaitperf.power.energy import ErrorBudget, error_budget, integrate
from pytest_gaitperf.power.trace import Trace

S = 1_000_000_000
TOLERANCE = 0.05
Values = npt.NDArray[np.float64]


def read_at(times_s: Values, watts: Values, *rails: str) -> Trace:
    values = watts if watts.ndim == 2 else watts[:, None]
    return Trace(rails or ("VDD_IN",), np.round(times_s * S).astype(np.int64), values, "power")


def budget_of(trace: Trace, end_s: float, known: Known | None = None) -> ErrorBudget:
    found = error_budget(trace, list(trace.rails), 0, round(end_s * S), 0.01, known=known)
    assert found is not None
    return found


def noisy(times_s: Values, watts: float = 8.0, seed: int = 1) -> Values:
    rng = np.random.default_rng(seed)
    steps: Values = np.round((watts + 0.3 * rng.standard_normal(times_s.size)) / 0.04)
    return steps * 0.04


def times_to(end_s: float, step_s: float = 0.00944) -> Values:
    return np.arange(-0.1, end_s + 0.1, step_s)


def test_a_meter_that_reads_on_sees_everything() -> None:
    times_s = times_to(10.0)
    budget = budget_of(read_at(times_s, noisy(times_s)), 10.0)
    assert (budget.unseen, budget.paused, budget.stale) == (0, 0, 0)
    assert budget.unknown(TOLERANCE) is None


def test_a_sampler_that_stops_together_with_the_load_is_refused() -> None:
    """It reads the idle power only: what it has seen tells nothing of what it has not."""
    times_s = times_to(10.0)
    asleep = (times_s % 0.1) < 0.06  # while the load, of 30 W, runs
    kept = times_s[~asleep]
    budget = budget_of(read_at(kept, noisy(kept)), 10.0)
    assert budget.paused > 0.5
    assert "in 6" in (budget.unknown(TOLERANCE) or "")
    assert "no reading came" in (budget.unknown(TOLERANCE) or "")


def test_a_quota_is_refused_for_the_range_that_was_seen_before() -> None:
    times_s = times_to(10.0)
    watts = noisy(times_s)
    idle = Known().learn(read_at(times_s, noisy(times_s, 2.0)), idle=True)
    kept = (times_s % 1.0) > 0.09
    paused = read_at(times_s[kept], watts[kept])
    known = idle.learn(paused)
    budget = budget_of(paused, 10.0, known)
    # 9 % of the time, and a little at its edges, x about 6 W of range, of 8 W.
    assert budget.unseen == pytest.approx(0.1 * 7 / 8, rel=0.25)
    assert budget.unknown(TOLERANCE) is not None
    assert budget.unknown(0.2) is None


@pytest.mark.parametrize("frozen_s", [8.0, 2.0])
def test_a_chip_that_freezes_is_refused_though_its_values_moved_before(frozen_s: float) -> None:
    times_s = times_to(10.0)
    watts = noisy(times_s)
    frozen = (times_s > 1.0) & (times_s < 1.0 + frozen_s)
    watts[frozen] = watts[np.flatnonzero(frozen)[0]]
    budget = budget_of(read_at(times_s, watts), 10.0)
    assert budget.stale == pytest.approx(frozen_s / 10, abs=0.01)
    assert "the values stood still" in (budget.unknown(TOLERANCE) or "")


def test_one_chip_of_two_that_freezes_is_seen_beside_the_other() -> None:
    times_s = times_to(10.0)
    both = np.column_stack((noisy(times_s), noisy(times_s, seed=2)))
    both[times_s > 5.0, 1] = both[-1, 1]
    trace = read_at(times_s, both, "GPU", "CV")
    assert budget_of(trace, 10.0).stale == 0
    apart = replace(trace, chips=(("GPU",), ("CV",)))
    assert budget_of(apart, 10.0).stale == pytest.approx(0.5, abs=0.01)


def test_a_coarse_sensor_s_steady_value_is_not_stale() -> None:
    """AGX Orin: steps of 394 mW, so that a value stands for many readings by chance."""
    times_s = times_to(10.0)
    fine = 8.0 + 0.12 * np.random.default_rng(3).standard_normal(times_s.size)
    budget = budget_of(read_at(times_s, np.round(fine / 0.394) * 0.394), 10.0)
    assert budget.stale == 0


def test_a_load_in_bursts_is_not_stale_where_the_idle_power_stands_as_long() -> None:
    times_s = times_to(20.0)
    burst = (times_s % 5.0) < 0.5
    watts = np.where(burst, noisy(times_s), 2.0)
    trace = read_at(times_s, watts)
    assert budget_of(trace, 20.0).stale > 0.5
    still = np.where((times_s % 0.8) < 0.1, 2.04, 2.0)
    known = Known().learn(read_at(times_s, still), idle=True).learn(trace)
    assert budget_of(trace, 20.0, known).stale == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_holds_whatever_the_load_does_while_nothing_is_read(seed: int) -> None:
    """The load runs just where the sampler does not, or rests there: the worst that can be."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(-0.1, 10.1, 0.001)
    away = np.zeros(times_s.size, bool)
    for start_s in rng.uniform(0, 9, 3):
        away |= (times_s > start_s) & (times_s < start_s + rng.uniform(0.05, 0.3))
    loaded = away if seed % 2 else ~away
    watts = np.where(loaded, 12.0, 3.0) + 0.1 * rng.standard_normal(times_s.size)
    known = Known().learn(read_at(times_s, watts))  # another cell showed both
    truth_j = integrate(read_at(times_s, watts), 0, 10 * S).joules["VDD_IN"]
    kept = ~away & (np.arange(times_s.size) % 10 == 0)
    trace = read_at(times_s[kept], watts[kept])
    error = integrate(trace, 0, 10 * S).joules["VDD_IN"] / truth_j - 1
    budget = budget_of(trace, 10.0, known)
    measured_j = truth_j * (1 + error)
    assert abs(error) * truth_j <= (budget.unseen + 3 * budget.sampling + 0.002) * measured_j


def counter(rise_w: Values, step_s: float = 0.02) -> Trace:
    joules = np.cumsum(rise_w) * step_s
    times_ns = (np.arange(joules.size) * step_s * S).astype(np.int64) - S // 10
    return Trace(("gpu0",), times_ns, joules[:, None], "energy")


def test_a_counter_that_stood_still_for_good_is_refused_and_one_that_caught_up_is_not() -> None:
    watts = np.full(520, 100.0) + np.arange(520) % 3
    lost, caught = watts.copy(), watts.copy()
    lost[100:300] = 0
    caught[100:300] = 0
    caught[300] = watts[100:301].sum()
    refused = budget_of(counter(lost), 10.0)
    assert refused.stale == pytest.approx(0.4, abs=0.01)
    assert refused.unseen == pytest.approx(0.4 / 0.6, rel=0.05)
    assert refused.unknown(TOLERANCE) is not None
    assert budget_of(counter(caught), 10.0).unknown(TOLERANCE) is None


def test_windows_together_and_cut_keep_what_was_not_seen() -> None:
    blind = ErrorBudget(10.0, 0.0, 0.0, 0.0, averages=True, unseen=0.02, paused=0.04)
    half = blind.cut(5.0, 1)
    assert (half.unseen, half.paused) == (0.04, 0.08)
