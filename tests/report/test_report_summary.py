"""The Markdown of a run: red first, bounded, and nothing in it can format the page."""

from __future__ import annotations

import errno
import html
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from pytest_gaitperf.engine.session import CellResult

from pytest_gaitperf.config.policy import parse_limit
from pytest_gaitperf.report.summary import MOST_BYTES, summary, write_summary
from pytest_gaitperf.workload import Workload
from tests.report.conftest import judged, measured

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.session import Session


LONG = "a_model_with_a_name_longer_than_the_terminal_" * 2


def rendered(text: str) -> str:
    """The page as GitHub makes it: tables, and HTML let through."""
    page: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return page


def texts(page: str) -> list[str]:
    """What a reader sees of a page, tag by tag."""
    return [html.unescape(text) for text in re.split(r"<[^>]*>|\n", page) if text.strip()]


def test_it_opens_with_what_regressed_and_by_how_much(run: Session) -> None:
    seen = texts(rendered(summary(run, clean=False)))
    assert seen[0] == (
        "❌ gaitperf: 1 cell regressed, 1 cell without a baseline, 1 cell not measured (of 4)"
    )
    assert seen[1:4] == ["Largest: throughput of ", "3D_fp32_0_batchd-b8-c4", " -37.6%"]
    assert seen[4].startswith("profile agx-orin · no server · ")


def test_red_cells_come_before_the_tables_of_the_models(run: Session) -> None:
    page = rendered(summary(run, clean=False))
    first, *folded = page.split("<details>")
    red = [row for row in first.split("<tr>") if "<td" in row]
    assert [texts(row)[:3] for row in red] == [
        ["3D_fp32_0_batchd-b8-c4", "throughput", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "p50", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "p99", "regressed"],
        ["3D_fp32_0_batchd-b8-c4", "energy", "regressed"],
        ["[markup]-b1-c1", "not measured", "it did not answer"],
        [f"{LONG}-b1-c1", "throughput", "missing"],
    ]
    assert texts(red[0])[3:6] == ["1237 inf/s", "771.6 inf/s", "-37.6% (-40.4% .. -34.7%)"]
    assert len(folded) == 3
    assert texts(folded[0])[0] == "3D_fp32_0_batchd: 2 cells (1 REGRESSED, 1 ok)"
    assert "34.08 +59.7%!" in texts(folded[0])
    assert all(part.count("</details>") == 1 for part in folded)


def test_a_run_without_red_says_so_only_when_it_was_green(run: Session) -> None:
    good = list(run.results.values())[1]
    run.results = {good.workload: good}
    assert summary(run, clean=True).startswith("## ✅ gaitperf: 1 cell, none regressed\n")
    assert summary(run, clean=False).startswith("## ⚠️ gaitperf: 1 cell without a fault in a run")
    assert "| why |" not in summary(run, clean=True)


def test_an_invalid_cell_and_a_broken_limit_are_told(run: Session) -> None:
    good = list(run.results.values())[1]
    assert good.measurement is not None
    limit = parse_limit("latency_p50 <= 10 ms")
    good.limits[limit] = limit.check(good.measurement.metrics["latency_p50"], "")
    good.measurement = replace(good.measurement, invalid="the device throttled")
    run.results = {good.workload: good}
    seen = texts(rendered(summary(run, clean=False)))
    assert seen[0] == "❌ gaitperf: 1 cell beyond a limit, 1 cell not measured (of 1)"
    assert seen.index("limit") < seen.index("the device throttled")
    assert f"asked: {limit}" in seen


def test_a_command_can_be_copied_from_it(run: Session) -> None:
    result = list(run.results.values())[1]
    result.verdicts["throughput"] = judged(result, "throughput", 1)
    page = rendered(summary(run, clean=False))
    assert "<pre><code>pytest suites --gaitperf-update=all\n</code></pre>" in page


@pytest.mark.parametrize(
    "name", ["</details><script>alert(1)</script>", "a|b", "![x](http://x/y)", "@team #1", "`*_~"]
)
def test_no_name_can_format_the_page(run: Session, name: str) -> None:
    good = list(run.results.values())[1]
    plain = rendered(summary(run, clean=False))
    good.workload = replace(good.workload, model=name)
    page = rendered(summary(run, clean=False))
    tags = [re.findall(r"<(\w+)", one) for one in (plain, page)]
    assert set(tags[1]) == set(tags[0])
    assert page.count("</details>") == page.count("<details>")
    assert "@team" not in summary(run, clean=False)


def test_a_large_run_stays_within_what_github_shows_and_says_what_is_left_out(
    run: Session,
) -> None:
    first = next(iter(run.results.values()))
    for model in range(40):
        for batch in range(1, 101):
            result = CellResult(Workload(f"model_{model}", batch, 1))
            result.measurement = measured(result.workload, 1.6 if model < 20 else 1.0)
            result.verdicts = first.verdicts if model < 20 else {}
            run.results[result.workload] = result
    text = summary(run, clean=False)
    assert len(text.encode()) <= MOST_BYTES
    assert "more rows left out: see --gaitperf-json" in text
    assert "models left out: see --gaitperf-json" in text
    assert text.count("<details>") == text.count("</details>") > 3
    assert "2001 cells regressed" in text


def test_it_is_added_to_the_job_summary_and_replaces_the_file_asked_for(
    run: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, own = tmp_path / "job.md", tmp_path / "new" / "own.md"
    job.write_text("a step before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job))
    run.settings = replace(run.settings, summary=own)
    for _ in range(2):
        write_summary(run, clean=False)
    assert job.read_text().startswith("a step before\n## ❌ gaitperf")
    assert job.read_text().count("## ❌ gaitperf") == 2
    assert own.read_text().count("## ❌ gaitperf") == 1
    assert run.warnings == []


def test_where_it_cannot_be_written_there_is_a_warning_and_no_more(
    run: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    (tmp_path / "file").write_text("")
    run.settings = replace(run.settings, summary=tmp_path / "file" / "own.md")
    write_summary(run, clean=True)
    assert run.warnings == [
        (
            f"no summary: {tmp_path}/file/own.md cannot be written "
            f"({os.strerror(errno.EEXIST)}): give a path in a "
            "directory that you may write to"
        ),
        f"no job summary in {tmp_path}: {os.strerror(errno.EISDIR)}",
    ]
    assert run.problems == []
