"""Accepted regressions and improvements: the old sessions of a cell are no baseline any more."""

from __future__ import annotations

import pytest

from pytest_gaitperf.environment import Sessions
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.results import VerdictKind
from tests.baseline.admitting import BEHIND, PASS, SLOWER, Scene, cell, measured, verdict

FASTER = verdict(VerdictKind.IMPROVED, 0.5)


def test_an_accepted_regression_begins_anew_with_its_second_value(scene: Scene) -> None:
    scene.stored("a", "b")
    a = cell("a", 2.0, again=measured(1.6), verdicts={"throughput": SLOWER})
    plan = scene.plan(a, cell("b", verdicts={"throughput": PASS}), accept=True)
    assert plan.notes == ("a-b1-c1: a new history of 1 session begins, the old one is left to git",)
    recorded = scene.recorded(plan)
    assert recorded["a"] == [62.5]
    assert len(recorded["b"]) == 6


def test_a_disturbed_second_measurement_is_not_taken(scene: Scene) -> None:
    a = cell("a", 2.0, again=measured(1.6, invalid="throttled"), verdicts={"throughput": SLOWER})
    assert scene.recorded(scene.plan(a, accept=True))["a"] == [50.0]


def test_accepting_a_change_that_is_inconclusive_begins_anew_too(scene: Scene) -> None:
    scene.stored("a")
    open_ = verdict(VerdictKind.INCONCLUSIVE, -0.5)
    plan = scene.plan(cell("a", 2.0, verdicts={"throughput": open_}), accept=True)
    assert scene.recorded(plan)["a"] == [50.0]


def test_a_regression_that_is_a_growing_backlog_cannot_be_accepted(scene: Scene) -> None:
    scene.stored("a")
    behind = measured(2.0, behind=BEHIND)
    plan = scene.plan(cell("a", behind, verdicts={"throughput": SLOWER}), accept=True)
    assert plan.sessions == ()
    assert plan.problem is not None
    assert BEHIND in plan.problem


@pytest.mark.parametrize("further", [(), (0.61, 0.62)])
def test_an_improvement_begins_anew(scene: Scene, further: tuple[float, ...]) -> None:
    scene.stored("a", "b")
    a = cell("a", 0.6, verdicts={"throughput": FASTER}, further=tuple(map(measured, further)))
    recorded = scene.recorded(scene.plan(a, cell("b", verdicts={"throughput": PASS})))
    assert recorded["a"] == [pytest.approx(100 / one, rel=1e-4) for one in (0.6, *further)]
    assert len(recorded["b"]) == 6


def test_an_improvement_that_the_later_sessions_do_not_have_is_an_outlier(scene: Scene) -> None:
    scene.stored("a", "b")
    a = cell("a", 0.6, verdicts={"throughput": FASTER}, further=(measured(), measured(1.003)))
    b = cell("b", verdicts={"throughput": PASS}, further=(measured(), measured(1.003)))
    plan = scene.plan(a, b, sessions=Sessions(asked=3))
    assert list(plan.refused) == ["session 1 of a"]
    assert plan.notes[1] == "3 sessions recorded; the table shows the first"
    assert scene.recorded(plan)["a"][5:] == [100.0, 99.701]


def test_an_improvement_after_which_nothing_was_served_is_none(scene: Scene) -> None:
    scene.stored("a")
    nothing = measured(metrics={"throughput": Estimate("inf/s", 0.0)})
    a = cell("a", 0.6, verdicts={"throughput": FASTER}, further=(nothing,))
    plan = scene.plan(a, sessions=Sessions(asked=2))
    assert plan.recorded == {}
    assert list(plan.refused) == ["throughput of session 2 of a-b1-c1", "session 1"]
