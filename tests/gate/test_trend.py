"""Where a history is said to have changed its level, on histories whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_gaitperf.gate.trend import change_points
from pytest_gaitperf.measurement import SessionValue


def history(seed: int, levels: list[float], sd: float = 0.02) -> list[SessionValue]:
    rng = np.random.default_rng(seed)
    values = np.array(levels) * np.exp(sd * rng.standard_normal(len(levels)))
    return [SessionValue(float(value), 0.02, 3) for value in values]


@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
def test_a_step_is_found_where_it_was(factor: float) -> None:
    (change,) = change_points(history(1, [10.0] * 6 + [10.0 * factor] * 4))
    assert change.place == 6
    assert change.change == pytest.approx(factor - 1, abs=0.04)


def test_steps_up_and_down_are_two() -> None:
    found = change_points(history(2, [10.0] * 4 + [14.0] * 3 + [10.0] * 3))
    assert [one.place for one in found] == [4, 7]
    assert found[0].change > 0 > found[1].change


def test_a_steady_history_seldom_has_any() -> None:
    found = sum(bool(change_points(history(seed, [10.0] * 10))) for seed in range(100))
    assert found <= 4


def test_a_single_odd_session_is_no_level() -> None:
    assert change_points(history(3, [10.0] * 9 + [20.0], sd=0.01)) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_sessions_have_none(count: int) -> None:
    assert change_points(history(4, [10.0, 20.0, 20.0][:count])) == []
