"""The summary of latencies, against its definitions."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_gaitperf.measure.evaluation import distribution


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60))
def test_every_figure_is_that_of_its_definition(milliseconds: list[int]) -> None:
    values = [value * 1e-3 for value in milliseconds]
    found = distribution(np.array(values))
    assert len(found.percentiles_s) == 101
    assert found.percentiles_s[0] == min(values)
    assert found.percentiles_s[100] == max(values)
    assert list(found.percentiles_s) == sorted(found.percentiles_s)
    low, middle, high = found.quartiles_s
    assert middle == pytest.approx(statistics.median(values))
    assert (low, high) == pytest.approx(np.quantile(values, [0.25, 0.75]).tolist())
    reach = 1.5 * (high - low)
    inside = [value for value in values if low - reach <= value <= high + reach]
    assert found.tukey_outliers == len(values) - len(inside)
    assert (found.tukey_low_s, found.tukey_high_s) == (min(inside), max(inside))
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    assert found.sd_s == pytest.approx(deviation, abs=1e-12)
    mean = float(np.mean(values))
    assert found.sd_outliers == sum(abs(value - mean) > found.sd_s for value in values)


def test_one_outlier_on_either_side_is_counted_and_no_quartile_moves() -> None:
    found = distribution(np.array([0.001, *[0.1] * 5, *[0.102] * 5, 0.9]))
    assert (found.tukey_outliers, found.tukey_low_s, found.tukey_high_s) == (2, 0.1, 0.102)
    assert found.sd_outliers == 1
    assert found.quartiles_s == pytest.approx((0.1, 0.101, 0.102))
