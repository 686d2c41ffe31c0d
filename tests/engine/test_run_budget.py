"""How a run's budget is shared among its cells, with a clock of our own."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine import closing
from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.record import record
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.measurement import Measurement, Surroundings
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.errors import GaitperfError
    from pytest_gaitperf.measure.cell import Budget


class Clock:
    """A monotonic clock that goes on when it is told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


STARTS_S = 5.0


def measured(runs: Sequence[object]) -> Measurement:
    return Measurement(metrics={"throughput": Estimate("inf/s", 50.0)}, lives=len(runs))


class Device:
    """Measures cells in no time but the clock's: each takes what it is told, or all it may."""

    def __init__(self, config: pytest.Config, clock: Clock, settings: Settings, cells: int) -> None:
        self.budgets: list[Budget] = []
        self.said: list[str] = []
        self.lives_of: dict[Workload, int] = {}
        self.restarts = self.fails_at = 0
        self.takes_s: Sequence[float] = ()
        self.during: Callable[[TerminalProgress], None] = lambda _progress: None
        self._clock = clock
        self.progress = TerminalProgress(config)
        resources = Resources(settings, None, self.progress)
        resources._metering = Metering()
        resources._server = SimpleNamespace(  # type: ignore[assignment]
            check_alive=lambda: None, mode="local", version="2.51.0", url="nowhere"
        )
        resources.start_s = STARTS_S
        self.visited: list[Workload] = []
        resources.plan([Workload("m", 1, c + 1) for c in range(cells)], others=False)
        self.engine = Engine(resources, lambda *_: None)

    def measure(
        self,
        _server: object,
        workload: Workload,
        _metering: object,
        budget: Budget,
        **_more: object,
    ) -> SimpleNamespace:
        self.visited.append(workload)
        self.during(self.progress)
        number = len(self.budgets)
        self.budgets.append(budget)
        self._clock.now_s += (
            self.takes_s[number]
            if number < len(self.takes_s)
            else min(budget.most_s, budget.budget_s / budget.lives)
        )
        lives = self.lives_of.get(workload, budget.lives)
        return SimpleNamespace(lives=lives, disturbed=None)

    def restart(self) -> None:
        self.restarts += 1
        self._clock.now_s += STARTS_S
        if self.restarts == self.fails_at:
            raise ServerError("it is gone")

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
    def make(
        cells: int, run_budget: float | None, budget: float = 20.0, lives: int = 1, **more: Any
    ) -> Device:
        place = pytestconfig.rootpath
        settings = Settings(
            budget=budget, run_budget=run_budget, lives=lives, baselines=place, **more
        )
        device = Device(pytestconfig, clock, settings, cells)
        monkeypatch.setattr("pytest_gaitperf.engine.measuring.measure_life", device.measure)
        monkeypatch.setattr("pytest_gaitperf.engine.session.evaluate", measured)
        monkeypatch.setattr(device.engine.resources, "restart_server", device.restart)
        monkeypatch.setattr(device.engine.measuring._fingerprints, "of", lambda *_: None)
        monkeypatch.setattr(device.engine.resources, "served", dict.fromkeys)
        monkeypatch.setattr(device.progress, "say", device.said.append)
        return device

    return make


@pytest.mark.parametrize(("lives", "again"), [(3, 2), (1, 1)])
def test_suspects_are_measured_again_in_a_life_less_of_the_same_length(
    device_of: Callable[..., Device], lives: int, again: int
) -> None:
    device = device_of(2, None, budget=24.0, lives=lives)
    device.run()
    device.budgets.clear()
    cells = list(device.engine.measuring.cells.values())
    device.engine.measuring.measure_again([(cell, "slower") for cell in cells])
    assert len(device.budgets) == 2 * again
    shares = {budget.budget_s / budget.lives for budget in device.budgets}
    assert shares == {24.0 / lives}
    assert [cell.again.lives for cell in cells if cell.again] == [again, again]


