"""What a run, a model and a cell moved by, worked out by hand on a past without noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.gate.scopes import CellLogs, shifts

if TYPE_CHECKING:
    from pytest_gaitperf.results import Scope

# Alternating, so that there is some noise, but none in a difference of two cells.
PAST = {f"s{day}": 0.01 * (-1) ** day for day in range(6)}


def run_of(**models: list[float]) -> list[CellLogs]:
    """Cells of one past; each model's cells moved by these."""
    return [CellLogs(model, PAST, by) for model, moved in models.items() for by in moved]


def change(cells: list[CellLogs], scope: Scope, *which: int) -> float:
    """The change of one contrast from the mean of all sessions."""
    found = [
        shift.change
        for shift in shifts(cells)
        if (shift.scope, shift.cells) == (scope, which)
        and getattr(shift, "level", "sessions") == "sessions"
    ]
    (only,) = found
    return only


def test_of_a_models_two_cells_the_smaller_change_is_the_models() -> None:
    others = {"b": [0.0, 0.0], "c": [0.0, 0.0]}
    assert change(run_of(a=[0.3, 0.1], **others), "model", 0, 1) == pytest.approx(0.1)
    assert change(run_of(a=[0.0, 0.3], **others), "model", 0, 1) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("moved", "reached"),
    [
        ([0.3, 0.1], 0.1),
        ([0.3, 0.2, 0.1], 0.2),
        ([0.4, 0.3, 0.2, 0.1], 0.2),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 0.2),
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 0.3),
    ],
)
def test_a_run_moved_by_what_two_thirds_of_its_models_reached(
    moved: list[float], reached: float
) -> None:
    models = {f"m{number}": [by] for number, by in enumerate(moved)}
    found = change(run_of(**models), "run", *range(len(moved)))
    assert found == pytest.approx(reached)
    assert sum(by >= reached for by in moved) >= 2 / 3 * len(moved)


def credit(others: int) -> float:
    """What a model that did not move is charged for what others gained, however much that was."""
    models = {f"m{number}": [-0.5] for number in range(others)}
    return change(run_of(a=[0.0], **models), "model", 0)


def test_others_are_credited_with_chance_and_with_no_improvement_beyond_it() -> None:
    # The standard error of one more session: one or two others are given one, more of them two.
    chance = float(np.std(list(PAST.values()), ddof=1)) * math.sqrt(1 + 1 / len(PAST))
    for others, errors in ((1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)):
        assert credit(others) == pytest.approx(errors * chance, rel=0.1), others
        models = {f"m{number}": [-0.4 * chance] for number in range(others)}
        assert change(run_of(a=[0.0], **models), "model", 0) == pytest.approx(0.4 * chance)


def test_a_change_is_counted_from_the_mean_of_the_sessions() -> None:
    offset = {name: value + 0.5 for name, value in PAST.items()}
    cells = [CellLogs("a", offset, 0.8), CellLogs("b", PAST, 0.1)]
    assert change(cells, "model", 0) == pytest.approx(0.2)
