"""The figures of one cell show the numbers of the run, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.environment import Sessions
from pytest_gaitperf.measurement import PowerTimeline, Surroundings
from pytest_gaitperf.report.html import cell as of_cell
from pytest_gaitperf.report.html import figures
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.results import VerdictKind
from tests.report.browsing import browser, draw_all, opened
from tests.report.figures import MANY, PLACE, recorded, reported, spec, the_cell, values
from tests.report.runs import (
    DURATION_S,
    JUDGED,
    NOISE,
    PLACES,
    RAILS,
    SEEN,
    SPLIT,
    board,
    cell,
    lost,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path


# Power


def test_the_power_of_a_cell_is_that_of_its_timeline() -> None:
    data = reported(board())
    power = the_cell(data)[1].power
    assert power is not None
    shown = values(data, "power")
    assert [rail for rail, _, _ in shown["watts"]] == list(RAILS)
    assert [inside for _, inside, _ in shown["watts"]] == [1, 0, 0]
    for rail, _, watts in shown["watts"]:
        assert watts == pytest.approx(power.watts[rail], rel=5e-4)
    assert (shown["start_s"], shown["bin_s"], shown["span_s"]) == (-0.3, 0.05, 3)
    assert shown["mean_w"] == pytest.approx(PLACE.truth["power_mean"], rel=5e-4)
    assert (shown["estimate"], shown["counter"], shown["readings"]) == (0, 0, 1500)


def test_wider_bins_among_many_cells_keep_the_joules_and_the_edges_of_the_span() -> None:
    data = reported(board(MANY))
    shown = values(data, "power", MANY[0])
    watts = shown["watts"][0][2]
    before = -shown["start_s"] / shown["bin_s"]
    assert before == pytest.approx(round(before))
    first = round(before)
    inside = watts[first : first + round(DURATION_S / shown["bin_s"])]
    assert len(watts) < 40
    assert sum(inside) * shown["bin_s"] == pytest.approx(
        PLACE.truth["power_mean"] * DURATION_S, rel=1e-3
    )
    assert values(data, "timeline", MANY[0]) is None


@pytest.mark.parametrize(
    "power",
    [
        None,
        PowerTimeline(start_s=0, bin_s=0.1, span_s=1, watts={}),
        PowerTimeline(start_s=0, bin_s=0.1, span_s=1, watts={"VDD_IN": ()}),
        PowerTimeline(start_s=0, bin_s=0.0, span_s=1, watts={"VDD_IN": (1.0,)}),
    ],
)
def test_without_power_there_is_none_to_show(power: PowerTimeline | None) -> None:
    data = reported(board(measurement={"power": power, "rails_j": {}, "timeline": None}))
    for kind in ("power", "timeline", "rails"):
        assert values(data, kind) is None


# Latency


def test_latencies_are_the_percentiles_of_the_cell_with_the_metrics_marked() -> None:
    shown = values(reported(board()), "latency")
    assert len(shown["ms"]) == 101
    p50 = PLACE.truth["latency_p50"] * 1e3
    assert [shown["ms"][at] for at in (50, 99, 100)] == pytest.approx(
        [p50, 3.1 * p50, 12 * p50], rel=1e-3
    )
    assert [mark[:2] for mark in shown["marks"]] == [
        ["p50", 50], ["p90", 90], ["p95", 95], ["p99", 99],
    ]  # fmt: skip
    assert shown["marks"][3][2:] == pytest.approx(
        [3.1 * p50, 3.1 * p50 * 0.99, 3.1 * p50 * 1.01], rel=1e-3
    )


def test_among_many_cells_fewer_percentiles_are_kept() -> None:
    shown = values(reported(board(MANY)), "latency", MANY[0])
    p50 = PLACE.truth["latency_p50"] * 1e3
    few = (0, 1, *range(5, 100, 5), 99, 100)
    assert len(shown["ms"]) == len(few)
    at = {percent: shown["ms"][place] for place, percent in enumerate(few)}
    assert [at[50], at[99]] == pytest.approx([p50, 3.1 * p50], rel=1e-3)


# Rails and time


def test_rails_of_the_total_sum_to_the_energy_and_others_stand_apart() -> None:
    data = reported(board())
    for figure, metric, scale in ((0, "power_mean", 1.0), (1, "energy_per_inference", 1e3)):
        bars = spec(figures.rails(data), figure)["data"]
        total = [bar for bar in bars if bar["offsetgroup"] == "total"]
        apart = [bar for bar in bars if bar["offsetgroup"] == "apart"]
        assert [bar["name"] for bar in total] == ["VDD_IN"]
        assert [bar["name"] for bar in apart] == [
            "VDD_CPU_GPU_CV (not in the total)",
            "VDD_SOC (not in the total)",
        ]
        sums = [math.fsum(parts) for parts in zip(*(bar["x"] for bar in total), strict=True)]
        assert sums == pytest.approx([place.truth[metric] * scale for place in PLACES])
        assert bars[0]["y"] == [place.workload.id for place in PLACES]
    shown = values(data, "rails")
    assert [rail[2] for rail in shown["rails"]] == [1, 0, 0]
    assert shown["rails"][0][1] * shown["mj_per_w"] == pytest.approx(
        PLACE.truth["energy_per_inference"] * 1e3, rel=1e-3
    )


def test_an_estimate_is_called_one_in_titles_axes_and_tables() -> None:
    data = reported(board(measurement={"energy_estimated": True}))
    for section in (figures.rails(data), figures.tradeoffs(data)):
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
    assert values(data, "trend")["metrics"][3]["title"] == "energy (estimate)"


def test_the_parts_of_a_request_sum_to_its_time_and_stand_beside_the_run_before() -> None:
    data = reported(board(time="2026-11-19T10:00:00Z"), board(factor=1.5))
    bars = spec(figures.time_split(data))["data"]
    assert len(bars) == len(SPLIT)
    sums = [math.fsum(parts) for parts in zip(*(bar["x"] for bar in bars), strict=True)]
    assert sums == pytest.approx([place.truth["latency_p50"] * 1.5e3 for place in PLACES])
    shown = values(data, "time")
    assert [name for name, _, _ in shown] == ["network", "queue", "inference"]
    for _, now, before in shown:
        assert now == pytest.approx(1.5 * before, rel=2e-3)


@pytest.mark.parametrize("parts", [{}, {"queue": 0.0, "network": 0.0}, {"of another version": 1.0}])
def test_a_request_of_no_known_part_has_no_bar(parts: dict[str, float]) -> None:
    known, unknown = cell(PLACE.workload), cell(measurement={"time_split_s": parts})
    assert figures.time_split(reported(run(unknown))) is None
    bars = spec(figures.time_split(reported(run(known, unknown))))["data"]
    assert all(bar["y"] == [known.id] for bar in bars)


def test_stacked_bars_keep_the_doubtful_of_many_cells() -> None:
    cells = list(board(MANY).cells)
    cells[90] = cell(MANY[90].workload, 2.0, values=PLACE.truth)
    section = figures.time_split(reported(run(*cells)))
    rows = spec(section)["data"][0]["y"]
    assert len(rows) == 40
    assert rows[-1] == cells[90].id
    assert section is not None
    assert "40 of 101 cells" in section.figures[0].description


# Trends


def test_the_band_is_the_gates_prediction_and_the_limit_its_limit() -> None:
    data = reported(board(factor=1.03), baselines=recorded())
    shown = values(data, "trend")
    assert shown["sessions"][-1][1] == 2
    assert [origin for _, origin in shown["sessions"][:-1]] == [0] * SEEN
    for metric, name in zip(shown["metrics"], JUDGED, strict=True):
        scale = 1e3 if metric["unit"] in ("ms", "mJ") else 1.0
        truth = PLACE.truth[name] * scale
        assert metric["values"][:-1] == pytest.approx([truth] * SEEN, rel=5e-4)
        low, high = truth * math.exp(-NOISE), truth * math.exp(NOISE)
        assert metric["band"] == pytest.approx([low, high], rel=5e-4)
        assert metric["limit"] == pytest.approx(low if name == "throughput" else high, rel=5e-4)
        assert metric["note"] == f"band of {SEEN} sessions"


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"blocks": 20}, "judged beside a reference, not against sessions: no band"),
        ({"high": None, "limit": None}, "the noise is not known: no band"),
    ],
)
def test_where_nothing_was_predicted_there_is_no_band_and_it_says_so(
    changes: dict[str, Any], note: str
) -> None:
    shown = values(reported(board(verdicts=changes)), "trend")
    assert shown["metrics"][0]["band"] is None
    assert shown["metrics"][0]["note"] == note


def test_a_run_that_was_recorded_is_drawn_once() -> None:
    began = Sessions(began=("2026-11-10T08:00:00Z",))  # the first session of the baselines
    recording = board(time="2026-11-19T10:00:00Z", sessions=began)
    shown = values(reported(recording, board(), baselines=recorded()), "trend")
    assert [origin for _, origin in shown["sessions"]] == [0] * SEEN + [2]
    shown = values(reported(recording, baselines=recorded()), "trend")
    assert [origin for _, origin in shown["sessions"]] == [0] * (SEEN - 1) + [2]


def test_two_runs_of_one_second_are_two_points_and_a_broken_time_is_no_fault() -> None:
    shown = values(reported(board(), board(factor=1.2), board(time="yesterday")), "trend")
    assert [origin for _, origin in shown["sessions"]] == [2, 1, 1]
    assert len(set(shown["metrics"][0]["values"])) == 2


def test_estimated_and_measured_energy_are_no_one_history() -> None:
    estimated = board(measurement={"energy_estimated": True})
    shown = values(reported(estimated, board(), baselines=recorded("estimate:5")), "trend")
    energy = shown["metrics"][3]["values"]
    assert [value is None for value in energy] == [True] * (len(energy) - 1) + [False]


def test_a_cell_that_was_not_measured_has_no_figures() -> None:
    gone = lost(PLACE.workload)
    shown: Any = of_cell.cell_data(reported(board(), run(gone)), gone)
    assert (shown["figures"], shown["metrics"]) == ({}, [])


def test_what_others_did_is_among_the_facts() -> None:
    seen = Surroundings(
        cpus=2,
        windows=40,
        disturbed=31,
        others=0.9,
        others_most=0.98,
        waited=0.25,
        stolen=0.1,
        culprits=("`stress` (pid 123) used 0.98",),
    )
    data = reported(board(measurement={"surroundings": seen}))
    shown: Any = of_cell.cell_data(data, the_cell(data)[0])
    facts = dict(shown["facts"])
    assert facts["others' use of CPUs"] == "0.90 of 2, 0.98 in the worst window"
    assert facts["waits for a CPU"].startswith("25% of the time")
    assert facts["taken by the hypervisor"] == "0.10 of 2 CPUs"
    assert facts["disturbed"] == "31 of 40 windows: `stress` (pid 123) used 0.98"
    blind = reported(board(measurement={"surroundings": Surroundings(cpus=2)}))
    shown = of_cell.cell_data(blind, the_cell(blind)[0])
    assert not {"others' use of CPUs", "waits for a CPU", "disturbed"} & set(dict(shown["facts"]))


def test_a_doubtful_verdict_is_among_the_metrics_with_its_reason() -> None:
    data = reported(board(verdicts={"kind": VerdictKind.INCONCLUSIVE, "reason": "it is noisy"}))
    shown: Any = of_cell.cell_data(data, replace(the_cell(data)[0]))
    assert shown["metrics"][0][-2:] == ["inconclusive", "it is noisy"]


# In the browser


def test_every_figure_is_drawn_and_those_of_a_cell_show_its_values(tmp_path: Path) -> None:
    data = reported(
        board(PLACES[:6], time="2026-11-19T10:00:00Z"),
        board(PLACES[:6], 1.1),
        baselines=recorded(),
    )
    path = tmp_path / "report.html"
    path.write_text(page(data.runs, data.baselines))
    name = PLACE.workload.id
    kinds = ["trend", "latency", "power", "timeline", "rails", "time"]
    with browser() as chromium, opened(chromium, path, fragment=f"#cell={name}") as shown:
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
    powers = values(data, "power")
    assert drawn["power"]["data"][0]["y"][:-1] == powers["watts"][0][2]
    assert [drawn["power"]["shapes"][0][end] for end in ("x0", "x1")] == [0, 3]
    trends = values(data, "trend")
    assert [[band["y0"], band["y1"]] for band in drawn["trend"]["shapes"]] == [
        metric["band"] for metric in trends["metrics"]
    ]
    latencies = values(data, "latency")
    assert drawn["latency"]["data"][0]["x"] == latencies["ms"]