def test_a_suspect_that_no_time_is_left_for_is_unconfirmed(
    device_of: Callable[..., Device],
) -> None:
    device = device_of(1, 40.0, budget=9.0)
    device.engine.measuring.lives = 3
    soak = CellState(Workload("m", 1, 4, sustained_s=60.0))
    other = CellState(Workload("m", 1, 1))
    device.engine.measuring.measure_again([(soak, "slower"), (other, "slower")])
    assert soak.again is None
    assert str(soak.unconfirmed) == "no time was left to measure it again"


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
    missed = [error for error in device.errors if error is not None]
    assert len(missed) == 4
    for error in missed:
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
    first, second = (cell.key for cell in device.visited[:2])
    assert f"1/16 m-{first}: 50.00 inf/s +-3.1%, up to 5 min left" in drawn
    assert f"2/16 m-{second}: 50.00 inf/s, about 60 s left" in drawn
    assert sum("cells to measure" in line for line in device.said) == 1


def test_the_time_left_is_never_beyond_the_runs_budget(device_of: Callable[..., Device]) -> None:
    device = device_of(16, 40.0)
    device.run()
    assert device.said[0] == "16 cells to measure (up to 40 s left)"


# Lives


def lives_of(device: Device) -> list[int]:
    cells = device.engine.measuring.cells.values()
    return [cell.measurement.lives if cell.measurement is not None else 0 for cell in cells]


def test_every_life_visits_all_cells_in_an_order_of_its_own(
    device_of: Callable[..., Device], clock: Clock
) -> None:
    device = device_of(12, None, budget=9.0, lives=3)
    budgets = device.run()
    planned = device.engine.resources.planned
    lives = [device.visited[12 * life : 12 * life + 12] for life in range(3)]
    assert all(sorted(life, key=planned.index) == planned for life in lives)
    assert len({tuple(life) for life in lives}) == 3
    assert {(budget.budget_s, budget.lives) for budget in budgets} == {(9.0, 3)}
    assert [budget.fewer for budget in budgets] == [True] * 12 + [False] * 24
    assert device.restarts == 2
    assert clock.now_s == pytest.approx(1000 + 12 * 9 + 2 * STARTS_S)
    assert device.said[0] == "12 cells to measure in 3 lives (up to 2 min left)"
    assert list(device.engine.measuring.cells) == planned, "as planned, in whatever order measured"
    assert lives_of(device) == [3] * 12


def test_the_order_is_drawn_from_a_seed_that_the_record_states(
    device_of: Callable[..., Device],
) -> None:
    orders = []
    for seed in (1, 1, 2):
        device = device_of(12, None, lives=3)
        device.engine.measuring.seed = seed
        device.run()
        orders.append(device.visited)
        sessions = record(device.engine).sessions
        assert (sessions.lives, sessions.seed) == (3, seed)
    assert orders[0] == orders[1] != orders[2]


def test_a_cell_too_slow_for_its_share_has_fewer_lives(device_of: Callable[..., Device]) -> None:
    device = device_of(6, None, budget=9.0, lives=3)
    slow, slower = device.engine.resources.planned[:2]
    device.lives_of = {slow: 2, slower: 1}
    device.run()
    assert lives_of(device) == [2, 1, 3, 3, 3, 3]
    assert [device.budgets[i].lives for i, one in enumerate(device.visited) if one == slow] == [
        3,
        2,
    ]


@pytest.mark.parametrize(
    ("cells", "budget", "lives", "why"),
    [
        (12, 8.0, 3, ""),
        (1, 8.0, 2, "one takes 5 s to begin"),
        (1, 4.5, 1, "one takes 5 s to begin"),
        (12, 5.0, 2, "--gaitperf-budget=5 holds no more"),
        (12, 2.0, 1, "--gaitperf-budget=2 holds no more"),
    ],
)
def test_there_are_no_more_lives_than_the_time_holds(
    device_of: Callable[..., Device], cells: int, budget: float, lives: int, why: str
) -> None:
    device = device_of(cells, None, budget=budget, lives=3)
    device.run()
    assert set(lives_of(device)) == {lives}
    said = [line for line in device.said if line.startswith("note: ")]
    begins = f"note: {lives} in place of 3 lives of the models' processes, since "
    assert said == ([begins + why] if why else [])


