"""The Pareto set: properties that hold of any cells, and what noise does to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.metrics import Direction, Estimate
from pytest_gaitperf.report.pareto import Cost, cost, dominates, frontier

if TYPE_CHECKING:
    from random import Random

VALUES = st.integers(0, 6).map(float)
WIDTHS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.5])


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    value = draw(VALUES)
    return Cost(value - draw(WIDTHS), value, value + draw(WIDTHS))


CELLS = st.integers(1, 3).flatmap(
    lambda objectives: st.lists(
        st.lists(costs(), min_size=objectives, max_size=objectives), max_size=12
    )
)


def exact(*values: float) -> list[Cost]:
    return [Cost(value, value, value) for value in values]


@given(CELLS)
def test_no_cell_of_the_set_is_dominated_and_every_other_is(cells: list[list[Cost]]) -> None:
    chosen = frontier(cells)
    assert bool(chosen) is bool(cells)
    for index, cell in enumerate(cells):
        dominated = any(dominates(other, cell) for other in cells)
        assert (index in chosen) is not dominated


@given(CELLS)
def test_with_exact_values_every_other_is_dominated_by_one_of_the_set(
    cells: list[list[Cost]],
) -> None:
    sharp = [exact(*(one.value for one in cell)) for cell in cells]
    chosen = frontier(sharp)
    for index, cell in enumerate(sharp):
        assert index in chosen or any(dominates(sharp[best], cell) for best in chosen)


@given(CELLS, st.randoms(use_true_random=False))
def test_the_order_of_the_cells_changes_nothing(cells: list[list[Cost]], random: Random) -> None:
    order = list(range(len(cells)))
    random.shuffle(order)
    chosen = frontier([cells[index] for index in order])
    assert sorted(order[index] for index in chosen) == frontier(cells)


@given(CELLS)
def test_units_and_scales_change_nothing(cells: list[list[Cost]]) -> None:
    scaled = [[Cost(*(math.exp(3 * end) - 7 for end in one)) for one in cell] for cell in cells]
    assert frontier(scaled) == frontier(cells)


@given(CELLS)
def test_wider_intervals_never_dominate_more(cells: list[list[Cost]]) -> None:
    wider = [[Cost(c.low - 0.7, c.value, c.high + 0.7) for c in cell] for cell in cells]
    assert set(frontier(wider)) >= set(frontier(cells))


def test_equal_cells_are_both_kept_and_a_better_one_drops_both() -> None:
    assert frontier([exact(1, 2), exact(1, 2)]) == [0, 1]
    assert frontier([exact(1, 2), exact(1, 2), exact(1, 1)]) == [2]


def test_who_is_better_only_within_the_noise_dominates_nobody() -> None:
    energy, less = Cost(9.0, 10.0, 11.0), Cost(8.5, 9.5, 10.5)
    one = [Cost(1.0, 1.0, 1.0), energy]
    other = [Cost(1.0, 1.0, 1.0), less]
    assert frontier([one, other]) == [0, 1]
    surely_less = [Cost(1.0, 1.0, 1.0), Cost(7.0, 8.0, 8.4)]
    assert frontier([one, other, surely_less]) == [2]


def test_more_is_better_turns_round_and_no_interval_is_exact() -> None:
    throughput = Estimate("inf/s", 20.0, 18.0, 23.0)
    assert cost(throughput, Direction.HIGHER_IS_BETTER) == (-23.0, -20.0, -18.0)
    assert cost(throughput, Direction.LOWER_IS_BETTER) == (18.0, 20.0, 23.0)
    assert cost(Estimate("s", 3.0), Direction.LOWER_IS_BETTER) == (3.0, 3.0, 3.0)
