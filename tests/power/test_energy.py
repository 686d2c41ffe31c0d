from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.trace import Trace

S = 1_000_000_000


def power(points: list[tuple[float, float]], rail: str = "VDD_IN") -> Trace:
    times = np.array([round(at * S) for at, _ in points], dtype=np.int64)
    return Trace((rail,), times, np.array([[watts] for _, watts in points]), "power")


def counter(points: list[tuple[float, float]]) -> Trace:
    return replace(power(points, "gpu0"), kind="energy")


@st.composite
def powers(draw: st.DrawFn) -> Trace:
    """Two rails, irregular times from 0 to at least 2 ns, signed watts."""
    steps = draw(st.lists(st.integers(1, 10**8), min_size=2, max_size=30))
    times = np.concatenate(([0], np.cumsum(steps))).astype(np.int64)
    watts = st.floats(-50, 50, allow_subnormal=False)
    values = draw(st.lists(st.tuples(watts, watts), min_size=times.size, max_size=times.size))
    return Trace(("a", "b"), times, np.array(values), "power")


@st.composite
def counters(draw: st.DrawFn) -> Trace:
    """A counter that moves at some readings and repeats its value at others."""
    moves = draw(st.lists(st.integers(0, 5), min_size=6, max_size=40))
    steps = draw(st.lists(st.integers(1, 10**7), min_size=len(moves), max_size=len(moves)))
    # Two updates early and two late, so that there is a window to integrate.
    moves[1], moves[2], moves[-2], moves[-1] = 1, 1, 1, 1
    values = np.cumsum(moves).astype(float)[:, None]
    return Trace(("gpu0",), np.cumsum(steps).astype(np.int64), values, "energy")


def window_of(trace: Trace, low: float, high: float) -> tuple[int, int]:
    """Place a window, by two shares in [0, 1], where the trace covers it."""
    times = trace.times_ns
    if trace.kind == "energy":
        times = times[1:][np.diff(trace.values[:, 0]) != 0]
    span = int(times[-1] - times[0])
    start, end = sorted((int(times[0]) + int(low * span), int(times[0]) + int(high * span)))
    return (start, end) if end > start else (int(times[0]), int(times[-1]))


shares = st.floats(0, 1)


@given(st.one_of(powers(), counters()), shares, shares, shares)
def test_the_energy_of_two_halves_is_the_energy_of_the_whole(
    trace: Trace, low: float, high: float, split: float
) -> None:
    start, end = window_of(trace, low, high)
    middle = start + int(split * (end - start))
    if middle in (start, end):
        return
    first, second = integrate(trace, start, middle), integrate(trace, middle, end)
    whole = integrate(trace, start, end)
    for rail in trace.rails:
        assert first.joules[rail] + second.joules[rail] == pytest.approx(
            whole.joules[rail], rel=1e-9, abs=1e-9
        )


@given(powers(), shares, shares, st.floats(-3, 3), st.floats(-3, 3))
def test_energy_is_linear_in_power(
    trace: Trace, low: float, high: float, a: float, b: float
) -> None:
    start, end = window_of(trace, low, high)
    parts = integrate(trace, start, end).joules
    mixed = Trace(("mix",), trace.times_ns, (trace.values @ np.array([[a], [b]])), "power")
    assert integrate(mixed, start, end).joules["mix"] == pytest.approx(
        a * parts["a"] + b * parts["b"], rel=1e-9, abs=1e-9
    )


@given(powers(), shares, shares, st.lists(shares, min_size=1, max_size=20))
def test_more_readings_on_the_same_curve_change_nothing(
    trace: Trace, low: float, high: float, extra: list[float]
) -> None:
    start, end = window_of(trace, low, high)
    more = np.array([int(share * int(trace.times_ns[-1])) for share in extra], dtype=np.int64)
    times = np.union1d(trace.times_ns, more)
    values = np.stack(
        [np.interp(times, trace.times_ns, trace.values[:, rail]) for rail in (0, 1)], axis=1
    )
    denser = integrate(Trace(trace.rails, times, values, "power"), start, end)
    sparser = integrate(trace, start, end)
    for rail in trace.rails:
        assert denser.joules[rail] == pytest.approx(sparser.joules[rail], rel=1e-9, abs=1e-9)


