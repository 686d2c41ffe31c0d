"""The figures of the page show the numbers of the results, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.gate.prediction import prediction_limit
from pytest_gaitperf.report.html import latency, power, rails, time_split, tradeoffs, trend
from pytest_gaitperf.report.html.page import page
from tests.report.browsing import browser, draw_all, opened
from tests.report.figured import (
    DURATION_S,
    PLACES,
    POLICY,
    RAILS,
    SEEN,
    SPLIT,
    Place,
    document,
    recorded,
    reported,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.html.section import Section
    from pytest_gaitperf.report.schema import Cell

PLACE = PLACES[5]
MANY = tuple(replace(PLACE, model=f"model{number}") for number in range(101))


def cell_of(data: ReportData, place: Place = PLACE) -> Cell:
    return next(one for one in data.run.cells if one.id == f"{place.model}-{place.key}")


def spec(section: Section | None, figure: int = 0) -> Any:
    assert section is not None
    return section.figures[figure].spec


# Power


def test_the_power_of_a_cell_is_that_of_its_trace() -> None:
    data = reported(document())
    cell = cell_of(data)
    shown: Any = power.power_values(data, cell)
    assert cell.power_trace is not None
    assert [rail for rail, _, _ in shown["watts"]] == list(RAILS)
    assert [inside for _, inside, _ in shown["watts"]] == [1, 0, 0]
    for rail, _, watts in shown["watts"]:
        assert watts == pytest.approx(cell.power_trace.watts[rail], rel=5e-4)
    assert (shown["start_s"], shown["bin_s"], shown["span_s"]) == (-1, 0.1, 10)
    assert shown["mean_w"] == pytest.approx(PLACE.truth["power_mean"], rel=5e-4)
    assert (shown["estimate"], shown["counter"], shown["readings"]) == (0, 0, 1500)


def test_wider_bins_among_many_cells_keep_the_joules_and_the_edges_of_the_span() -> None:
    data = reported(document(MANY))
    shown: Any = power.power_values(data, data.run.cells[0])
    watts = shown["watts"][0][2]
    before = -shown["start_s"] / shown["bin_s"]
    assert before == round(before) == 2
    inside = watts[2 : 2 + round(DURATION_S / shown["bin_s"])]
    assert len(watts) < 40
    assert sum(inside) * shown["bin_s"] == pytest.approx(
        PLACE.truth["power_mean"] * DURATION_S, rel=1e-3
    )
    assert power.course_values(data, data.run.cells[0]) is None


def test_without_a_trace_there_is_no_power_to_show() -> None:
    told = document()
    told["cells"][5] |= {"power_trace": None, "rails_j": {}, "course": None}
    data = reported(told)
    for values in (power.power_values, power.course_values, rails.values):
        assert values(data, cell_of(data)) is None


# Latency


def test_latencies_are_the_percentiles_of_the_cell_with_the_metrics_marked() -> None:
    data = reported(document())
    shown: Any = latency.values(data, cell_of(data))
    assert len(shown["ms"]) == 101
    p50 = PLACE.truth["latency_p50"] * 1e3
    assert [shown["ms"][at] for at in (50, 99, 100)] == pytest.approx(
        [p50, 3.1 * p50, 12 * p50], rel=1e-3
    )
    assert [mark[:2] for mark in shown["marks"]] == [
        ["p50", 50], ["p90", 90], ["p95", 95], ["p99", 99],
    ]  # fmt: skip
    assert shown["marks"][3][2:] == pytest.approx(
        [3.1 * p50, 3.1 * p50 * 0.99, 3.1 * p50 * 1.012], rel=1e-3
    )


def test_among_many_cells_fewer_percentiles_are_kept() -> None:
    data = reported(document(MANY))
    shown: Any = latency.values(data, data.run.cells[0])
    p50 = PLACE.truth["latency_p50"] * 1e3
    few = (0, 1, *range(5, 100, 5), 99, 100)
    assert len(shown["ms"]) == len(few)
    at = {percent: shown["ms"][place] for place, percent in enumerate(few)}
    assert [at[50], at[95], at[99]] == pytest.approx([p50, 1.8 * p50, 3.1 * p50], rel=1e-3)


# Rails and time


def test_rails_of_the_total_sum_to_the_energy_and_others_stand_apart() -> None:
    data = reported(document())
    for figure, metric, scale in ((0, "power_mean", 1.0), (1, "energy_per_inference", 1e3)):
        bars = spec(rails.section(data), figure)["data"]
        total = [bar for bar in bars if bar["offsetgroup"] == "total"]
        apart = [bar for bar in bars if bar["offsetgroup"] == "apart"]
        assert [bar["name"] for bar in total] == ["VDD_IN"]
        assert [bar["name"] for bar in apart] == [
            "VDD_CPU_GPU_CV (not in the total)",
            "VDD_SOC (not in the total)",
        ]
        sums = [math.fsum(values) for values in zip(*(bar["x"] for bar in total), strict=True)]
        assert sums == pytest.approx([place.truth[metric] * scale for place in PLACES])
        assert bars[0]["y"] == [f"{place.model}-{place.key}" for place in PLACES]
    shown: Any = rails.values(data, cell_of(data))
    assert [rail[2] for rail in shown["rails"]] == [1, 0, 0]
    assert shown["rails"][0][1] * shown["mj_per_w"] == pytest.approx(
        PLACE.truth["energy_per_inference"] * 1e3, rel=1e-3
    )


def test_an_estimate_is_called_one_in_titles_axes_and_tables() -> None:
    data = reported(document(estimated=True))
    for section in (rails.section(data), tradeoffs.pareto(data)):
        assert section is not None
        for figure in section.figures:
            if figure.id == "pareto-throughput":
                continue
            assert "(estimate)" in figure.title
            assert "(estimate)" in str(figure.spec["layout"])
            assert "estimate" in figure.description
            named: Any = figure.spec["data"]
            if figure.id.startswith("rails"):
                assert all("(estimate)" in bar["name"] for bar in named)
            assert "(estimate)" in " ".join((figure.table.caption, *figure.table.headers))
    shown: Any = trend.values(data, cell_of(data))
    assert shown["metrics"][3]["title"] == "energy (estimate)"


def test_the_parts_of_a_request_sum_to_its_time_and_stand_beside_the_run_before() -> None:
    data = reported(document(time="2026-11-19T10:00:00Z"), document(worse=1.5))
    bars = spec(time_split.section(data))["data"]
    assert len(bars) == len(SPLIT)
    sums = [math.fsum(values) for values in zip(*(bar["x"] for bar in bars), strict=True)]
    assert sums == pytest.approx([place.truth["latency_p50"] * 1.5e3 for place in PLACES])
    shown: Any = time_split.values(data, cell_of(data))
    assert [name for name, _, _ in shown[2:5]] == ["queue", "input", "inference"]
    for _, now, before in shown:
        assert now == pytest.approx(1.5 * before, rel=2e-3)


def test_stacked_bars_keep_the_doubtful_of_many_cells() -> None:
    told = document(MANY)
    told["cells"][90]["verdicts"]["throughput"] = "regressed"
    section = time_split.section(reported(told))
    rows = spec(section)["data"][0]["y"]
    assert len(rows) == 40
    assert rows[-1] == told["cells"][90]["id"]
    assert section is not None
    assert "40 of 101 cells" in section.figures[0].description


# Cells against each other


def test_paths_join_the_cells_of_one_batch_size_in_the_order_of_their_load() -> None:
    section = tradeoffs.throughput_latency(reported(document(tuple(reversed(PLACES)))))
    assert section is not None
    (of_model,) = [one for one in section.figures if one.title.startswith("3D_fp32_0")]
    paths: Any = of_model.spec["data"]
    assert [path["name"] for path in paths] == ["batch 1", "batch 8"]
    for path, places in zip(paths, (PLACES[:3], PLACES[3:6]), strict=True):
        truths = [place.truth for place in places]
        assert path["x"] == pytest.approx([one["throughput"] for one in truths], rel=5e-4)
        assert path["y"] == pytest.approx([one["latency_p50"] * 1e3 for one in truths], rel=5e-4)
        assert path["mode"] == "lines+markers"


def test_the_pareto_set_has_the_cells_that_none_is_better_than() -> None:
    figures = tradeoffs.pareto(reported(document()))
    assert figures is not None
    for figure, metric, sign in zip(
        figures.figures, ("energy_per_inference", "throughput"), (1, -1), strict=True
    ):
        best = {
            f"{one.model}-{one.key}"
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
    section = tradeoffs.pareto(reported(document(places)))
    traces = spec(section)["data"]
    assert len(traces) == 7 + 1 + 1
    assert {"net3", "net7", "net11"} == {trace["name"] for trace in traces[:3]}
    assert traces[7]["name"] == "5 other models"
    assert sum(len(trace["x"]) for trace in traces[:8]) == 12


def test_the_runs_own_frontier_is_drawn_where_it_knows_the_accuracy() -> None:
    told = document()
    names = [told["cells"][0]["id"], told["cells"][7]["id"]]
    accuracy = {place.model: 0.9 for place in PLACES}
    told["frontier"] = {
        "objectives": ["latency_p50", "energy_per_inference", "accuracy"],
        "cells": names,
        "compared": 18,
        "accuracy": accuracy,
    }
    energy = tradeoffs.pareto(reported(told))
    assert energy is not None
    figure = energy.figures[0]
    assert {row[0] for row in figure.table.rows} == set(names)
    assert spec(energy)["data"][-1]["mode"] == "markers"
    assert "accuracy" in figure.table.headers


def test_cells_that_may_not_be_judged_are_in_no_comparison() -> None:
    told = document()
    for cell in told["cells"]:
        cell["invalid"] = "another client used the server"
    data = reported(told)
    assert tradeoffs.throughput_latency(data) is None
    assert tradeoffs.pareto(data) is None


# Trends


def test_the_band_is_the_gates_prediction_and_the_limit_its_limit() -> None:
    data = reported(document(worse=1.03), baselines=recorded())
    shown: Any = trend.values(data, cell_of(data))
    assert shown["sessions"][-1][1] == 2
    assert [origin for _, origin in shown["sessions"][:-1]] == [0] * SEEN
    for metric, name in zip(
        shown["metrics"],
        ("throughput", "latency_p50", "latency_p99", "energy_per_inference"),
        strict=True,
    ):
        scale = 1e3 if metric["unit"] in ("ms", "mJ") else 1.0
        past = [one.value for one in PLACE.baseline(name, SEEN)]
        assert metric["values"][:-1] == pytest.approx([v * scale for v in past], rel=5e-4)
        predicted = prediction_limit(
            [math.log(value) for value in past], POLICY.alpha / POLICY.comparisons
        )
        low, high = (
            math.exp(predicted.centre + sign * predicted.limit) * scale for sign in (-1, 1)
        )
        assert metric["band"] == pytest.approx([low, high], rel=5e-4)
        assert metric["limit"] == pytest.approx(low if name == "throughput" else high, rel=5e-4)
        assert metric["note"] == f"band of {SEEN} sessions"


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"sessions": 2, "provisional": True}, "2 of 3 sessions: no band yet"),
        ({"pairs": 20}, "judged beside a reference, not against sessions: no band"),
        ({"high": None, "limit": None}, "nothing tells the noise: no band"),
    ],
)
def test_where_nothing_was_predicted_there_is_no_band_and_it_says_so(
    changes: dict[str, Any], note: str
) -> None:
    told = document()
    told["cells"][5]["judgements"]["throughput"] |= changes
    data = reported(told)
    shown: Any = trend.values(data, cell_of(data))
    assert shown["metrics"][0]["band"] is None
    assert shown["metrics"][0]["note"] == note


def test_a_run_that_was_recorded_is_drawn_once() -> None:
    told = document(time="2026-11-19T10:00:00Z")
    told["sessions"]["began"] = ["2026-11-10T08:00:00Z"]  # the first session of the baselines
    data = reported(told, document(), baselines=recorded())
    shown: Any = trend.values(data, cell_of(data))
    assert [origin for _, origin in shown["sessions"]] == [0] * SEEN + [2]
    data = reported(told, baselines=recorded())
    shown = trend.values(data, cell_of(data))
    assert [origin for _, origin in shown["sessions"]] == [0] * (SEEN - 1) + [2]


def test_two_runs_of_one_second_are_two_points_and_a_broken_time_is_no_fault() -> None:
    broken = document(time="yesterday")
    data = reported(document(), document(worse=1.2), broken)
    shown: Any = trend.values(data, cell_of(data))
    assert [origin for _, origin in shown["sessions"]] == [2, 1, 1]
    assert len(set(shown["metrics"][0]["values"])) == 2


@pytest.mark.parametrize("change", [{"watts": {}}, {"bin_s": 0.0}, {"watts": {"VDD_IN": []}}])
def test_a_trace_of_nothing_is_not_drawn(change: dict[str, Any]) -> None:
    told = document()
    told["cells"][5]["power_trace"] |= change
    data = reported(told)
    assert power.power_values(data, cell_of(data)) is None


def test_estimated_and_measured_energy_are_no_one_history() -> None:
    data = reported(document(estimated=True), document(), baselines=recorded("estimate:5"))
    shown: Any = trend.values(data, cell_of(data))
    energy = shown["metrics"][3]["values"]
    assert [value is None for value in energy] == [True] * (len(energy) - 1) + [False]


# In the browser


def test_every_figure_is_drawn_and_those_of_a_cell_show_its_values(tmp_path: Path) -> None:
    data = reported(
        document(PLACES[:6], time="2026-11-19T10:00:00Z"),
        document(PLACES[:6], worse=1.1),
        baselines=recorded(),
    )
    path = tmp_path / "report.html"
    path.write_text(page(data))
    cell = cell_of(data)
    kinds = ["trend", "latency", "power", "course", "rails", "time"]
    with browser() as chromium, opened(chromium, path, fragment=f"#cell={cell.id}") as shown:
        for kind in kinds:
            shown.locator(f"#cell-figure-{kind} svg.main-svg").first.wait_for()
            headers, rows = shown.evaluate(
                "kind => [...document.querySelectorAll(`#cell-figure-${kind} table`)].map(table =>"
                " [table.tHead.rows[0].cells.length, [...table.tBodies[0].rows].map("
                "row => [...row.cells].map(one => one.textContent))])[0]",
                kind,
            )
            assert rows, kind
            assert {len(row) for row in rows} == {headers}, kind
            assert not any("NaN" in text or "undefined" in text for row in rows for text in row)
        drawn: Any = shown.evaluate(
            "kinds => Object.fromEntries(kinds.map(kind => [kind, document.querySelector("
            "`#cell-figure-${kind} .plot`)]).map(([kind, plot]) => [kind, {data: plot.data.map("
            "one => ({name: one.name, x: one.x, y: one.y})), shapes: plot.layout.shapes}]))",
            kinds,
        )
        assert draw_all(shown) == 1 + 2 + 1 + 2
    powers: Any = power.power_values(data, cell)
    assert drawn["power"]["data"][0]["y"][:-1] == powers["watts"][0][2]
    assert [drawn["power"]["shapes"][0][end] for end in ("x0", "x1")] == [0, 10]
    trends: Any = trend.values(data, cell)
    assert [[band["y0"], band["y1"]] for band in drawn["trend"]["shapes"]] == [
        metric["band"] for metric in trends["metrics"]
    ]
    latencies: Any = latency.values(data, cell)
    assert drawn["latency"]["data"][0]["x"] == latencies["ms"]
