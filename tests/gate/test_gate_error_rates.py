"""How often the gate is wrong: whole runs simulated with a known truth and fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_simulation import (
    HEAVY,
    MIXED,
    NOISY,
    ONE_NOISY,
    QUIET,
    QUIET_APART,
    SMALL,
    STEADY,
    Machine,
    draw,
    slowdown,
)
from benchmarks.gate_under_test import paired, plain, stored

# The joint gate and the paired gate, on the runs of benchmarks/gate_operating_characteristics.py:
# so few of them here that only a gate which is plainly wrong fails.


@pytest.mark.parametrize(
    ("machine", "sessions"),
    [
        (QUIET, 1),
        *(
            pytest.param(machine, sessions, marks=pytest.mark.slow)
            for machine, sessions in ((NOISY, 1), (HEAVY, 3), (ONE_NOISY, 8), (QUIET_APART, 3))
        ),
    ],
)
def test_hardly_an_unchanged_run_has_a_red_cell(machine: Machine, sessions: int) -> None:
    red = stored(draw(machine, sessions, 60, np.random.default_rng(1), shape=SMALL))
    # 1 % of runs is promised; more than 3 of 60 then happen once in 300.
    assert int(red.any(axis=(1, 2, 3)).sum()) <= 3


@pytest.mark.parametrize("sessions", [1, 2, 3, 5, 8])
def test_a_model_that_is_twice_as_slow_is_red_and_no_other(sessions: int) -> None:
    truth = slowdown("model", 1.0, SMALL, metrics=2)
    red = stored(draw(QUIET, sessions, 6, np.random.default_rng(3), truth, shape=SMALL))
    assert red[:, truth > 0].all()
    assert not red[:, truth == 0].any()


@pytest.mark.parametrize(
    ("machine", "change", "sessions"), [(QUIET, 0.3, 1), (QUIET, 0.3, 3), (STEADY, 0.1, 5)]
)
def test_a_slower_model_is_red_nine_times_in_ten(
    machine: Machine, change: float, sessions: int
) -> None:
    truth = slowdown("model", change, SMALL, metrics=2)
    red = stored(draw(machine, sessions, 30, np.random.default_rng(4), truth, shape=SMALL))
    # 9 of 10 are promised; fewer than 24 of 30 then happen once in 40.
    assert int(red[:, truth > 0].any(axis=1).sum()) >= 24


@pytest.mark.slow
def test_the_joint_gate_hears_more_than_each_cell_alone() -> None:
    truth = slowdown("model", 0.10)
    runs = draw(MIXED, 8, 20, np.random.default_rng(2), truth)
    red = stored(runs)
    found = float(red[:, truth > 0].any(axis=1).mean())
    assert found >= 0.7
    assert found > float(plain(runs)[:, truth > 0].any(axis=1).mean()) + 0.1
    assert int(red[:, truth == 0].any(axis=1).sum()) <= 2


def test_the_paired_gate_finds_5_percent_in_40_blocks() -> None:
    rng = np.random.default_rng(3)
    slower = np.log1p(0.05) + 0.02 * rng.standard_normal((200, 1, 40))
    findings = paired(np.zeros_like(slower), slower, 0.01 / 12, 0.02)
    assert float((findings == "regressed").mean()) >= 0.85


def test_the_paired_gate_is_quiet_where_nothing_changed() -> None:
    rng = np.random.default_rng(4)
    same = 0.06 * rng.standard_normal((200, 1, 40))
    assert not (paired(np.zeros_like(same), same, 0.01 / 12, 0.02) == "regressed").any()
