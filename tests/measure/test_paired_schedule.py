"""How long turns are taken, and when they are looked at."""

from __future__ import annotations

import pytest

from pytest_gaitperf.gate.pairing import pairs_needed
from pytest_gaitperf.measure.schedule import schedule


def test_looks_are_due_at_their_share_of_the_time() -> None:
    planned = schedule(0.01, pair_s=0.5, left_s=20.0, most_s=60.0)
    assert planned.looks[-1].pairs == 40
    first, last = planned.looks[0], planned.looks[-1]
    due = 20.0 * first.pairs / 40
    assert planned.goes_on(first, 99, due - 0.01)
    assert not planned.goes_on(first, 99, due)
    assert planned.goes_on(last, 99, 19.9)
    assert not planned.goes_on(last, 99, 20.0)
    assert planned.too_few(40, 20.0) is None


def test_slow_pairs_get_the_time_that_a_decision_needs_and_no_more() -> None:
    alpha = 2.0**-9
    needed = pairs_needed(alpha / 2)
    assert needed == 10
    planned = schedule(alpha, pair_s=3.0, left_s=20.0, most_s=60.0)
    assert planned.seconds == 30.0
    last = planned.looks[-1]
    assert planned.goes_on(last, needed - 1, 59.0)
    assert not planned.goes_on(last, needed - 1, 60.0)
    assert not planned.goes_on(last, needed, 30.0)


def test_the_budget_that_would_do_is_told() -> None:
    planned = schedule(2.0**-9, pair_s=9.0, left_s=20.0, most_s=60.0)
    assert planned.seconds == 60.0
    said = planned.too_few(6, 60.0)
    assert said is not None
    assert "6 pairs of 10.0 s fit the budget, and 10 are needed" in said
    assert said.endswith("--gaitperf-budget=34 or more")


@pytest.mark.parametrize("left_s", [0.0, 1e-3])
def test_without_time_nothing_is_planned_beyond_the_most(left_s: float) -> None:
    planned = schedule(0.01, pair_s=1.0, left_s=left_s, most_s=left_s)
    assert not planned.goes_on(planned.looks[-1], 0, left_s)
