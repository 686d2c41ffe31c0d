"""How a run's budget is shared among its cells, with a clock of our own."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.errors import GaitperfError


class Clock:
    """A monotonic clock that goes on when it is told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Device:
    """Measures cells in no time but the clock's: each takes what it is told, or all it may."""

    def __init__(self, config: pytest.Config, clock: Clock, settings: Settings, cells: int) -> None:
        self.budgets: list[Budget] = []
        self.said: list[str] = []
        self.takes_s: Sequence[float] = ()
        self.during: Callable[[TerminalProgress], None] = lambda _progress: None
        self._clock = clock
        self.progress = TerminalProgress(config)
        resources = Resources(settings, None, self.progress)
        resources._metering = Metering()
        resources._server = SimpleNamespace(check_alive=lambda: None, mode="attach")  # type: ignore[assignment]
        resources.plan([Workload("m", 1, c + 1) for c in range(cells)], others=False)
        self.engine = Engine(resources, lambda *_: None)

    def measure(self, *arguments: object, **_more: object) -> Measurement:
        (budget,) = [one for one in arguments if isinstance(one, Budget)]
        self.during(self.progress)
        number = len(self.budgets)
        self.budgets.append(budget)
        self._clock.now_s += (
            self.takes_s[number]
            if number < len(self.takes_s)
            else min(budget.most_s, budget.budget_s)
        )
        return Measurement(metrics={"throughput": Estimate("inf/s", 50.0)})

    def run(self) -> list[Budget]:
        self.engine.measuring.first_session(self.engine.resources.planned)
        return self.budgets

    @property
    def errors(self) -> list[GaitperfError | None]:
        return [cell.error for cell in self.engine.measuring.cells.values()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def device_of(
    pytestconfig: pytest.Config, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Device]:
    def make(cells: int, run_budget: float | None, budget: float = 20.0) -> Device:
        settings = Settings(budget=budget, run_budget=run_budget, baselines=pytestconfig.rootpath)
        device = Device(pytestconfig, clock, settings, cells)
        monkeypatch.setattr("pytest_gaitperf.engine.measuring.measure", device.measure)
        monkeypatch.setattr(device.engine.measuring._fingerprints, "of", lambda *_: None)
        monkeypatch.setattr(device.engine.resources, "served", dict.fromkeys)
        monkeypatch.setattr(device.progress, "say", device.said.append)
        return device

    return make


def test_without_a_run_budget_every_cell_has_its_own(device_of: Callable[..., Device]) -> None:
    budgets = device_of(16, None).run()
    assert {(budget.budget_s, budget.most_s) for budget in budgets} == {(20.0, math.inf)}


def test_cells_that_use_their_share_end_with_the_budget(
    device_of: Callable[..., Device], clock: Clock
) -> None:
    for budget in device_of(16, 160.0).run():
        assert budget.budget_s == budget.most_s == pytest.approx(10.0)
    assert clock.now_s == pytest.approx(1160.0)


def test_what_a_cell_does_not_need_goes_to_the_later_ones(
    device_of: Callable[..., Device],
) -> None:
    device = device_of(3, 30.0, budget=12.0)
    device.takes_s = (4.0, 2.0)
    first, second, third = device.run()
    assert first.budget_s == pytest.approx(10.0)
    assert (second.budget_s, round(second.most_s, 9)) == (12.0, 13.0)
    assert (third.budget_s, round(third.most_s, 9)) == (12.0, 24.0)


def test_a_budget_too_small_for_all_measures_as_many_as_it_can(
    device_of: Callable[..., Device],
) -> None:
    device = device_of(8, 10.0)
    budgets = device.run()
    assert [(budget.budget_s, budget.most_s) for budget in budgets] == [(2.5, 2.5)] * 4
    assert device.errors[:4] == [None] * 4
    for error in device.errors[4:]:
        assert "0.0 s are left, and a cell needs 2.5 s" in str(error)


def test_the_time_left_is_known_from_the_start_and_refined(
    device_of: Callable[..., Device], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = device_of(16, None)
    device.takes_s = (2.0, 1.0)
    drawn: list[str] = []
    monkeypatch.setattr(device.progress, "_is_terminal", True)
    monkeypatch.setattr(device.progress, "_overwrite", lambda line: drawn.append(line(79)))

    def goes_on(progress: TerminalProgress) -> None:
        clock.now_s += 1.0
        progress.cell_goes_on(50.0, 0.031 if not device.budgets else None)

    device.during = goes_on
    device.run()
    assert device.said[0] == "16 cells to measure (up to 5 min left)"
    assert "1/16 m-b1-c1: 50.00 inf/s +-3.1%, up to 5 min left" in drawn
    assert "2/16 m-b1-c2: 50.00 inf/s, about 60 s left" in drawn
    assert sum("cells to measure" in line for line in device.said) == 1


def test_the_time_left_is_never_beyond_the_runs_budget(device_of: Callable[..., Device]) -> None:
    device = device_of(16, 40.0)
    device.run()
    assert device.said[0] == "16 cells to measure (up to 40 s left)"
