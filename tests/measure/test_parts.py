"""A long load, summed up while it goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.parts import Latencies, Needed, Parts
from pytest_gaitperf.measure.subjects import left_out
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

S = 10**9


def parts_of(
    count: int = 60,
    windows: int = 1,
    window_s: float = 1.0,
    undisturbed: Callable[[int, int], bool | None] = lambda _start, _end: True,
    asked: float = 0.0,
) -> Parts:
    return Parts(
        start_ns=S,
        window_ns=int(window_s * S),
        count=count,
        windows=windows,
        lag_ns=S // 4,
        batch_size=1,
        late_from_s=1e-3,
        asked=asked,
        undisturbed=undisturbed,
    )


def one_by_one(record: LoadRecord, now_s: float, end_s: float, rate: float) -> float:
    """Let one request at a time go on at a rate until a time; return when the next one begins."""
    while rate and now_s < end_s:
        record.starts_ns.append(int(now_s * S))
        now_s += 1 / rate
        record.ends_ns.append(int(now_s * S))
    return max(now_s, end_s)


def fed(parts: Parts, rates: Iterable[float], record: LoadRecord | None = None) -> LoadRecord:
    """Let one request at a time go on at a rate in each second, from the start on; tick by tick."""
    record = LoadRecord() if record is None else record
    now_s = 0.5
    for second, rate in enumerate([100.0, *rates]):
        now_s = one_by_one(record, now_s, second + 1, rate)
        parts.take(record, (second + 1) * S)
    parts.take(record, int((now_s + 1) * S))
    return record


def test_what_is_summed_up_is_forgotten_and_counted_still() -> None:
    parts, record = parts_of(), LoadRecord()
    most = 0
    for second in range(61):
        fed_s = [second + i / 1000 for i in range(1000)]
        record.starts_ns.extend(int(at * S) for at in fed_s)
        record.ends_ns.extend(int((at + 1e-3) * S) for at in fed_s)
        parts.take(record, (second + 1) * S + S // 2)
        most = max(most, len(record.ends_ns))
    assert record.requests == 61_000
    assert most <= 2000
    assert parts.complete
    assert [round(part.rate) for part in parts.done] == [1000] * 60
    assert sum(len(part.latencies) for part in parts.done) == 60_000


def test_windows_add_up_to_all_that_was_done() -> None:
    generator = np.random.default_rng(5)
    parts, record = parts_of(20), LoadRecord()
    ends = np.sort(generator.uniform(0.6, 23, 500))
    for second in range(25):
        due = ends[(ends > second) & (ends <= second + 1)]
        record.starts_ns.extend(int(one * S) - S // 10 for one in due)
        record.ends_ns.extend(int(one * S) for one in due)
        parts.take(record, (second + 1) * S)
    inside = ((ends > 1) & (ends <= 21)).sum()
    assert sum(part.inferences for part in parts.done) == pytest.approx(inside, abs=1)
    assert sum(len(part.latencies) for part in parts.done) == inside


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_a_percentile_in_bins_is_that_of_the_requests(q: float) -> None:
    latencies_s = np.random.default_rng(3).lognormal(math.log(5e-3), 0.6, 20_000)
    bins = Latencies()
    for some in np.array_split(latencies_s, 7):
        bins.add(some)
    assert len(bins) == latencies_s.size
    assert bins.quantile(q) == pytest.approx(np.quantile(latencies_s, q), rel=6e-3)


def test_no_latency_is_lost_for_being_too_long_or_none() -> None:
    bins = Latencies()
    bins.add(np.array([0.0, 1e-9, 1e6]))
    assert len(bins) == 3


def test_the_end_is_compared_with_the_first_minute_or_fifth() -> None:
    short, long = parts_of(60, 1), parts_of(60, 30)
    assert len(short.first) == 12
    assert len(long.first) == 60
    day = parts_of(60, 1440)
    assert len(day.first) == 60
    fed(short, [100] * 20 + [70] * 40)
    assert short.first_rate is not None
    assert short.last_rate is not None
    assert short.last_rate[0] / short.first_rate[0] == pytest.approx(0.7, rel=0.02)


def test_an_open_loop_is_compared_with_the_rate_that_was_asked_for() -> None:
    parts = parts_of(asked=100.0)
    fed(parts, [60] * 60)
    assert parts.first_rate is not None
    assert parts.last_rate is not None
    assert parts.last_rate[0] / parts.first_rate[0] == pytest.approx(0.6, rel=0.02)


def test_what_others_disturbed_is_no_slower_end() -> None:
    parts = parts_of(undisturbed=lambda start, _end: start < 51 * S or start >= 55 * S)
    fed(parts, [100] * 50 + [40] * 4 + [100] * 6)
    assert sum(part.disturbed for part in parts.done) == 4
    assert parts.last_rate is not None
    assert parts.last_rate[0] == pytest.approx(100, rel=0.02)


def test_an_end_that_others_disturbed_is_not_known() -> None:
    parts = parts_of(undisturbed=lambda start, _end: start < 51 * S)
    fed(parts, [100] * 60)
    assert parts.first_rate is not None
    assert parts.last_rate is None


def test_a_part_waits_for_the_watch() -> None:
    known: list[bool] = []
    parts = parts_of(10, undisturbed=lambda _start, _end: True if known else None)
    record = fed(parts, [100] * 10)
    assert not parts.done
    known.append(True)
    parts.take(record, 30 * S)
    assert parts.complete


NEEDED = Needed(100.0, 0.95, "a limit", "a ratio")


def lost_at(rates: Iterable[float], needed: Needed = NEEDED) -> int | None:
    """Return after how many parts a load is given up, None where it is not."""
    parts, record = parts_of(), LoadRecord()
    now_s = 0.0
    for second, rate in enumerate([100.0, *rates]):
        now_s = one_by_one(record, now_s, second + 1, rate)
        before = len(parts.done)
        parts.take(record, (second + 1) * S + S // 2)
        if len(parts.done) > before and parts.lost(needed):
            return len(parts.done)
    return None


def test_a_load_is_given_up_where_it_is_plainly_lost() -> None:
    assert lost_at([100] * 20 + [40] * 40) == 30
    assert lost_at([0] * 60) is not None


@pytest.mark.parametrize(
    "rates",
    [
        [100] * 60,
        [51] * 60,  # a verdict's matter
        [100] * 20 + [70] * 40,
        [100] * 20 + [0] * 9 + [100] * 31,
        [10, 100] * 30,
    ],
)
def test_a_load_that_may_hold_goes_on(rates: list[float]) -> None:
    assert lost_at(rates) is None


def test_without_anything_that_it_needs_a_load_goes_on() -> None:
    assert lost_at([100] * 20 + [1] * 40, Needed()) is None


def test_the_ratio_is_of_its_own_beginning() -> None:
    assert lost_at([100] * 20 + [40] * 40, Needed(0.0, 0.95, "", "a ratio")) == 30
    assert lost_at([40] * 60, Needed(0.0, 0.95, "", "a ratio")) is None


def test_nothing_is_given_up_for_a_few_requests() -> None:
    assert lost_at([1] * 20 + [0] * 11 + [1] * 29, Needed(1.0, 0.0, "a limit")) is None


def test_noise_ends_no_load_that_holds() -> None:
    generator = np.random.default_rng(11)
    for _ in range(20):
        assert lost_at(100 * generator.lognormal(0, 0.25, 60)) is None


def test_a_fixed_number_of_subjects_can_be_sustained_and_has_no_pairs() -> None:
    one = Workload("m", 1, subjects=4, sustained_s=60)
    assert left_out(one, [one], lambda _: None, paired=False) is None
    assert "no pairs" in str(left_out(one, [one], lambda _: None, paired=True))
