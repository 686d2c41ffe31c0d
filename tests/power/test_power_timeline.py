"""The trace cut down to bins: nothing that counts is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.energy import MOST_BINS, MOST_BINS_BESIDE, integrate, power_timeline
from pytest_gaitperf.power.trace import Trace
from tests.power.test_energy import counters, powers, shares, window_of

S = 1_000_000_000


@given(st.one_of(powers(), counters()), shares, shares)
def test_the_bins_of_the_span_hold_its_joules_and_no_bin_is_beyond_what_was_read(
    trace: Trace, low: float, high: float
) -> None:
    start, end = window_of(trace, low, high)
    assume(end - start >= 1000)
    course = power_timeline(trace, start, end)
    first = round(-course.start_s / course.bin_s)
    inside = slice(first, first + round(course.span_s / course.bin_s))
    assert course.span_s == pytest.approx((end - start) * 1e-9)
    whole = integrate(trace, start, end)
    for rail, name in enumerate(trace.rails):
        watts = course.watts[name]
        assert 0 < len(watts[inside]) <= MOST_BINS
        assert len(watts) <= MOST_BINS + 2 * MOST_BINS_BESIDE
        # A bin's edges are rounded to nanoseconds, so a width of some hundred is off by a per cent.
        rounding = 2e-9 / course.bin_s * sum(map(abs, watts)) * course.bin_s
        assert sum(watts[inside]) * course.bin_s == pytest.approx(
            whole.joules[name], rel=1e-9, abs=1e-12 + rounding
        )
        if trace.kind == "power":
            read = trace.values[:, rail]
            assert min(watts) >= read.min() - 1e-6
            assert max(watts) <= read.max() + 1e-6
        else:
            assert min(watts) >= 0
    assert course.readings == whole.samples


def test_what_the_meter_read_beside_the_span_is_kept_for_ten_bins() -> None:
    times = np.arange(0, 4 * S, S // 100)
    watts = np.where((times >= S) & (times <= 3 * S), 10.0, 2.0)[:, None]
    course = power_timeline(Trace(("IN",), times, watts, "power"), S, 3 * S)
    assert [course.span_s, course.bin_s, course.start_s] == pytest.approx([2.0, 0.02, -0.2])
    assert course.watts["IN"][:9] == pytest.approx([2.0] * 9)
    assert course.watts["IN"][10:110] == pytest.approx([10.0] * 100)
    assert course.watts["IN"][111:] == pytest.approx([2.0] * 9)


def test_a_span_with_few_readings_has_as_many_bins() -> None:
    times = np.arange(0, 4 * S, S // 4)
    course = power_timeline(Trace(("IN",), times, np.ones((16, 1)), "power"), S, 3 * S)
    assert course.readings == 9
    assert course.bin_s == pytest.approx(2 / 9)


def test_a_counter_gives_power_between_its_updates() -> None:
    times = np.arange(0, 4 * S, S // 100)
    joules = np.floor(times / (S / 10)) / 10 * 5  # 5 W, a step of 0.5 J every 0.1 s
    course = power_timeline(Trace(("gpu0",), times, joules[:, None], "energy"), S, 3 * S)
    assert course.watts["gpu0"] == pytest.approx([5.0] * len(course.watts["gpu0"]))
    assert round(2 / course.bin_s) == 21  # the updates in the span, not the 201 readings


def test_a_trace_that_does_not_cover_the_span_is_refused() -> None:
    trace = Trace(("IN",), np.array([0, S]), np.ones((2, 1)), "power")
    with pytest.raises(MeterError, match="does not cover"):
        power_timeline(trace, S // 2, 2 * S)
