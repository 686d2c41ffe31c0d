from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.load.record import (
    MAXIMUM_FAILURE_REASONS,
    LoadRecord,
    completed_between,
    longest_silence_ns,
    mean_in_flight,
    work_done,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Times = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def times(pairs: list[tuple[int, int]]) -> Times:
    """Requests as (start, duration), put in the order of completion."""
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    ends = starts + np.array([duration for _, duration in pairs], dtype=np.int64)
    order = np.argsort(ends, kind="stable")
    return starts[order], ends[order]


def edges(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


# A machine that has been up for 100 days: its clock is far from zero.
UP_NS = 100 * 86_400 * 10**9
requests = st.lists(
    st.tuples(st.integers(UP_NS, UP_NS + 10_000), st.integers(0, 3_000)), min_size=1, max_size=40
)
cuts = st.lists(st.integers(UP_NS - 500, UP_NS + 14_000), min_size=2, max_size=12, unique=True).map(
    sorted
)


@given(requests, cuts)
def test_each_request_counts_by_the_share_of_its_time(
    pairs: list[tuple[int, int]], at: list[int]
) -> None:
    starts, ends = times(pairs)
    expected = []
    for low, high in pairwise(at):
        parts = [
            (min(end, high) - max(start, low)) / (end - start)
            if end > start
            else float(low < end <= high)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            if end > low and start <= high
        ]
        expected.append(sum(max(part, 0.0) for part in parts))
    np.testing.assert_allclose(work_done(starts, ends, edges(*at)), expected, atol=1e-9)


@given(requests, cuts)
def test_the_work_of_adjoining_windows_adds_up(pairs: list[tuple[int, int]], at: list[int]) -> None:
    starts, ends = times(pairs)
    windows = work_done(starts, ends, edges(*at))
    assert windows.sum() == pytest.approx(work_done(starts, ends, edges(at[0], at[-1]))[0])
    assert (windows >= -1e-9).all()


@given(requests)
def test_the_whole_span_holds_every_request(pairs: list[tuple[int, int]]) -> None:
    starts, ends = times(pairs)
    span = edges(int(starts.min()) - 1, int(ends.max()))
    assert work_done(starts, ends, span)[0] == pytest.approx(len(pairs))


def test_windows_of_whole_requests_count_them() -> None:
    starts, ends = times([(0, 10), (10, 10), (20, 10), (30, 5), (35, 5)])
    np.testing.assert_array_equal(work_done(starts, ends, edges(0, 10, 30, 40)), [1.0, 2.0, 2.0])


def test_without_requests_nothing_is_done() -> None:
    nothing = np.array([], dtype=np.int64)
    np.testing.assert_array_equal(work_done(nothing, nothing, edges(0, 5, 10)), [0.0, 0.0])


def test_a_straggler_that_others_overtook_counts_in_every_window() -> None:
    starts, ends = times([(0, 100), *((start, 10) for start in range(0, 100, 10))])
    np.testing.assert_allclose(
        work_done(starts, ends, np.arange(0, 101, 10, dtype=np.int64)), [1.1] * 10
    )


def test_completed_between_takes_the_end_edge_and_leaves_the_start_edge() -> None:
    starts, ends = times([(0, 10), (5, 15), (10, 20), (20, 5)])  # ends: 10, 20, 30, 25
    np.testing.assert_allclose(
        completed_between(starts, ends, 10, 25), np.array([5e-9, 15e-9]), rtol=1e-12
    )
    assert completed_between(starts, ends, 30, 99).size == 0


def test_mean_in_flight() -> None:
    starts, ends = times([(0, 10), (0, 20), (15, 5)])
    assert mean_in_flight(starts, ends, 0, 20) == pytest.approx(35 / 20)
    assert mean_in_flight(starts, ends, 10, 15) == pytest.approx(1.0)
    assert mean_in_flight(starts, ends, 20, 30) == 0.0


def test_the_longest_silence() -> None:
    starts = np.array([0, 2, 10, 30], dtype=np.int64)
    ends = np.array([5, 9, 12, 50], dtype=np.int64)
    assert longest_silence_ns(starts, ends, 0, 100) == 20, "nothing was due from 12 to 30"
    assert longest_silence_ns(starts, ends, 0, 40) == 10
    assert longest_silence_ns(starts, ends, 44, 100) == 6
    assert longest_silence_ns(starts, ends, 60, 100) == 0
    # A straggler keeps an answer due all the time.
    hanging = np.append(starts, 1), np.append(ends, 60)
    assert longest_silence_ns(*hanging, 0, 100) == 38


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12),
    st.integers(0, 60),
    st.integers(1, 40),
)
def test_the_longest_silence_is_that_of_the_definition(
    requests: list[tuple[int, int]], start: int, length: int
) -> None:
    pairs = sorted(((low, low + took) for low, took in requests), key=lambda pair: pair[1])
    longest = silent = 0
    for now in range(start, start + length):  # from now to now + 1
        if any(end == now for _, end in pairs):
            silent = 0
        due = any(low <= now < end for low, end in pairs)
        silent = silent + 1 if due else 0
        longest = max(longest, silent)
    starts = np.array([low for low, _ in pairs], dtype=np.int64)
    ends = np.array([end for _, end in pairs], dtype=np.int64)
    assert longest_silence_ns(starts, ends, start, start + length) == longest


def test_a_few_different_reasons_are_kept_of_many_failures() -> None:
    record = LoadRecord()
    for index in range(1000):
        record.fail(f"reason {index // 10}")
    assert record.failures == 1000
    assert record.failure_reasons == [f"reason {i}" for i in range(MAXIMUM_FAILURE_REASONS)]


def test_times_are_views_that_let_the_load_go_on() -> None:
    record = LoadRecord()
    for index in range(5):
        record.starts_ns.append(index)
        record.ends_ns.append(index + 10)
    starts, ends = record.times(3)
    assert (starts.tolist(), ends.tolist()) == ([3, 4], [13, 14])
    del starts, ends
    record.ends_ns.append(99)
    assert record.requests == 6
    assert LoadRecord().times()[0].size == 0
