"""How a run's budget is shared among its cells, with a clock of our own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.engine.session import CellResult, Session
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.report.progress import Place, Progress
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.measure.cell import Effort


class Clock:
    """A monotonic clock that goes on when it is told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pytest_gaitperf.engine.pacing.time.monotonic", clock)
    return clock


@pytest.fixture
def session_of(pytestconfig: pytest.Config, clock: Clock) -> Callable[..., Session]:
    def make(cells: int, run_budget: float | None, budget: float = 20.0) -> Session:
        settings = Settings(budget=budget, run_budget=run_budget)
        resources = Resources(settings, None, Progress(pytestconfig))
        resources._metering = Metering()
        resources.plan([Workload("m", 1, c + 1) for c in range(cells)], others=False)
        return Session(resources)

    return make


def next_effort(session: Session, number: int) -> Effort:
    """What the cell of this number may cost, which is being measured from now on."""
    workload = session.resources.planned[number]
    session.results[workload] = CellResult(workload)
    return session.pacing.effort(workload)


def test_without_a_run_budget_every_cell_has_its_own(session_of: Callable[..., Session]) -> None:
    effort = next_effort(session_of(16, None), 0)
    assert (effort.budget_s, effort.most_s) == (20.0, math.inf)


def test_cells_that_use_their_share_end_with_the_budget(
    session_of: Callable[..., Session], clock: Clock
) -> None:
    session = session_of(16, 160.0)
    for number in range(16):
        effort = next_effort(session, number)
        assert effort.budget_s == pytest.approx(10.0)
        assert effort.most_s == pytest.approx(10.0)
        clock.now_s += effort.most_s
    assert clock.now_s == pytest.approx(1160.0)


def test_what_a_cell_does_not_need_goes_to_the_later_ones(
    session_of: Callable[..., Session], clock: Clock
) -> None:
    session = session_of(3, 30.0, budget=12.0)
    assert next_effort(session, 0).budget_s == pytest.approx(10.0)
    clock.now_s += 4.0
    effort = next_effort(session, 1)
    assert (effort.budget_s, round(effort.most_s, 9)) == (12.0, 13.0)
    clock.now_s += 2.0
    effort = next_effort(session, 2)
    assert (effort.budget_s, round(effort.most_s, 9)) == (12.0, 24.0)


def test_a_budget_too_small_for_all_measures_as_many_as_it_can(
    session_of: Callable[..., Session], clock: Clock
) -> None:
    session = session_of(8, 10.0)
    for number in range(4):
        effort = next_effort(session, number)
        assert effort.budget_s == effort.most_s == pytest.approx(2.5)
        clock.now_s += effort.most_s
    for number in range(4, 8):
        with pytest.raises(MeasurementError, match=r"0\.0 s are left, and a cell needs 2\.5 s"):
            next_effort(session, number)


def test_the_time_left_is_known_from_the_start_and_refined(
    session_of: Callable[..., Session], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    session = session_of(16, None)
    progress, cells = session.progress, session.resources.planned
    monkeypatch.setattr(progress, "say", said.append)
    monkeypatch.setattr(progress, "_is_terminal", True)
    monkeypatch.setattr(progress, "_overwrite", lambda line: said.append(line(79)))
    next_effort(session, 0)
    progress.cell_starts(cells[0], Place(1, 16, 0, 16), session.pacing.at_most_s(cells[0]))
    assert said[0] == "16 cells to measure (up to 5 min left)"
    clock.now_s += 1.0
    progress.cell_goes_on(50.0, 0.031)
    assert said[-1] == "1/16 m-b1-c1: 50.00 inf/s +-3.1%, up to 5 min left"
    clock.now_s += 2.0
    next_effort(session, 1)
    progress.cell_starts(cells[1], Place(2, 16, 1, 15), session.pacing.at_most_s(cells[1]))
    clock.now_s += 1.0
    progress.cell_goes_on(50.0, None)
    assert said[-1] == "2/16 m-b1-c2: 50.00 inf/s, about 60 s left"
    assert sum("cells to measure" in line for line in said) == 1


def test_the_time_left_is_never_beyond_the_runs_budget(
    session_of: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    session = session_of(16, 40.0)
    monkeypatch.setattr(session.progress, "say", said.append)
    next_effort(session, 0)
    first = session.resources.planned[0]
    session.progress.cell_starts(first, Place(1, 16, 0, 16), session.pacing.at_most_s(first))
    assert said == ["16 cells to measure (up to 40 s left)"]
