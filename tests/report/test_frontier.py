"""The Pareto set: properties that hold of any cells, and what is shown of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.accuracy import Accuracy
from pytest_gaitperf.config.policy import latency_bound
from pytest_gaitperf.metrics import METRICS, Direction, Estimate
from pytest_gaitperf.report.frontier import (
    Cost,
    cost,
    frontier,
    frontier_lines,
    pareto,
)
from pytest_gaitperf.report.terminal import closing_lines
from pytest_gaitperf.workload import Workload
from tests.report.runs import cell, lost, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from pytest_gaitperf.config.policy import Bound
    from pytest_gaitperf.results import Cell, Run

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


def dominates(one: Sequence[Cost], other: Sequence[Cost]) -> bool:
    """Whether one is surely better in an objective, and by its value in none worse."""
    pairs = list(zip(one, other, strict=True))
    return all(a.value <= b.value for a, b in pairs) and any(a.high < b.low for a, b in pairs)


def exact(*values: float) -> list[Cost]:
    return [Cost(value, value, value) for value in values]


@given(CELLS)
def test_no_cell_of_the_set_is_dominated_and_every_other_is(cells: list[list[Cost]]) -> None:
    chosen = pareto(cells)
    assert bool(chosen) is bool(cells)
    for index, one in enumerate(cells):
        dominated = any(dominates(other, one) for other in cells)
        assert (index in chosen) is not dominated


@given(CELLS)
def test_with_exact_values_every_other_is_dominated_by_one_of_the_set(
    cells: list[list[Cost]],
) -> None:
    sharp = [exact(*(one.value for one in costs)) for costs in cells]
    chosen = pareto(sharp)
    for index, one in enumerate(sharp):
        assert index in chosen or any(dominates(sharp[best], one) for best in chosen)


@given(CELLS, st.randoms(use_true_random=False))
def test_the_order_of_the_cells_changes_nothing(cells: list[list[Cost]], random: Random) -> None:
    order = list(range(len(cells)))
    random.shuffle(order)
    chosen = pareto([cells[index] for index in order])
    assert sorted(order[index] for index in chosen) == pareto(cells)


@given(CELLS)
def test_units_and_scales_change_nothing(cells: list[list[Cost]]) -> None:
    scaled = [[Cost(*(math.exp(3 * end) - 7 for end in one)) for one in cell] for cell in cells]
    assert pareto(scaled) == pareto(cells)


@given(CELLS)
def test_wider_intervals_never_dominate_more(cells: list[list[Cost]]) -> None:
    wider = [[Cost(c.low - 0.7, c.value, c.high + 0.7) for c in cell] for cell in cells]
    assert set(pareto(wider)) >= set(pareto(cells))


def test_equal_cells_are_both_kept_and_a_better_one_drops_both() -> None:
    assert pareto([exact(1, 2), exact(1, 2)]) == [0, 1]
    assert pareto([exact(1, 2), exact(1, 2), exact(1, 1)]) == [2]


def test_who_is_better_only_within_the_noise_dominates_nobody() -> None:
    energy, less = Cost(9.0, 10.0, 11.0), Cost(8.5, 9.5, 10.5)
    one = [Cost(1.0, 1.0, 1.0), energy]
    other = [Cost(1.0, 1.0, 1.0), less]
    assert pareto([one, other]) == [0, 1]
    surely_less = [Cost(1.0, 1.0, 1.0), Cost(7.0, 8.0, 8.4)]
    assert pareto([one, other, surely_less]) == [2]


def test_more_is_better_turns_round_and_no_interval_is_exact() -> None:
    throughput = Estimate("inf/s", 20.0, 18.0, 23.0)
    assert cost(throughput, Direction.HIGHER_IS_BETTER) == (-23.0, -20.0, -18.0)
    assert cost(throughput, Direction.LOWER_IS_BETTER) == (18.0, 20.0, 23.0)
    assert cost(Estimate("s", 3.0), Direction.LOWER_IS_BETTER) == (3.0, 3.0, 3.0)


# What is shown

# Of each model and batch size: p50 (s), throughput (inf/s), joules, p99 (s).
BOARD = {
    ("large", 1): {"p50": 0.02, "rate": 50.0, "joules": 0.20, "p99": 0.025},
    ("large", 4): {"p50": 0.06, "rate": 66.0, "joules": 0.15, "p99": 0.075},
    ("small", 1): {"p50": 0.01, "rate": 100.0, "joules": 0.10, "p99": 0.015},
    ("small", 4): {"p50": 0.03, "rate": 133.0, "joules": 0.08, "p99": 0.0399},
    ("small", 8): {"p50": 0.06, "rate": 130.0, "joules": 0.09, "p99": 0.075},
}
NAMES = {
    "p50": "latency_p50",
    "rate": "throughput",
    "joules": "energy_per_inference",
    "p99": "latency_p99",
}
BOUND = latency_bound("40 ms")


def board(
    cells: Mapping[tuple[str, int], Mapping[str, float]] = BOARD,
    accuracy: Mapping[str, float] | None = None,
    bound: Bound | None = None,
    *,
    energy_counts: bool = True,
) -> Run:
    """A run of these cells, each value known to 0.5 %."""
    found = []
    for (model, batch), values in cells.items():
        estimates = {
            NAMES[name]: Estimate(METRICS[NAMES[name]].unit, value, value * 0.995, value * 1.005)
            for name, value in values.items()
        }
        load = Workload(model, batch, 1)
        found.append(cell(load, judged=(), measurement={"metrics": estimates}))
    front = frontier(found, accuracy or {}, bound, energy_counts=energy_counts)
    return run(*found, frontier=front)


def test_the_frontier_over_latency_and_energy_and_the_best_cells_under_a_bound() -> None:
    lines = frontier_lines(board(bound=BOUND))
    assert lines[0] == "frontier over p50, energy: 2 of 5 cells:"
    assert [line.split() for line in lines[1:3]] == [
        ["small-b1-c1", "10.00", "ms", "100.0", "mJ"],
        ["small-b4-c1", "30.00", "ms", "80.00", "mJ"],
    ]
    # The interval of small-b4-c1's p99 reaches over 40 ms: it is not surely under it.
    assert lines[3] == (
        "with latency_p99 <= 40 ms: most throughput: small-b1-c1, 100.0 inf/s; "
        "least energy: small-b1-c1, 100.0 mJ"
    )
    assert len(lines) == 4


def test_an_accuracy_table_keeps_the_accurate_model_and_leaves_out_unknown_ones() -> None:
    accuracy = {"large": 0.95, "small": 0.90}
    shown = board({**BOARD, ("new", 1): BOARD["small", 1]}, accuracy)
    found = shown.frontier
    assert found is not None
    assert found.objectives == ("latency_p50", "energy_per_inference", "accuracy")
    assert found.cells == ("small-b1-c1", "large-b1-c1", "small-b4-c1", "large-b4-c1")
    assert found.left_out == {"new-b1-c1": "the accuracy of new is not known"}
    lines = frontier_lines(shown)
    assert lines[0] == "frontier over p50, energy, accuracy: 4 of 5 cells:"
    assert lines[2].split()[-1] == "95.0%"
    assert lines[-1] == "not compared: new-b1-c1: the accuracy of new is not known"
    assert len(lines) == 6


def test_the_best_cells_under_a_bound_are_of_models_that_are_accurate_enough() -> None:
    accuracy = {"large": 0.95, "small": 0.90}
    bounds = {
        least: latency_bound(f"120 ms, accuracy >= {least}") for least in ("90%", "0.93", "96%")
    }
    best = {
        least: board(accuracy=accuracy, bound=bound).frontier for least, bound in bounds.items()
    }
    found = {least: front and front.best["energy_per_inference"] for least, front in best.items()}
    assert found == {"90%": "small-b4-c1", "0.93": "large-b4-c1", "96%": None}
    lines = frontier_lines(board(accuracy=accuracy, bound=bounds["0.93"]))
    assert lines[-1].startswith(
        "with latency_p99 <= 120 ms, accuracy >= 93%: most throughput: large"
    )
    assert latency_bound(str(bounds["0.93"])) == bounds["0.93"]
    # Nobody knows how accurate these are.
    unknown = board(bound=bounds["90%"]).frontier
    assert unknown is not None
    assert unknown.best == {"throughput": None, "energy_per_inference": None}


def test_without_energy_or_with_an_estimate_throughput_takes_its_place() -> None:
    without = {
        place: {name: value for name, value in values.items() if name != "joules"}
        for place, values in BOARD.items()
    }
    for shown in (board(without), board(energy_counts=False)):
        assert shown.frontier is not None
        assert shown.frontier.objectives == ("latency_p50", "throughput")
        assert shown.frontier.cells == ("small-b1-c1", "small-b4-c1")


def test_cells_that_may_not_be_judged_are_not_compared() -> None:
    good = cell(Workload("m", 1, 1))
    bad = cell(Workload("m", 2, 1), measurement={"invalid": "throttled"})
    assert frontier([good, bad, lost()], {}, None, energy_counts=True) is None


def test_at_most_six_lines_and_the_rest_in_the_record() -> None:
    shown = board(
        {
            ("a" if size % 2 else "b", size): {"p50": 0.01 * size, "joules": 1 / size, "rate": 1.0}
            for size in range(1, 21)
        }
    )
    lines = frontier_lines(shown)
    assert lines[0] == "frontier over p50, energy: 20 of 20 cells, among them:"
    assert len(lines) == 6
    assert (lines[1].split()[0], lines[-1].split()[0]) == ("a-b1-c1", "b-b20-c1")
    assert all(line in closing_lines(shown) for line in lines)
    assert shown.frontier is not None
    assert len(shown.frontier.cells) == 20
    assert shown.frontier.best == {}


def test_one_model_shows_no_frontier_unasked_and_nothing_is_under_an_unknown_p99() -> None:
    cells = {("m", size): {"p50": 0.01 * size, "rate": 1.0, "joules": 1 / size} for size in (1, 2)}
    assert frontier_lines(board(cells)) == []
    bound = latency_bound("1 s")
    assert frontier_lines(board(cells, bound=bound))[-1] == (
        "with latency_p99 <= 1 s: no cell is surely under it (p99 not known in 2 cells)"
    )
    single = board({("m", 1): cells["m", 1]}, bound=bound)
    assert frontier_lines(single) == []
    assert single.frontier is None


def answering(model: str, **found: Any) -> Cell:
    """A model by itself, with how it answered."""
    alone = Workload(model, 1, concurrency=1, alone=True)
    return cell(alone, values={}, measurement={"accuracy": Accuracy(**found)})


def test_what_the_run_measured_of_all_models_is_the_third_objective() -> None:
    """A smaller model that answers worse beats nobody in that."""
    loaded = board().cells
    error = answering("small", reference="large@1", error=0.03)
    found = frontier([*loaded, error], {}, None, energy_counts=True)
    assert found is not None
    assert found.objectives == ("latency_p50", "energy_per_inference", "output_error")
    assert found.accuracy == {"small": 0.03, "large": 1e-5}
    assert "large-b1-c1" in found.cells, "the reference answers best"
    lines = frontier_lines(run(*loaded, error, frontier=found))
    assert "over p50, energy, output error" in lines[0]
    assert any(line.endswith(" 3.000 %") for line in lines)
    labels = [answering("small", score=0.9), answering("large", score=0.95)]
    found = frontier([*loaded, *labels], {}, None, energy_counts=True)
    assert found is not None
    assert found.objectives[-1] == "accuracy"
    assert found.accuracy == {"small": 0.9, "large": 0.95}


def test_what_is_known_of_some_models_only_is_no_objective() -> None:
    some = answering("small", reference="another@1", error=0.03)
    found = frontier([*board().cells, some], {}, None, energy_counts=True)
    assert found is not None
    assert found.objectives == ("latency_p50", "energy_per_inference")
