"""What changed between two states of the baselines, on cells made for it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.baseline.cells import CellBaseline, Session
from pytest_gaitperf.baseline.difference import State, difference
from pytest_gaitperf.baseline.directory import CellPlace, Place
from pytest_gaitperf.baseline.schema import Value
from tests.baseline.recording import FINGERPRINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.baseline.cells import Fingerprint

State_ = dict[CellPlace, CellBaseline]


def session(
    number: int, rates: Mapping[str, float], fingerprint: Fingerprint = FINGERPRINT
) -> Session:
    return Session(
        id=f"s{number:02}",
        time=f"2026-11-{number:02}T10:00:00Z",
        commit="",
        dirty=None,
        plugin="",
        recorder="",
        fingerprint=fingerprint,
        values={metric: Value(value, 0.02, 12) for metric, value in rates.items()},
    )


def baseline(*sessions: Session, key: str = "b1-c1", model: str = "3D") -> State_:
    return {CellPlace("orin", model, key): CellBaseline(model, key, sessions)}


def rates(*values: float, first: int = 1) -> list[Session]:
    return [session(first + number, {"throughput": value}) for number, value in enumerate(values)]


def noisy(
    rng: random.Random, sessions: range, cells: int = 12, factor: float = 1.0, sd: float = 0.03
) -> State_:
    """Sessions of a machine whose sessions differ by ``sd``, every cell by itself."""
    return {
        CellPlace("orin", "3D", f"b{cell}-c1"): CellBaseline(
            "3D",
            f"b{cell}-c1",
            tuple(
                session(number, {"throughput": 100 * factor * rng.lognormvariate(0, sd)})
                for number in sessions
            ),
        )
        for cell in range(cells)
    }


def joined(*states: State_) -> State_:
    return {
        place: replace(cell, sessions=sum((state[place].sessions for state in states), ()))
        for place, cell in states[0].items()
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=10), st.integers(1, 4))
def test_nothing_differs_from_itself(values: list[float], cells: int) -> None:
    state = {
        place: cell
        for number in range(cells)
        for place, cell in baseline(*rates(*values), key=f"b{number}-c1").items()
    }
    found = difference(state, dict(state))
    assert not [*found.cells, *found.added, *found.new_models, *found.removed_models]
    assert found.compared == cells


def test_a_change_is_that_of_the_geometric_means() -> None:
    old = baseline(*rates(40.0, 90.0))
    new = baseline(*rates(40.0, 90.0, 60.0 * 1.331))
    (cell,) = difference(old, new).cells
    (item,) = cell.metrics
    assert item.old == pytest.approx(60.0)
    assert item.new == pytest.approx(66.0)
    assert item.change == pytest.approx(0.1)
    assert (cell.old_sessions, cell.new_sessions) == (2, 3)
    assert cell.state is State.WITHIN, "sessions that differ twofold explain it"


@pytest.mark.parametrize(
    ("metric", "factor", "state"),
    [
        ("throughput", 0.7, State.WORSE),
        ("throughput", 1.4, State.BETTER),
        ("latency_p50", 0.7, State.BETTER),
        ("latency_p50", 1.4, State.WORSE),
        ("throughput", 1.002, State.WITHIN),
    ],
)
def test_what_lies_off_the_old_sessions_is_marked_with_its_direction(
    metric: str, factor: float, state: State
) -> None:
    past = [session(day, {metric: 40 + 0.1 * (day % 3)}) for day in range(1, 6)]
    old, new = baseline(*past), baseline(*past, session(6, {metric: 40.1 * factor}))
    (cell,) = difference(old, new).cells
    assert cell.state is state
    assert cell.metrics[0].beyond is (state is not State.WITHIN)
    if cell.metrics[0].beyond:
        assert cell.metrics[0].worse is (state is State.WORSE)


def test_the_worst_stands_first_then_better_new_removed_and_the_rest() -> None:
    past = rates(40.0, 40.4, 39.8, 40.1, 40.2)
    old: State_ = {}
    new: State_ = {}
    for key, rate in (("a", 40.0), ("b", 60.0), ("c", 30.0), ("d", 20.0)):
        old |= baseline(*past, key=key)
        new |= baseline(*past, *rates(rate, first=6), key=key)
    new |= baseline(*past, key="new")
    old |= baseline(*past, key="gone")
    found = difference(old, new)
    assert [cell.place.key for cell in found.cells] == ["d", "c", "b", "new", "gone", "a"]
    assert [found.count(state) for state in State] == [2, 1, 1, 1, 1]
    assert [session.id for session in found.added] == ["s06"]
    assert found.compared == 6


def test_models_that_came_and_went_are_named() -> None:
    found = difference(
        baseline(*rates(1.0)) | baseline(*rates(1.0), model="old"),
        baseline(*rates(1.0)) | baseline(*rates(1.0), model="new"),
    )
    assert found.new_models == (Place("orin", "new"),)
    assert found.removed_models == (Place("orin", "old"),)
    assert {cell.state for cell in found.cells} == {State.NEW, State.REMOVED}


def test_sessions_of_another_server_are_noted_and_not_called_worse() -> None:
    past = rates(40.0, 40.1, 40.2, 40.0)
    other = session(9, {"throughput": 20.0}, replace(FINGERPRINT, triton="2.60.0"))
    (cell,) = difference(baseline(*past), baseline(*past, other)).cells
    assert cell.state is State.WITHIN
    assert cell.metrics[0].change == pytest.approx(-0.5, abs=0.01)
    assert cell.note == "Triton version was 2.51.0, is 2.60.0"


def test_new_files_of_the_model_are_noted_and_judged() -> None:
    past = rates(40.0, 40.1, 40.2, 40.0)
    other = session(9, {"throughput": 20.0}, replace(FINGERPRINT, content="def"))
    (cell,) = difference(baseline(*past), baseline(*past, other)).cells
    assert cell.state is State.WORSE
    assert cell.note == "the model's files changed: abc -> def"


def test_an_edited_value_counts_as_a_new_one() -> None:
    past = rates(40.0, 40.1, 40.2, 40.0, 40.1)
    (cell,) = difference(baseline(*past), baseline(*rates(20.0), *past[1:])).cells
    assert cell.state is State.WORSE
    assert difference(baseline(*past), baseline(*rates(20.0), *past[1:])).added == ()


def test_sessions_that_only_left_are_a_change_within_the_spread() -> None:
    past = rates(20.0, 40.1, 40.2, 40.0, 40.1)
    (cell,) = difference(baseline(*past), baseline(*past[1:])).cells
    assert cell.state is State.WITHIN
    assert cell.metrics[0].change is not None
    assert cell.metrics[0].change > 0.1


@pytest.mark.parametrize(("rate", "state"), [(39.0, State.WITHIN), (20.0, State.WORSE)])
def test_one_session_against_one_goes_by_the_windows(rate: float, state: State) -> None:
    (cell,) = difference(baseline(*rates(40.0)), baseline(*rates(rate, first=2))).cells
    assert cell.state is state


def test_a_metric_that_one_side_lacks_has_no_change() -> None:
    old = baseline(session(1, {"throughput": 40.0, "latency_p50": 0.1}))
    (cell,) = difference(old, baseline(session(2, {"throughput": 40.0}))).cells
    assert [(item.metric, item.new, item.change) for item in cell.metrics] == [
        ("throughput", 40, 0),
        ("latency_p50", None, None),
    ]


def test_the_spread_alone_is_called_a_change_in_few_reviews_and_a_real_one_is_found() -> None:
    """120 reviews of 12 cells; 1 % of them may be marked, and up to 5 by the luck of the draw."""
    rng = random.Random(7)  # noqa: S311 - a simulation
    marked = found = 0
    for _ in range(120):
        old = noisy(rng, range(1, 6))
        same = difference(old, joined(old, noisy(rng, range(6, 9))))
        marked += any(item.beyond for cell in same.cells for item in cell.metrics)
        slow = difference(old, joined(old, noisy(rng, range(6, 9), factor=0.85)))
        found += slow.count(State.WORSE)
    assert marked <= 5
    assert found >= 0.9 * 120 * 12
