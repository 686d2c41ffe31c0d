"""The HTML page, in the browser that people have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pytest_gaitperf.environment import Profile
from pytest_gaitperf.measurement import Utilisation
from pytest_gaitperf.report.html.page import SECTIONS, page
from pytest_gaitperf.results import (
    Finding,
    LimitCheck,
    LimitState,
    Policy,
    VerdictKind,
)
from pytest_gaitperf.workload import Workload
from tests.report.browsing import browser, draw_all, opened
from tests.report.runs import GOOD, cell, lost, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from pytest_gaitperf.results import Run

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script><!--<script>"
GRID = [(batch, load) for batch in (1, 8) for load in (1, 4)]


def report(path: Path, *runs: Run) -> Path:
    path.write_text(page(runs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def larger(batch: int) -> dict[str, float]:
    """What a baseline has of a cell of that batch size."""
    return {"throughput": 400.0 * batch, "latency_p50": 0.02, "latency_p99": 0.04}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two models; in the second the queue of one cell grew."""
    made = {
        (model, *where): cell(
            Workload(model, *where), values=larger(where[0]), judged=("throughput",)
        )
        for model in ("steady", "other")
        for where in GRID
    }
    second = dict(made)
    second["other", 8, 1] = cell(
        Workload("other", 8, 1),
        1.4,
        values=larger(8),
        judged=("throughput",),
        measurement={"notes": ("it was warm",), "time_split_s": {"network": 0.002, "queue": 0.011}},
        verdicts={"reason": "beyond the noise"},
    )
    second["other", 8, 4] = lost(Workload("other", 8, 4))
    return report(
        tmp_path_factory.mktemp("page") / "r.html",
        run(*made.values(), time="2026-11-21T10:00:00Z"),
        run(*second.values()),
    )


def shown_cells(page: Page) -> list[str]:
    return page.locator("#cells-table tbody tr:visible th").all_inner_texts()


