"""The figures that compare cells show the numbers of the run, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gaitperf.report.html import figures
from pytest_gaitperf.results import Frontier
from pytest_gaitperf.workload import Workload
from tests.report.figures import reported, spec
from tests.report.runs import PLACES, Place, board, cell, run

# Cells against each other


def test_paths_join_the_cells_of_one_batch_size_in_the_order_of_their_load() -> None:
    section = figures.throughput_latency(reported(board(tuple(reversed(PLACES)))))
    assert section is not None
    (of_model,) = [one for one in section.figures if one.title.startswith("3D_fp32_0")]
    paths: Any = of_model.spec["data"]
    assert [path["name"] for path in paths] == ["batch 1", "batch 8"]
    for path, places in zip(paths, (PLACES[:3], PLACES[3:6]), strict=True):
        truths = [place.truth for place in places]
        assert path["x"] == pytest.approx([one["throughput"] for one in truths], rel=5e-4)
        assert path["y"] == pytest.approx([one["latency_p50"] * 1e3 for one in truths], rel=5e-4)
        assert path["mode"] == "lines+markers"


def test_no_path_joins_cells_of_two_kinds_of_load() -> None:
    loads: list[dict[str, Any]] = [
        {},
        {"deadline_s": 0.05},
        {"protocol": "grpc"},
        {"sequence_length": (5, 5)},
    ]
    cells = [cell(Workload("m", 1, count, **load)) for load in loads for count in (1, 4)]
    section = figures.throughput_latency(reported(run(*cells)))
    paths = spec(section)["data"]
    assert [path["text"] for path in paths] == [
        [one.key for one in cells[first : first + 2]] for first in range(0, len(cells), 2)
    ]
    assert paths[1]["name"] == "batch 1, 50ms"


def test_the_pareto_set_has_the_cells_that_none_is_better_than() -> None:
    section = figures.tradeoffs(reported(board()))
    assert section is not None
    for figure, metric, sign in zip(
        section.figures, ("energy_per_inference", "throughput"), (1, -1), strict=True
    ):
        best = {
            one.workload.id
            for one in PLACES
            if not any(
                other.truth["latency_p50"] < one.truth["latency_p50"]
                and sign * other.truth[metric] < sign * one.truth[metric]
                for other in PLACES
            )
        }
        assert {row[0] for row in figure.table.rows} == best
        ring: Any = figure.spec["data"][-1]  # type: ignore[index]
        assert len(ring["x"]) == len(best)
        assert ring["x"] == sorted(ring["x"])


def test_of_many_models_the_best_are_named_and_the_rest_drawn_as_one() -> None:
    places = tuple(Place(f"net{number}", number % 4, 1, 1) for number in range(12))
    traces = spec(figures.tradeoffs(reported(board(places))))["data"]
    assert len(traces) == 7 + 1 + 1
    assert {"net3", "net7", "net11"} == {trace["name"] for trace in traces[:3]}
    assert traces[7]["name"] == "5 other models"
    assert sum(len(trace["x"]) for trace in traces[:8]) == 12


def test_the_runs_own_frontier_is_drawn_where_it_knows_the_accuracy() -> None:
    names = (PLACES[0].workload.id, PLACES[7].workload.id)
    frontier = Frontier(
        objectives=("latency_p50", "energy_per_inference", "accuracy"),
        cells=names,
        compared=18,
        accuracy={place.model: 0.9 for place in PLACES},
    )
    energy = figures.tradeoffs(reported(board(frontier=frontier)))
    assert energy is not None
    figure = energy.figures[0]
    assert {row[0] for row in figure.table.rows} == set(names)
    assert spec(energy)["data"][-1]["mode"] == "markers"
    assert "accuracy" in figure.table.headers


def test_cells_that_may_not_be_judged_are_in_no_comparison() -> None:
    data = reported(board(measurement={"invalid": "another client used the server"}))
    assert figures.throughput_latency(data) is None
    assert figures.tradeoffs(data) is None