@pytest.mark.parametrize("update", ["none", "missing"])
def test_a_server_that_does_not_come_back_leaves_the_lives_before(
    device_of: Callable[..., Device], update: str
) -> None:
    device = device_of(4, None, budget=9.0, lives=3, update=update)
    device.fails_at = 2
    device.run()
    assert lives_of(device) == [2] * 4
    assert device.errors == [None] * 4
    assert device.engine.measuring.cut_short == "it is gone"
    assert closing._recorded(device.engine, []).outcome is Outcome.UNMEASURED


def test_what_could_not_be_watched_is_said_once(device_of: Callable[..., Device]) -> None:
    device = device_of(3, None)
    device.run()
    for cell in device.engine.measuring.cells.values():
        assert cell.measurement is not None
        seen = Surroundings(cpus=2, unread=("the server: it is hidden",))
        cell.measurement = replace(cell.measurement, surroundings=seen)
    run = closing._complete(device.engine, record(device.engine), whole=False)
    assert run.notes == ("not watched: the server: it is hidden",)


def test_an_interrupted_run_keeps_the_lives_it_has(device_of: Callable[..., Device]) -> None:
    device = device_of(4, None, budget=9.0, lives=3)

    def interrupt(_progress: TerminalProgress) -> None:
        if len(device.visited) == 7:
            raise KeyboardInterrupt

    device.during = interrupt
    with pytest.raises(KeyboardInterrupt):
        device.run()
    assert sorted(lives_of(device)) == [1, 1, 2, 2]
    assert list(device.engine.measuring.cells) == device.engine.resources.planned


def test_lives_end_with_the_runs_budget(device_of: Callable[..., Device], clock: Clock) -> None:
    device = device_of(4, 50.0, budget=9.0, lives=3)
    device.run()
    assert clock.now_s <= 1050.0 + 1e-6
    assert device.errors == [None] * 4
    assert min(lives_of(device)) >= 2


@pytest.mark.parametrize("lives", [1, 3])
def test_a_sustained_load_comes_last_in_one_life_and_others_leave_it_its_time(
    device_of: Callable[..., Device], clock: Clock, lives: int
) -> None:
    device = device_of(2, 95.0 + 10.0 * (lives - 1), lives=lives)
    soak = Workload("m", 1, 4, sustained_s=60.0)
    device.engine.resources.plan([soak, *device.engine.resources.planned], others=False)
    left: list[float] = []

    def sustained(workload: Workload, *_: object) -> Measurement:
        device.visited.append(workload)
        left.append(device.engine.measuring.left_s())
        clock.now_s += 75.0
        return measured([1])

    device.engine.measuring._sustaining = SimpleNamespace(measured=sustained)  # type: ignore[assignment]
    device.run()
    assert device.errors == [None] * 3
    assert device.visited.index(soak) == len(device.visited) - 1
    assert len(device.visited) == 2 * lives + 1
    assert left[0] >= 75.0
    assert "1 load of 60 s to sustain take up to 75 s" in device.said


def test_a_life_with_nothing_to_visit_keeps_no_later_one_from_it(
    device_of: Callable[..., Device],
) -> None:
    device = device_of(1, None, lives=3)
    (once,) = device.engine.resources.planned
    device.lives_of = {once: 1}
    soak = Workload("m", 1, 4, sustained_s=60.0)
    device.engine.resources.plan([soak, once], others=False)

    def sustained(workload: Workload, *_: object) -> Measurement:
        device.visited.append(workload)
        return measured([1])

    device.engine.measuring._sustaining = SimpleNamespace(measured=sustained)  # type: ignore[assignment]
    device.run()
    assert device.visited == [once, soak]
    assert device.errors == [None, None]