@given(counters(), shares, shares, st.data())
def test_readings_that_repeat_a_counter_change_nothing(
    trace: Trace, low: float, high: float, data: st.DataObject
) -> None:
    start, end = window_of(trace, low, high)
    at = data.draw(st.integers(0, trace.times_ns.size - 2))
    between = data.draw(st.integers(int(trace.times_ns[at]), int(trace.times_ns[at + 1])))
    times = np.insert(trace.times_ns, at + 1, between)
    values = np.insert(trace.values, at + 1, trace.values[at], axis=0)
    repeated = integrate(Trace(trace.rails, times, values, "energy"), start, end)
    assert repeated.joules == pytest.approx(integrate(trace, start, end).joules)


def test_a_ramp_between_readings_is_interpolated_at_both_edges() -> None:
    energy = integrate(power([(0, 0.0), (10, 10.0)]), 2 * S, 4 * S)
    assert energy.joules["VDD_IN"] == pytest.approx(6.0)
    assert energy.mean_power_w(["VDD_IN"]) == pytest.approx(3.0)
    assert (energy.samples, energy.longest_gap_s) == (0, 10.0)


def test_a_jump_between_two_readings_of_one_time_counts_each_side_once() -> None:
    trace = power([(0, 1.0), (1, 1.0), (1, 5.0), (2, 5.0)])
    assert integrate(trace, 0, 2 * S).joules["VDD_IN"] == pytest.approx(6.0)
    assert integrate(trace, 0, S).joules["VDD_IN"] == pytest.approx(1.0)
    assert integrate(trace, S, 2 * S).joules["VDD_IN"] == pytest.approx(5.0)


def test_a_counter_is_interpolated_between_its_updates_not_its_readings() -> None:
    # 100 W, updated every 0.1 s, read every 0.02 s: a repeated value is an old one.
    trace = counter([(k * 0.02, 10.0 * (k // 5)) for k in range(101)])
    for edge in (0.5, 0.53, 0.59):
        energy = integrate(trace, round(edge * S), round((edge + 1.04) * S))
        assert energy.joules["gpu0"] == pytest.approx(104.0)


def test_readings_and_new_values_are_counted_inside_the_window() -> None:
    trace = power([(0, 1.0), (1, 2.0), (2, 2.0), (3, 3.0), (4, 3.0), (5, 9.0)])
    energy = integrate(trace, round(0.5 * S), round(4.5 * S))
    assert (energy.samples, energy.fresh) == (4, 2)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [(0, 3, "before the start"), (2, 6, "after the end")],
)
def test_a_window_beyond_the_readings_is_refused(start: int, end: int, says: str) -> None:
    with pytest.raises(MeterError, match=says):
        integrate(power([(1, 1.0), (5, 1.0)]), start * S, end * S)


def test_a_window_beyond_the_last_update_of_a_counter_is_refused() -> None:
    trace = counter([(0, 0.0), (1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)])
    with pytest.raises(MeterError, match="an update of gpu0 is missing after the end"):
        integrate(trace, S, 3 * S)


def test_a_counter_that_never_moves_is_refused_not_zero() -> None:
    with pytest.raises(MeterError, match="has not an update of gpu0"):
        integrate(counter([(0, 5.0), (1, 5.0), (2, 5.0)]), 0, S)


def test_a_counter_that_ran_backwards_is_refused() -> None:
    trace = counter([(0, 5.0), (1, 6.0), (2, 1.0), (3, 2.0)])
    with pytest.raises(MeterError, match="gpu0 ran backwards"):
        integrate(trace, S, 3 * S)


def test_an_empty_trace_covers_nothing() -> None:
    with pytest.raises(MeterError, match="has not a reading"):
        integrate(Trace(("a",), np.zeros(0, np.int64), np.zeros((0, 1)), "power"), 0, S)


def test_times_that_decrease_are_no_trace() -> None:
    with pytest.raises(ValueError, match="must not decrease"):
        power([(1, 1.0), (0, 1.0)])
