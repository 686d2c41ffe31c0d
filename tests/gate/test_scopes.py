"""How far a run, a model and a cell moved, and how far they may by chance."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.gate.prediction import student
from pytest_gaitperf.gate.scopes import WEIGHTS, CellLogs, Shift, shares, shifts
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, TOGETHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from pytest_gaitperf.results import Scope

log = st.floats(-0.3, 0.3)


def run_of(
    rng: np.random.Generator,
    models: int,
    cells: int,
    sessions: int = 8,
    sd: tuple[float, float, float] = (0.02, 0.01, 0.025),
) -> list[CellLogs]:
    """One unchanged run, with session effects of SD ``sd``: common, per model, per cell."""
    shape = (sessions + 1, models, cells)
    values = rng.standard_normal(shape) * sd[2]
    values += rng.standard_normal((*shape[:2], 1)) * sd[1]
    values += rng.standard_normal((shape[0], 1, 1)) * sd[0]
    return [
        CellLogs(
            f"model{m}",
            {f"s{s}": float(values[s, m, c]) for s in range(sessions)},
            float(values[-1, m, c]),
            assumed=sd[0] ** 2 + sd[1] ** 2 + sd[2] ** 2 + 1e-8,
        )
        for m in range(models)
        for c in range(cells)
    ]


def moved(cells: Iterable[CellLogs], by: float, *which: int) -> list[CellLogs]:
    """Shift what is now of some cells, of all where none is named."""
    return [
        replace(cell, now=cell.now + by) if not which or i in which else cell
        for i, cell in enumerate(cells)
    ]


def keyed(found: Sequence[Shift]) -> dict[tuple[Scope, tuple[int, ...]], Shift]:
    """The shifts from the mean of all sessions."""
    chosen = [shift for shift in found if shift.level == "sessions"]
    by_key = {(shift.scope, shift.cells): shift for shift in chosen}
    assert len(by_key) == len(chosen)
    return by_key


@st.composite
def runs(draw: st.DrawFn) -> list[CellLogs]:
    cells = []
    for model in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 4))):
            ids = draw(st.sets(st.integers(0, 6), min_size=1, max_size=7))
            sessions = {f"s{i}": draw(log) for i in sorted(ids)}
            cells.append(CellLogs(f"model{model}", sessions, draw(log), assumed=0.01, least=0.001))
    return cells


@pytest.mark.parametrize("sessions", [1, 2, 4])
def test_every_scope_is_tested_whatever_the_number_of_sessions(sessions: int) -> None:
    rng = np.random.default_rng(1)
    found = keyed(shifts(run_of(rng, 3, 4, sessions)))
    assert set(found) == {
        ("run", tuple(range(12))),
        *(("model", tuple(range(4 * m, 4 * m + 4))) for m in range(3)),
        *(("cell", (c,)) for c in range(12)),
    }
    assert {shift.sessions for shift in found.values()} == {sessions}
    one_model = shifts(run_of(rng, 1, 4, sessions))
    assert [shift.scope for shift in one_model] == ["run"] + 4 * ["cell"]
    assert [shift.scope for shift in shifts(run_of(rng, 1, 1, sessions))] == ["cell"]
    single = shifts(run_of(rng, 3, 1, sessions))
    assert [shift.scope for shift in single] == ["run"] + 3 * ["model"]


def test_a_long_history_is_compared_with_its_beginning_too() -> None:
    rng = np.random.default_rng(1)
    for sessions in (ANCHOR_SESSIONS, ANCHOR_SESSIONS + 1):
        cells = run_of(rng, 2, 2, sessions)
        found = shifts(cells)
        anchored = [shift for shift in found if shift.level == "anchor"]
        expected = keyed(found) if sessions > ANCHOR_SESSIONS else {}
        assert {(shift.scope, shift.cells) for shift in anchored} == set(expected)
        assert len(shifts(cells, anchored=False)) == len(keyed(found))


def test_what_crept_is_far_from_its_beginning_and_near_its_last_sessions() -> None:
    cells = run_of(np.random.default_rng(5), 3, 4, 10, sd=(0.005, 0.003, 0.005))
    crept = [
        replace(
            cell,
            sessions={
                name: log + 0.01 * max(0, place - 3) * (cell.model == "model0")
                for place, (name, log) in enumerate(sorted(cell.sessions.items()))
            },
            now=cell.now + 0.07 * (cell.model == "model0"),
        )
        for cell in cells
    ]
    found = {(shift.level, shift.cells): shift for shift in shifts(crept) if shift.scope == "model"}
    own = (0, 1, 2, 3)
    assert found["anchor", own].change == pytest.approx(0.07, abs=0.01)
    assert found["sessions", own].change < 0.06
    assert found["anchor", own].tail < 1e-5
    steady = [shift for shift in found.values() if shift.cells != own]
    assert all(shift.tail > 0.001 for shift in steady)


def test_two_models_of_one_cell_by_hand() -> None:
    first = CellLogs("a", {"1": 0.0, "2": 0.02, "3": 0.04}, 0.30, assumed=0.01)
    second = CellLogs("b", {"1": 1.0, "2": 1.00, "3": 1.00}, 1.01, assumed=0.01)
    found = keyed(shifts([first, second]))
    own = found["model", (0,)]
    assert own.change == pytest.approx(0.27)
    seen = own.error.seen
    # A third of each model's own and of its cell's, of both; a pair of contrasts is one.
    assert seen.assumed == pytest.approx(0.01 * 2 / 3 * 2)
    assert seen.variance == pytest.approx(0.02**2 / 2)
    assert seen.factor == pytest.approx(4 / 3)
    assert seen.weight == 0.5
    # Both moved by 0.01 at least.
    assert found["run", (0, 1)].change == pytest.approx(0.01 + 0.02 / 3)


@settings(deadline=None)
@given(runs(), st.lists(st.floats(-9, 9), min_size=12, max_size=12))
def test_units_do_not_matter(cells: list[CellLogs], units: list[float]) -> None:
    scaled = [
        replace(
            cell,
            sessions={s: value + unit for s, value in cell.sessions.items()},
            now=cell.now + unit,
        )
        for cell, unit in zip(cells, units, strict=False)
    ]
    first, second = keyed(shifts(cells)), keyed(shifts(scaled))
    assert set(first) == set(second)
    for key, shift in first.items():
        assert second[key].change == pytest.approx(shift.change, abs=1e-9)
        assert second[key].tail == pytest.approx(shift.tail, rel=1e-4, abs=1e-9)


@settings(deadline=None)
@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_cells_and_sessions_does_not_matter(
    cells: list[CellLogs], random: Random
) -> None:
    order = list(range(len(cells)))
    random.shuffle(order)
    shuffled = [
        replace(cells[i], sessions=dict(sorted(cells[i].sessions.items(), reverse=True)))
        for i in order
    ]
    first = keyed(shifts(cells))
    second = {
        (shift.scope, tuple(sorted(order[i] for i in shift.cells))): shift
        for shift in shifts(shuffled)
        if shift.level == "sessions"
    }
    assert set(first) == set(second)
    for key, shift in first.items():
        assert second[key].change == pytest.approx(shift.change, abs=1e-9)
        assert second[key].tail == pytest.approx(shift.tail, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(runs(), st.floats(0, 2), st.data())
def test_a_worse_now_worsens_every_scope_of_its_cell(
    cells: list[CellLogs], by: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(cells) - 1))
    before, after = keyed(shifts(cells)), keyed(shifts(moved(cells, by, place)))
    for key, shift in before.items():
        if key[0] != "cell":
            assert after[key].error.variance == shift.error.variance, "now teaches no noise"
        if place in key[1]:
            assert after[key].change >= shift.change - 1e-9
        elif key[0] != "run":
            assert after[key].change <= shift.change + 1e-9


def test_a_common_shift_is_the_runs_alone() -> None:
    cells = run_of(np.random.default_rng(2), 3, 4)
    once, twice = keyed(shifts(moved(cells, 0.2))), keyed(shifts(moved(cells, 0.4)))
    for key, shift in once.items():
        more = 0.2 if key[0] == "run" else 0.0
        assert twice[key].change == pytest.approx(shift.change + more)


def test_a_models_shift_is_its_own_at_no_other_scope() -> None:
    cells = run_of(np.random.default_rng(3), 4, 4, sd=(0.0, 0.0, 0.001))
    found = keyed(shifts(moved(cells, 0.1, 0, 1, 2, 3)))
    assert found["model", (0, 1, 2, 3)].change == pytest.approx(0.1, abs=0.005)
    others = [shift for key, shift in found.items() if key != ("model", (0, 1, 2, 3))]
    assert all(abs(shift.change) < 0.005 for shift in others)


def test_an_odd_cell_speaks_neither_for_its_model_nor_against_its_neighbours() -> None:
    cells = run_of(np.random.default_rng(4), 2, 9, sd=(0.01, 0.005, 0.01))
    found = keyed(shifts(moved(cells, 1.0, 0)))
    before = keyed(shifts(cells))
    assert found["cell", (0,)].change > 0.9
    for key, shift in before.items():
        if key != ("cell", (0,)):
            assert abs(found[key].change - shift.change) < 0.01


@pytest.mark.parametrize("models", [2, 4])
def test_what_others_gained_is_no_regression(models: int) -> None:
    cells = run_of(np.random.default_rng(5), models, 4)
    found = keyed(shifts(moved(cells, -0.7, 0, 1, 2, 3)))
    for key, shift in found.items():
        if key[0] == "model" and key[1] != (0, 1, 2, 3):
            assert shift.change < 0.08


def test_a_new_cell_shortens_nobodys_past() -> None:
    cells = run_of(np.random.default_rng(6), 2, 4)
    young = {s: value for s, value in cells[0].sessions.items() if s in ("s5", "s6", "s7")}
    cells[0] = replace(cells[0], sessions=young)
    found = keyed(shifts(cells))
    assert found["cell", (0,)].sessions == 3
    assert found["cell", (1,)].sessions == 8
    assert found["model", (0, 1, 2, 3)].sessions == 8
    newborn = replace(cells[0], sessions=dict(list(young.items())[:1]))
    assert keyed(shifts([newborn, *cells[1:]]))["cell", (0,)].sessions == 1


def of_many(found: Iterable[Shift]) -> list[Shift]:
    """The shifts of the run and of its models, in their order."""
    return [shift for shift in found if shift.scope != "cell"]


@pytest.mark.parametrize("of", ["models", "cells"])
def test_cells_with_one_session_each_do_not_tell_how_sessions_differ(of: str) -> None:
    """Whether it is the same one or not: a limit is as many of the errors assumed as before."""
    cells = run_of(np.random.default_rng(10), 2, 4, 1)
    places = [i // 4 if of == "models" else i % 2 for i in range(8)]
    apart = [
        replace(cell, sessions={f"s{place}": cell.centre})
        for cell, place in zip(cells, places, strict=True)
    ]

    def limits(given: Sequence[CellLogs]) -> list[float]:
        errors = [shift.error for shift in of_many(shifts(given))]
        return [one.limit(0.005) / math.sqrt(one.seen.assumed * one.seen.factor) for one in errors]

    assert len(limits(cells)) == 3
    assert limits(apart) == pytest.approx(limits(cells), rel=1e-3)


def test_a_cell_that_is_new_makes_nobodys_past_look_quieter() -> None:
    cells = run_of(np.random.default_rng(11), 2, 4, 3)
    new = replace(cells[0], sessions={"s2": cells[0].sessions["s2"]})
    before, after = of_many(shifts(cells)), of_many(shifts([*cells, new]))
    seen = [shift.error.seen.variance for shift in after]
    assert seen == pytest.approx([shift.error.seen.variance for shift in before])


def test_models_that_share_no_session_stand_alone() -> None:
    cells = run_of(np.random.default_rng(7), 2, 4)
    apart = [
        replace(cell, sessions={f"{cell.model}{s}": v for s, v in cell.sessions.items()})
        for cell in cells
    ]
    found = shifts(moved(apart, 0.5, 0, 1, 2, 3))
    alone = [shift for shift in found if shift.scope == "model" and shift.level == "sessions"]
    assert [shift.error.seen.weight for shift in alone] == [1.0, 1.0]
    slow = keyed(found)["model", (0, 1, 2, 3)]
    assert slow.change > 0.4


def test_a_quiet_past_leaves_nothing_to_chance() -> None:
    same = {"1": 0.5, "2": 0.5, "3": 0.5}
    cells = [CellLogs("a", same, 0.5), CellLogs("a", same, 0.6), CellLogs("a", same, 0.5)]
    tails = {shift.cells: shift.tail for shift in shifts(cells)}
    assert tails[1,] == 0.0
    assert tails[0,] == tails[2,] == 1.0


def test_the_tail_is_the_level_whose_limit_is_the_change() -> None:
    for shift in shifts(moved(run_of(np.random.default_rng(8), 3, 3), 0.05)):
        if 1e-9 < shift.tail < 0.4:
            assert shift.error.limit(shift.tail) == pytest.approx(shift.change, rel=1e-3)


def test_shares_add_up_and_follow_the_scopes() -> None:
    error = student(1.0, 5.0)

    def tests(scope: Scope, number: int, metric: str = "throughput") -> list[Shift]:
        return [Shift(scope, (i,), 0.0, error, 3, metric) for i in range(number)]

    given = shares([*tests("run", 1), *tests("model", 2), *tests("cell", 7)])
    assert sum(given) == pytest.approx(1)
    assert given[0] == pytest.approx(WEIGHTS["run"])
    assert given[1] == pytest.approx(WEIGHTS["model"] / 2)
    assert given[-1] == pytest.approx(WEIGHTS["cell"] / 7)
    assert shares(tests("cell", 2)) == pytest.approx([0.5, 0.5])
    of_one_model = shares([*tests("run", 1), *tests("cell", 2)])
    assert of_one_model[0] / of_one_model[1] == pytest.approx(
        2 * WEIGHTS["model"] / WEIGHTS["cell"]
    )
    given = shares([*tests("model", 6), *tests("model", 2, TOGETHER), *tests("cell", 1)])
    assert sum(given) == pytest.approx(1)
    assert sum(given[:6]) == pytest.approx(2 * (given[6] + given[7]))
    assert given[-1] / given[6] == pytest.approx(4 * WEIGHTS["cell"] / WEIGHTS["model"])


@pytest.mark.parametrize("sessions", [1, 4])
def test_each_scope_alarms_no_oftener_than_it_may(sessions: int) -> None:
    rng = np.random.default_rng(9)
    alarms: dict[str, list[float]] = defaultdict(list)
    for _ in range(150):
        for shift in shifts(run_of(rng, 4, 6, sessions), anchored=False):
            alarms[shift.scope].append(shift.tail <= 0.005)
    for scope, seen in alarms.items():
        share = float(np.mean(seen))
        error = 3 * math.sqrt(0.005 / min(len(seen), 600))
        assert share < 0.005 + error, scope
    assert float(np.mean(alarms["cell"])) > 0.0003
