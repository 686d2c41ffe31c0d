"""The peers' rules, as their documentation has them, at their boundaries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.gate_rules import (
    PEERS,
    asv_compare,
    benchmark_mean,
    benchmark_median,
    fixed_median,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOWS = np.log(np.linspace(0.99, 1.01, 10))
PAST = np.stack([WINDOWS, WINDOWS])[np.newaxis]


def now(change: float) -> NDArray[np.float64]:
    windows: NDArray[np.float64] = WINDOWS[np.newaxis] + math.log1p(change)
    return windows


@pytest.mark.parametrize("rule", PEERS.values(), ids=PEERS)
def test_no_rule_is_red_where_nothing_changed(rule: object) -> None:
    assert callable(rule)
    assert not rule(PAST, now(0.0)).any()
    assert not rule(PAST, now(-0.3)).any()


@pytest.mark.parametrize(
    ("rule", "limit"),
    [(benchmark_mean, 0.10), (benchmark_median, 0.05), (asv_compare, 0.10), (fixed_median, 0.10)],
)
def test_a_rule_is_red_beyond_its_limit(rule: object, limit: float) -> None:
    assert callable(rule)
    assert not rule(PAST, now(limit - 0.001)).any()
    assert rule(PAST, now(limit + 0.001)).all()


def test_pytest_benchmark_compares_with_the_latest_run() -> None:
    past = np.stack([WINDOWS, WINDOWS + math.log(1.2)])[np.newaxis]
    for rule in (benchmark_mean, benchmark_median, asv_compare):
        assert not rule(past, now(0.2)).any()
        assert rule(past[:, ::-1], now(0.2)).all()


def test_asv_wants_both_the_factor_and_the_significance() -> None:
    rng = np.random.default_rng(1)
    wide = 0.5 * rng.standard_normal(10)
    wide -= np.median(wide)
    # The median is 20 % up, but with such a spread p is not below 0.002.
    assert not asv_compare(wide[np.newaxis, np.newaxis], wide[np.newaxis] + math.log(1.2)).any()
    # Every window is above every earlier one, but by a factor of 1.05 only.
    assert not asv_compare(PAST, now(0.05)).any()


def test_the_fixed_rule_takes_the_median_over_the_sessions() -> None:
    past = np.stack([WINDOWS, WINDOWS, WINDOWS + math.log(2)])[np.newaxis]
    assert fixed_median(past, now(0.11)).all()
    assert not benchmark_median(past, now(0.11)).any()