def test_every_section_is_there_and_every_figure_is_drawn(chromium: Browser, history: Path) -> None:
    with opened(chromium, history) as shown:
        draw_all(shown)
        titles = shown.locator("main > section:visible > h2").all_inner_texts()
        assert {"Verdict", "Batch size and concurrency", "All cells", "Environment"} <= {*titles}
        assert len(titles) <= len(SECTIONS)
        links = shown.locator("nav a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert all(shown.locator(link).count() == 1 for link in links)


def test_the_banner_names_what_regressed_and_what_grew(chromium: Browser, history: Path) -> None:
    with opened(chromium, history) as shown:
        headline = shown.locator(".headline").inner_text()
        assert headline == "red: 1 regressed, 1 unmeasured, 6 pass (of 8 cells)"
        assert shown.locator(".banner.red").count() == 1
        said = shown.locator(".moved > li").first.inner_text().split("\n")
        rates = "3200 inf/s to 2286 inf/s"
        assert said == [
            "other-b8-c1",
            f"throughput regressed: -28.6% (-30.0% .. -27.1%), {rates}, limit -2.0%",
            "the time in queue grew most since the run before: 4.00 to 11.00 ms per request",
        ]
        assert shown_cells(shown)[:2] == ["other-b8-c1", "other-b8-c4"]


def test_the_filter_and_the_sort_work_by_keyboard(chromium: Browser, history: Path) -> None:
    with opened(chromium, history) as shown:
        before = shown_cells(shown)
        assert len(before) == 8
        shown.locator("#filter-text").focus()
        shown.keyboard.type("OTHER b8")
        assert shown_cells(shown) == ["other-b8-c1", "other-b8-c4"]
        assert shown.locator("#filter-count").inner_text() == "2 of 8 cells"
        shown.locator("#filter-text").fill("")
        shown.locator("#filter-verdict").select_option("regressed")
        assert shown_cells(shown) == ["other-b8-c1"]
        shown.locator("#filter-verdict").select_option("")
        shown.locator("#filter-model").select_option("steady")
        assert {one.partition("-")[0] for one in shown_cells(shown)} == {"steady"}
        shown.locator("#filter-model").select_option("")
        header = shown.locator("#cells-table th", has_text="throughput")
        header.locator("button").focus()
        shown.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        ascending = shown_cells(shown)
        assert "-b8-" not in "".join(ascending[:4])
        shown.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "descending"
        assert "-b1-" not in "".join(shown_cells(shown)[:3])


def test_a_chosen_cell_shows_its_numbers_and_keeps_its_address(
    chromium: Browser, history: Path
) -> None:
    with opened(chromium, history) as shown:
        shown.locator("#cells-table a", has_text="other-b8-c1").click()
        section = shown.locator("#cell")
        section.locator("h2", has_text="other-b8-c1").wait_for()
        assert "beyond the noise" in section.inner_text()
        assert "it was warm" in section.inner_text()
        assert shown.evaluate("document.activeElement.id") == "cell-title"
        assert shown.url.endswith("#cell=other-b8-c1")
        for plot in section.locator(".plot").all():
            plot.locator("svg.main-svg").first.wait_for()
        shown.go_back()
        assert not section.is_visible()
    with opened(chromium, history, fragment="#cell=nobody%") as shown:
        assert not shown.locator("#cell").is_visible()


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(400, "dark", marks=pytest.mark.slow), (1280, "light")]
)
def test_it_fits_the_screen_and_axe_finds_no_serious_violation(
    chromium: Browser, history: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(
        chromium, history, width=width, scheme=scheme, fragment="#cell=other-b8-c1"
    ) as shown:
        draw_all(shown)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        dark = (
            shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
        )
        assert dark == (scheme == "dark")
        found = axe.Axe().run(shown).response["violations"]
        assert [
            (one["id"], [node["html"] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ] == []
        names = ["Dark colours", "Light colours"]
        assert shown.locator("#theme").inner_text() == names[dark]
        shown.locator("#theme").click()
        assert shown.locator("#theme").inner_text() == names[not dark]
        after = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (after == "rgb(20, 23, 28)") != dark


@pytest.mark.slow
def test_it_prints_in_light_colours_with_every_figure(chromium: Browser, history: Path) -> None:
    with opened(chromium, history, scheme="dark") as shown:
        shown.wait_for_function(
            "() => document.querySelectorAll('[data-figure]').length === 0 "
            "|| typeof Plotly !== 'undefined'"
        )
        shown.evaluate(
            "addEventListener('afterprint', () => { window.printed = "
            "document.querySelectorAll('[data-figure]:not(:has(svg))').length; })"
        )
        # After the page's own, which came first.
        shown.evaluate(
            "addEventListener('beforeprint', () => { window.widths = "
            "[...document.querySelectorAll('[data-figure] .main-svg')].map("
            "one => one.getBoundingClientRect().width); })"
        )
        assert shown.pdf().startswith(b"%PDF")
        assert shown.evaluate("window.printed") == 0
        # A4 has 794 pixels, with margins of 1 cm 718: what is wider would be cut off.
        assert 300 < max(shown.evaluate("window.widths")) < 700
        assert (
            max(
                shown.evaluate(
                    "[...document.querySelectorAll('[data-figure] .main-svg')].map("
                    "one => one.getBoundingClientRect().width)"
                )
            )
            > 700
        )
        assert shown.evaluate("document.documentElement.dataset.theme") == "dark"


def test_hostile_names_are_shown_and_do_nothing(chromium: Browser, tmp_path: Path) -> None:
    check = LimitCheck(
        limit=HOSTILE,
        metric="latency_p50",
        bound=1.0,
        state=LimitState.VIOLATED,
        absent=HOSTILE,
    )
    hostile = cell(
        Workload(HOSTILE, 1, 1),
        1.5,
        measurement={"notes": (HOSTILE,), "rails_j": {HOSTILE: 1.0}},
        verdicts={"reason": HOSTILE},
        model_change=HOSTILE,
        limits=(check,),
    )
    bad = run(
        hostile,
        lost(Workload(HOSTILE, 2, 1), HOSTILE),
        profile=Profile(HOSTILE, {HOSTILE: HOSTILE}),
        orphans={HOSTILE: (HOSTILE,)},
        findings=(
            Finding(
                scope="run",
                metric="throughput",
                worse=True,
                change=None,
                limit=None,
                sessions=1,
                text=HOSTILE,
            ),
        ),
        against=HOSTILE,
        unjudged=(HOSTILE,),
    )
    with opened(chromium, report(tmp_path / "r.html", bad)) as shown:
        shown.locator("#cells-table a").first.click()
        shown.locator("#cell").wait_for()
        assert shown.locator("#cell-title").inner_text() == f"{HOSTILE}-b1-c1"
        for plot in shown.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator("svg.main-svg").first.wait_for()
        assert shown.locator("img").count() == 0
        assert HOSTILE in shown.locator(".moved").inner_text()


@pytest.mark.slow
def test_of_many_cells_what_is_far_away_is_there_when_it_comes_near(
    chromium: Browser, tmp_path: Path
) -> None:
    cells = [
        cell(Workload(f"m{number:03}", 1, 1), verdicts={"reason": "within the noise"})
        for number in range(101)
    ]
    with opened(chromium, report(tmp_path / "r.html", run(*cells))) as shown:
        assert shown.locator("main.many").count() == 1
        shown.locator("nav a", has_text="All cells").click()
        shown.locator("#filter-text").fill("m077")
        assert shown_cells(shown) == ["m077-b1-c1"]
        shown.locator("#cells-table a:visible").click()
        shown.locator("#cell", has_text="within the noise").wait_for()


INCONCLUSIVE = cell(Workload("m", 2, 1), verdicts={"kind": VerdictKind.INCONCLUSIVE})


@pytest.mark.parametrize(
    ("of_run", "headline", "banner"),
    [
        (run(GOOD), "green: 1 pass", "rgb(227, 244, 233)"),
        (run(), "green: no cell", "rgb(227, 244, 233)"),
        (run(cell(factor=2.0)), "red: 1 regressed", "rgb(253, 234, 232)"),
        (run(lost()), "unmeasured: 1 unmeasured", "rgb(253, 241, 218)"),
        (run(GOOD, unjudged=("session 2 failed",)), "unmeasured: 1 pass", "rgb(253, 241, 218)"),
        (
            run(INCONCLUSIVE, policy=Policy(strict=True)),
            "unmeasured: 1 inconclusive",
            "rgb(253, 241, 218)",
        ),
    ],
)
def test_the_banner_has_the_colour_of_the_outcome(
    chromium: Browser, tmp_path: Path, of_run: Run, headline: str, banner: str
) -> None:
    with opened(chromium, report(tmp_path / "r.html", of_run)) as shown:
        assert shown.locator(".headline").inner_text() == headline
        colour = shown.locator(".banner").evaluate("one => getComputedStyle(one).backgroundColor")
        assert colour == banner
        outcome = shown.evaluate("document.documentElement.dataset.outcome")
        assert outcome == of_run.outcome.value
        assert bool(shown.locator(".reasons li").count()) is (outcome == "unmeasured")


def test_what_keeps_a_red_run_from_being_green_beside_its_cells_is_listed(
    chromium: Browser, tmp_path: Path
) -> None:
    red = run(replace(GOOD), failed_tests=("a.py::test_x",))
    with opened(chromium, report(tmp_path / "r.html", red)) as shown:
        assert shown.locator(".reasons").inner_text() == "a.py::test_x failed"


def test_how_busy_the_machine_was_stands_with_the_cell() -> None:
    few = Utilisation(looks=3, cpus={"0": 0.5, "1": 1.0}, memory_bytes=2**31)
    many = Utilisation(looks=3, cpus={str(number): number / 128 for number in range(128)})
    for seen, says in ((few, "0 50%, 1 100%"), (few, "2.00"), (many, "0% to 99% of 128")):
        assert says in page([run(cell(measurement={"utilisation": seen}))])
