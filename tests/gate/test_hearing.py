"""What a run could have heard, and what it says would sharpen it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.gate_simulation import QUICK, draw, mixed
from benchmarks.gate_under_test import comparisons_of
from pytest_gaitperf.gate.joint import judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue

if TYPE_CHECKING:
    from pytest_gaitperf.results import Verdict

TIME = "latency_p50"


def verdicts(spread: float | None, lives: int, *values: float) -> Verdict:
    """Judge one cell alone: its last value against the others."""
    *past, now = (SessionValue(value, spread, lives) for value in values)
    sessions = {f"s{place}": one for place, one in enumerate(past)}
    (verdict,) = judge_jointly([Comparison("m", TIME, now, sessions)], 0.01).verdicts
    return verdict


def test_a_quiet_cell_hears_and_asks_for_nothing() -> None:
    verdict = verdicts(0.01, 3, 1.0, 1.0)
    assert verdict.sensitivity is not None
    assert 0.05 < verdict.sensitivity < 0.25
    assert (verdict.sharpen, verdict.more_sessions, verdict.unheard) == ("", 0, "")


def test_the_fewest_sessions_that_would_do_are_named_with_what_they_would_hear() -> None:
    verdict = verdicts(0.07, 3, 1.0, 1.02, 1.01)
    assert verdict.sensitivity is not None
    assert verdict.sensitivity > 0.25
    assert verdict.more_sessions > 0
    many = verdict.more_sessions
    assert verdict.sharpen.startswith(f"{many} more session")
    assert "would hear 2" in verdict.sharpen


def test_where_no_number_of_sessions_would_do_it_says_how_much_they_differ() -> None:
    verdict = verdicts(0.02, 3, 1.0, 1.6, 0.8, 1.5, 0.7, 1.4, 0.9, 1.5, 1.0)
    assert verdict.more_sessions == 0
    assert "sessions differ by " in verdict.sharpen
    assert "a quieter machine, or pairs" in verdict.sharpen


def test_sessions_that_hardly_differ_are_not_called_noisy() -> None:
    """A few that are alike do not show it: more like comparisons do, or pairs."""
    verdict = verdicts(0.07, 1, 1.0, 1.0001, 1.0)
    assert verdict.more_sessions == 0
    assert verdict.sharpen.endswith(": more cells, or pairs (--gaitperf-against)")
    assert "quieter" not in verdict.sharpen


def test_what_one_session_only_assumes_is_not_told_as_seen() -> None:
    assert "sessions are assumed to differ by " in verdicts(0.07, 3, 1.0, 1.0).sharpen


def test_a_single_life_costs_sessions() -> None:
    many, one = verdicts(0.02, 3, 1.0, 1.0), verdicts(None, 1, 1.0, 1.0)
    assert many.sensitivity is not None
    assert one.sensitivity is not None
    assert one.sensitivity > 2 * many.sensitivity


def test_of_a_model_it_is_the_models_and_of_a_run_the_largest() -> None:
    judgement = judge_jointly(
        comparisons_of(draw(mixed(0.03), 3, 1, np.random.default_rng(1), shape=QUICK), 0), 0.01
    )
    for one in judgement.sensitivity:
        of_metric = [v.sensitivity for v in judgement.verdicts if v.metric == one.metric]
        assert one.model == max(known for known in of_metric if known is not None)
        assert len(set(of_metric)) == QUICK.models, "each model has its own, the same in its cells"
        assert one.cell is not None


@pytest.mark.parametrize("sd", [0.02, 0.03])
def test_one_session_hears_what_must_be_heard_on_a_quiet_machine(sd: float) -> None:
    """``make perf`` twice on such a machine is green."""
    drawn = draw(mixed(sd), 1, 3, np.random.default_rng(2), shape=QUICK)
    for run in range(3):
        for verdict in judge_jointly(comparisons_of(drawn, run), 0.01).verdicts:
            assert verdict.sensitivity is not None
            assert verdict.sensitivity < 0.25


def test_more_sessions_hear_more() -> None:
    typical = []
    for sessions in (1, 2, 4, 8):
        drawn = draw(mixed(0.03), sessions, 4, np.random.default_rng(3), shape=QUICK)
        heard = [
            one.model
            for run in range(4)
            for one in judge_jointly(comparisons_of(drawn, run), 0.01).sensitivity
        ]
        typical.append(float(np.median(heard)))
    assert all(map(math.isfinite, typical))
    assert all(more < fewer * 1.05 for fewer, more in itertools.pairwise(typical))
    assert typical[-1] < 0.8 * typical[0]
