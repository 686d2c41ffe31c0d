"""The Markdown of a run: what is not green first, bounded, and nothing in it formats the page."""

from __future__ import annotations

import html
import re

import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from pytest_gaitperf.config.policy import parse_limit
from pytest_gaitperf.report.markdown import (
    MOST_BYTES,
    escape,
    summary,
    table,
)
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, LONG, MIXED, cell, lost, run


def rendered(text: str) -> str:
    """The page as GitHub makes it: tables, and HTML let through."""
    page: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return page


def texts(page: str) -> list[str]:
    """What a reader sees of a page, tag by tag."""
    return [html.unescape(text) for text in re.split(r"<[^>]*>|\n", page) if text.strip()]


def test_it_opens_with_what_regressed_and_by_how_much() -> None:
    seen = texts(rendered(summary(MIXED)))
    assert seen[0] == (
        "❌ gaitperf: red: 1 regressed, 1 unmeasured, 1 missing, 1 pass (of 4 cells)"
    )
    assert seen[1].startswith("Largest: ")
    assert seen[2] == "3D_fp32_0_batchd-b8-c4"
    assert seen[4].startswith("profile agx-orin · Triton 2.51.0 (local) · power mode MAXN · commit")


def test_what_is_not_green_comes_before_the_tables_of_the_models() -> None:
    first, *folded = rendered(summary(MIXED)).split("<details>")
    bad = [row for row in first.split("<tr>") if "<td" in row]
    assert [texts(row)[:3] for row in bad] == [
        ["3D_fp32_0_batchd-b8-c4", "throughput", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "p50", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "p99", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "energy", "regressed"],
        ["[markup]-b1-c1", "unmeasured", "it did not answer"],
        [f"{LONG}-b1-c1", "throughput", "missing"],
    ]
    assert texts(bad[0])[3:6] == ["1234 inf/s", "771.6 inf/s", "-37.5% (-38.7% .. -36.2%)"]
    assert len(folded) == 3
    assert texts(folded[0])[0] == "3D_fp32_0_batchd: 2 cells (1 regressed, 1 pass)"
    assert "34.08 +60.0%! +-3" in texts(folded[0])
    assert all(part.count("</details>") == 1 for part in folded)


def test_a_green_run_and_an_unmeasured_one_say_so() -> None:
    assert summary(run(GOOD)).startswith("## ✅ gaitperf: green: 1 pass\n")
    assert "| why |" not in summary(run(GOOD))
    cut_short = run(GOOD, unjudged=("session 2 of 3: gone",))
    assert summary(cut_short).startswith("## ⚠️ gaitperf: unmeasured: 1 pass\n")
    assert "unmeasured: session 2 of 3: gone" in texts(rendered(summary(cut_short)))


def test_what_an_expected_quantity_lacks_is_said() -> None:
    seen = texts(rendered(summary(run(replace(GOOD, lacking={"energy": "the meter failed"})))))
    assert seen[seen.index("energy") : seen.index("energy") + 3] == [
        "energy",
        "unmeasured",
        "the meter failed",
    ]


def test_a_pass_in_which_a_change_could_go_unheard_is_unmeasured_and_says_why() -> None:
    deaf = cell(judged=("throughput",), verdicts={"sensitivity": 0.4, "must_hear": 0.25})
    seen = texts(rendered(summary(run(deaf))))
    row = seen.index("throughput")
    assert seen[row + 1] == "unmeasured"
    assert "; it could have heard 40% at least, and 37.5% must be heard" in seen[row + 5]


def test_an_invalid_cell_and_a_violated_limit_are_said() -> None:
    limit = parse_limit("latency_p50 <= 10 ms")
    measurement = GOOD.measurement
    assert measurement is not None
    violated = replace(GOOD, limits=(limit.check(measurement.metrics["latency_p50"]),))
    invalid = cell(Workload("m", 1, 1), measurement={"invalid": "the device throttled"})
    seen = texts(rendered(summary(run(violated, invalid))))
    assert seen[0] == "❌ gaitperf: red: 1 limit violated, 1 invalid (of 2 cells)"
    assert seen.index("limit violated") < seen.index("the device throttled")
    assert f"asked: {limit}" in seen


def test_a_command_can_be_copied_from_it() -> None:
    page = rendered(summary(run(cell(factor=0.5))))
    assert "<pre><code>pytest suites --gaitperf-update=all\n</code></pre>" in page


@pytest.mark.parametrize(
    "name", ["</details><script>alert(1)</script>", "a|b", "![x](http://x/y)", "@team #1", "`*_~"]
)
def test_no_name_can_format_the_page(name: str) -> None:
    plain, page = (
        rendered(summary(run(*(cell(Workload(model, 1, 1)), lost(Workload(model, 2, 1))))))
        for model in ("plain", name)
    )
    tags = [re.findall(r"<(\w+)", one) for one in (plain, page)]
    assert set(tags[1]) == set(tags[0])
    assert page.count("</details>") == page.count("<details>")
    assert "@team" not in summary(run(cell(Workload(name, 1, 1))))


@pytest.mark.slow
def test_a_large_run_stays_within_what_github_shows_and_says_what_is_left_out() -> None:
    cells = [
        cell(Workload(f"model_{model}", batch, 1), 1.6 if model < 20 else 1.0)
        for model in range(40)
        for batch in range(1, 101)
    ]
    text = summary(run(*cells))
    assert len(text.encode()) <= MOST_BYTES
    assert "more rows left out: see --gaitperf-json" in text
    assert "models left out: see --gaitperf-json" in text
    assert text.count("<details>") == text.count("</details>") > 3
    assert "2000 regressed" in text


@pytest.mark.parametrize(
    "text", ["a|b", "<script>", "[x](y)", "@everyone", "**bold**", "&lt;", "a_b_c", "`x`", "-5.2 %"]
)
def test_an_escaped_text_has_no_syntax_left_and_reads_as_before(text: str) -> None:
    shown = escape(text)

    assert not set("|<>[]()@*`_") & set(shown)
    assert html.unescape(shown) == text


def test_a_text_of_several_lines_becomes_one() -> None:
    assert escape("a\n\n# b") == "a &#35; b"


def test_a_table_aligns_its_numbers_to_the_right() -> None:
    assert table(["cell", "mJ"], [["b1", "5"]], numbers=[1]) == (
        "| cell | mJ |\n| :-- | --: |\n| b1 | 5 |\n"
    )
