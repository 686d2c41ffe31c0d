from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power import energy as module
from pytest_gaitperf.power.energy import ErrorBudget, integrate, window_for
from pytest_gaitperf.power.trace import Trace

S = 1_000_000_000


def error_budget(
    trace: Trace, rails: list[str], start_ns: int, end_ns: int, update_period_s: float
) -> ErrorBudget:
    budget = module.error_budget(trace, rails, start_ns, end_ns, update_period_s)
    assert budget is not None
    return budget


def sampled(
    signal: np.ndarray[tuple[int], np.dtype[np.float64]],
    interval_s: float,
    quantum_w: float = 0.0,
) -> Trace:
    times = np.round(np.arange(signal.size) * interval_s * S).astype(np.int64)
    values = np.round(signal / quantum_w) * quantum_w if quantum_w else signal
    return Trace(("VDD_IN",), times, values[:, None], "power")


def test_rounding_of_a_constant_power_does_not_average() -> None:
    # 0.4 W steps on 4 W: uniform over one step, 0.4 / sqrt(12) / 4 = 2.9 %.
    trace = sampled(np.array([3.6, 4.0] + [4.0] * 1000), 0.01)
    budget = error_budget(trace, ["VDD_IN"], S, 9 * S, 0.01)
    assert budget.quantisation == pytest.approx(0.4 / math.sqrt(12) / 4)
    assert not budget.averages
    assert window_for(budget, 0.01) == math.inf
    assert budget.sampling == 0


def test_a_power_that_never_moved_has_no_step_to_tell_its_rounding_by() -> None:
    budget = error_budget(sampled(np.full(1000, 4.0), 0.01), ["VDD_IN"], S, 9 * S, 0.01)
    assert (budget.relative, budget.averages) == (0.0, False)


@pytest.mark.parametrize("quantum_w", [0.04, 0.4])
def test_the_budget_is_the_spread_of_the_real_errors(quantum_w: float) -> None:
    """White noise about 4 W, 100 windows: the true spread, and what each window says of itself."""
    rng = np.random.default_rng(4)
    errors, told = [], []
    for _ in range(100):
        signal = 4.0 + 0.5 * rng.standard_normal(503)
        trace = sampled(signal, 0.01, quantum_w)
        start, end = S // 100, 501 * S // 100
        errors.append(integrate(trace, start, end).joules["VDD_IN"] / 20.0 - 1)
        told.append(error_budget(trace, ["VDD_IN"], start, end, 0.01).relative)
    assert np.median(told) == pytest.approx(np.std(errors), rel=0.35)


def test_a_slow_swing_that_the_readings_resolve_costs_little() -> None:
    signal = 4.0 + np.sin(np.arange(1003) * 0.01)
    budget = error_budget(sampled(signal, 0.01), ["VDD_IN"], S // 100, 10 * S, 0.01)
    assert budget.sampling < 0.001


def test_values_that_repeat_are_no_new_information() -> None:
    rng = np.random.default_rng(5)
    noise = 4.0 + 0.5 * rng.standard_normal(203)
    once = error_budget(sampled(noise, 0.05), ["VDD_IN"], S, 9 * S, 0.05)
    often = error_budget(sampled(np.repeat(noise, 5), 0.01), ["VDD_IN"], S, 9 * S, 0.05)
    # The readings are five times as many and say the same; both are estimates from 8 figures.
    assert 0.4 < often.sampling / once.sampling < 2.5


def test_a_counter_has_only_edges() -> None:
    # 100 W, updated every 0.1 s, read every 0.02 s.
    times = np.arange(600, dtype=np.int64) * 20_000_000
    joules = 10.0 * (np.arange(600) // 5)
    trace = Trace(("gpu0",), times, joules[:, None].astype(float), "energy")
    budget = error_budget(trace, ["gpu0"], S, 11 * S, 0.1)
    assert (budget.quantisation, budget.sampling) == (0.0, 0.0)
    assert budget.edges == pytest.approx(0.02 / math.sqrt(6) / 10, rel=0.01)


def test_few_readings_are_taken_as_independent_draws() -> None:
    signal = np.array([4.0, 5.0] * 10)
    budget = error_budget(sampled(signal, 0.1), ["VDD_IN"], S // 20, 17 * S // 20, 0.1)
    # 8 readings inside, a deviation of 0.5 W about 4.5 W.
    assert budget.sampling == pytest.approx(0.5 / 4.5 / math.sqrt(8), rel=0.1)
    with pytest.raises(MeterError, match="does not cover"):
        error_budget(sampled(signal, 0.1), ["VDD_IN"], S, 3 * S, 0.1)


def test_no_joules_have_no_relative_error() -> None:
    assert module.error_budget(sampled(np.zeros(100), 0.01), ["VDD_IN"], 0, S // 2, 0.01) is None


@example(rounding=2.5e-138, edges=0.0, sampling=0.0, relative=0.0625, duration_s=1.0)
@given(
    st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0.001, 0.1), st.floats(1, 60)
)
def test_the_window_asked_for_has_the_precision_asked_for(
    rounding: float, edges: float, sampling: float, relative: float, duration_s: float
) -> None:
    """Solved for exactly, down to errors so small that their squares are none."""
    budget = ErrorBudget(duration_s, rounding, edges, sampling, averages=True)
    longer = window_for(budget, relative)
    share = duration_s / longer if longer else math.inf
    if math.isinf(share):
        assert budget.relative < 1e-6
        return
    again = math.sqrt((rounding**2 + sampling**2) * share + (edges * share) ** 2)
    assert again == pytest.approx(relative, rel=1e-6)


def test_a_precision_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        window_for(ErrorBudget(1.0, 0.0, 0.0, 0.0, averages=True), 0.0)


def test_one_line_says_where_the_error_comes_from() -> None:
    budget = ErrorBudget(5.0, 0.003, 0.004, 0.0, averages=True)
    assert budget.describe() == (
        "energy known to 0.50% (rounding 0.30%, edges 0.40%, sampling 0.00%, unseen 0.00%)"
    )
