"""The HTML page, in the browser that people have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import SECTIONS, page
from pytest_gaitperf.report.reading import results_of
from tests.report.browsing import browser, draw_all, opened
from tests.report.pages import cell, document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script><!--<script>"


def report(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text(page(ReportData(tuple(map(results_of, documents)))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two models; in the second the queue of one cell grew."""
    grid = [(batch, load) for batch in (1, 8) for load in (1, 4)]
    first = [cell(model, *where) for model in ("steady", "other") for where in grid]
    second = [cell("steady", *where) for where in grid]
    second += [cell("other", *where) for where in grid[:2]]
    second.append(cell("other", 8, 1, worse=1.4, state="regressed", notes=["it was warm"]))
    second.append({**cell("other", 8, 4), "error": "it did not answer"})
    return report(
        tmp_path_factory.mktemp("page") / "r.html",
        document(first, "2026-11-21T10:00:00Z"),
        document(second),
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
        assert headline == "1 cell regressed, of 8"
        assert shown.locator(".banner.bad").count() == 1
        tally = shown.locator(".tally").inner_text().split("\n")
        assert [one for one in tally if one] == ["1 regressed", "1 not measured", "6 pass"]
        told = shown.locator(".regressions li").first
        assert "other-b8-c1: throughput -28.6% worse" in told.inner_text()
        told.locator("summary").click()
        assert "the time in queue grew most since the run before: 4.00 to 10.98 ms" in (
            told.inner_text()
        )


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
        assert section.locator("h2").inner_text() == "other-b8-c1"
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


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
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
        shown.locator("#theme").click()
        after = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (after == "rgb(20, 23, 28)") != dark


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
    hostile = cell(
        HOSTILE, 1, 1, worse=1.5, state="regressed", notes=[HOSTILE], model_change=HOSTILE
    )
    lost = {**cell(HOSTILE, 2, 1), "error": HOSTILE}
    path = report(
        tmp_path / "r.html",
        document(
            [hostile, lost],
            profile={"id": HOSTILE, "fields": {HOSTILE: HOSTILE}},
            orphans={HOSTILE: [HOSTILE]},
            findings=[{"text": HOSTILE, "metric": "throughput", "worse": True}],
            against=HOSTILE,
        ),
    )
    with opened(chromium, path) as shown:
        shown.locator("#cells-table a").first.click()
        assert shown.locator("#cell-title").inner_text() == f"{HOSTILE}-b1-c1"
        for plot in shown.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator("svg.main-svg").first.wait_for()
        assert shown.locator("img").count() == 0
        assert HOSTILE in shown.locator(".regressions").inner_text()


def test_of_many_cells_what_is_far_away_is_there_when_it_comes_near(
    chromium: Browser, tmp_path: Path
) -> None:
    cells = [cell(f"m{number:03}", 1, 1) for number in range(101)]
    with opened(chromium, report(tmp_path / "r.html", document(cells))) as shown:
        assert shown.locator("main.many").count() == 1
        shown.locator("nav a", has_text="All cells").click()
        shown.locator("#filter-text").fill("m077")
        assert shown_cells(shown) == ["m077-b1-c1"]
        shown.locator("#cells-table a:visible").click()
        assert "beyond the noise" in shown.locator("#cell").inner_text()


def test_a_run_that_measured_nothing_has_a_page(chromium: Browser, tmp_path: Path) -> None:
    with opened(chromium, report(tmp_path / "r.html", document([]))) as shown:
        assert shown.locator(".headline").inner_text() == "No cell was measured"
