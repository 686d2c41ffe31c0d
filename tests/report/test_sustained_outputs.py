"""What the outputs show of a sustained load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_gaitperf.measurement import Sustained
from pytest_gaitperf.report.html.cell import cell_data
from pytest_gaitperf.report.html.data import ReportData, load_text
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.html.sections import maps
from pytest_gaitperf.report.table import table
from pytest_gaitperf.results import Cell
from pytest_gaitperf.results_file import encode, read_results
from pytest_gaitperf.workload import Workload
from tests.report.browsing import browser, opened
from tests.report.runs import cell, measured, run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.results import Run

SOAK = Workload("3D_fp32_0_batchd", 1, 4, sustained_s=1800)
PARTS = 60
BASE = {
    "sustained_throughput": 812.5,
    "sustained_ratio": 0.82,
    "sustained_latency_p99": 0.0083,
    "throughput": 900.0,
}


def soak(**more: Any) -> Sustained:
    """A load that throttled after 7 minutes, in 60 parts."""
    fast = [part < 14 for part in range(PARTS)]
    known: dict[str, Any] = {
        "asked_s": 1800.0,
        "edges_s": tuple(30.0 * edge for edge in range(PARTS + 1)),
        "throughput": tuple(990.0 if one else 812.5 for one in fast),
        "latency_p50_s": tuple(0.004 if one else 0.005 for one in fast),
        "latency_p99_s": (None, *(0.0083 for _ in fast[1:])),
        "watts": tuple(18.0 if one else 15.0 for one in fast),
        "temperature_c": tuple(50.0 + part / 2 for part in range(PARTS)),
        "clock_hz": (None,) * PARTS,
        "disturbed": tuple(part == 30 for part in range(PARTS)),
        "throttled": tuple(not one for one in fast),
        "throttled_after_s": 431.0,
        "throttled_by": "cpu-throttle-alert (cooling_device3)",
    }
    return Sustained(**(known | more))


def soaked(**more: Any) -> Run:
    made = measured(BASE, latencies=None, timeline=None, power=None, sustained=soak(**more))
    return run(Cell(id=SOAK.id, workload=SOAK, measurement=made), cell(Workload(SOAK.model, 1, 4)))


def test_a_sustained_load_is_stored_and_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(encode(soaked()))
    assert read_results(path) == soaked()


def test_the_table_shows_the_ratio() -> None:
    text = table(soaked(), width=120, colour=False)
    row = next(line for line in text.splitlines() if "b1-c4-30min" in line)
    assert "812.5" in row
    assert "82.00" in row
    assert "of first" in text


def test_a_sustained_load_has_no_place_in_the_map_of_its_batch_and_concurrency() -> None:
    section = maps(ReportData((soaked(),)))
    assert section is not None
    view: Any = section.view
    assert [one.key for one in view["others"]] == ["b1-c4-30min"]
    assert [one.key for _, row in view["groups"][0]["rows"] for one in row] == ["b1-c4"]
    assert load_text(SOAK) == "concurrency 4, for 30 min"


def test_the_page_draws_the_load_over_time_and_marks_the_first_throttle(tmp_path: Path) -> None:
    made = soaked(ended="it ended after 12 min of 30 min: it broke")
    data = ReportData((made,))
    shown: Any = cell_data(data, made.cells[0])["figures"]
    assert set(shown) == {"trend", "sustained", "rails", "time"}
    names = [line[0] for line in shown["sustained"]["lines"]]
    assert names == ["throughput", "p50", "p99", "power", "temperature"]
    path = tmp_path / "page.html"
    path.write_text(page([made]))
    with browser() as chromium, opened(chromium, path, fragment=f"#cell={SOAK.id}") as there:
        figure = there.locator("#cell-figure-sustained")
        figure.locator("svg.main-svg").first.wait_for()
        shapes: Any = there.evaluate(
            "document.querySelector('#cell-figure-sustained .plot').layout.shapes.map("
            "one => [one.type, one.x0, one.x1])"
        )
        text = figure.inner_text()
        rows = there.evaluate(
            "[...document.querySelectorAll('#cell-figure-sustained tbody tr')].map("
            "row => [...row.cells].map(one => one.textContent))"
        )
    assert shapes == [["rect", 15, 15.5], ["line", 431 / 60, 431 / 60]]
    assert "First throttled after 7.183 min: cpu-throttle-alert (cooling_device3)." in text
    assert "Not whole: it ended after 12 min of 30 min: it broke." in text
    assert rows[0] == ["0 to 0.5", "990", "4", "none", "18", "50"]
    assert rows[30][0] == "15 to 15.5, disturbed"
