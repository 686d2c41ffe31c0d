"""``gaitperf report``, and what it reads."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.cli import main
from pytest_gaitperf.report.html.banner import section
from pytest_gaitperf.report.html.causes import causes
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.html.status import status
from pytest_gaitperf.report.reading import read_runs, results_of
from pytest_gaitperf.report.results import results, results_text
from tests.report.pages import cell, document

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.session import Session


def written(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def data(*cells: dict[str, Any], **more: Any) -> ReportData:
    return ReportData((results_of(document([*cells], **more)),))


def test_a_history_becomes_one_page_that_tells_of_the_newest_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = written(tmp_path / "a.json", document([cell("m", 1, 1)], "2026-11-22T10:00:00Z"))
    old = written(tmp_path / "b.json", document([cell("m", 1, 1)], "2026-11-21T10:00:00Z"))
    target = tmp_path / "deep" / "r.html"
    assert main(["report", new, old, new, "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"report written: {target}\n"
    assert "<title>gaitperf: agx-orin, 2026-11-22T10:00:00Z</title>" in target.read_text()
    assert [
        run.environment.time for run in read_runs([tmp_path / "a.json", tmp_path / "b.json"])
    ] == [
        "2026-11-21T10:00:00Z",
        "2026-11-22T10:00:00Z",
    ]


def test_baselines_of_the_profile_are_given_to_the_page(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path / "baselines", "agx-orin", {})
    facts = Fingerprint("2.51.0", "x -> y", "http", "inline", rails={})
    store.record("m", "b1-c1", facts, {"throughput": Value(100.0)})
    store.write(Provenance("20261101T100000Z", "2026-11-01T10:00:00Z"))
    run = written(tmp_path / "r.json", document([cell("m", 1, 1)]))
    command = ["report", run, "-o", str(tmp_path / "r.html"), "--baselines"]
    assert main([*command, str(tmp_path / "baselines")]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read ("),
        ("{", "not valid JSON"),
        ({"schema": 7}, "$.schema is 7, this pytest-gaitperf reads 1"),
        ({**document([]), "cells": [{"id": 3}]}, "$.cells[0].id: "),
        ({**document([]), "profile": {"id": "nano"}}, "different kinds of device (agx-orin, nano)"),
    ],
)
def test_what_is_no_results_file_or_of_another_device_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    good = written(tmp_path / "good.json", document([]))
    bad = tmp_path / "bad.json"
    if content is not None:
        written(bad, content)
    assert main(["report", good, str(bad), "-o", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_baselines_of_other_devices_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nano").mkdir()
    written(tmp_path / "nano" / "m.json", {})
    run = written(tmp_path / "r.json", document([]))
    command = ["report", run, "-o", str(tmp_path / "r.html"), "--baselines", str(tmp_path)]
    assert main(command) == 1
    assert "no baseline of 'agx-orin', which the results are of, but of nano" in (
        capsys.readouterr().err
    )


def test_without_plotly_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    run = written(tmp_path / "r.json", document([]))
    assert main(["report", run, "-o", str(tmp_path / "r.html")]) == 1
    assert "pip install 'pytest-gaitperf[report]'" in capsys.readouterr().err


def test_what_a_run_wrote_is_what_the_page_reads(run: Session) -> None:
    read = results_of(json.loads(results_text(results(run))))
    assert {one.id: status(one) for one in read.cells} == {
        "3D_fp32_0_batchd-b8-c4": "regressed",
        "3D_fp32_0_batchd-b32-c32": "pass",
        f"{'a_model_with_a_name_longer_than_the_terminal_' * 2}-b1-c1": "missing",
        "[markup]-b1-c1": "not measured",
    }
    text = page(ReportData((read,)))
    assert "the model&#x27;s files changed" in text
    assert "it did not answer" in text


@pytest.mark.parametrize(
    ("more", "headline", "level"),
    [
        ({}, "1 cell passed", "good"),
        ({"error": "gone"}, "Nothing regressed, but of 1 cell: 1 not measured", "warn"),
        ({"invalid": "throttled"}, "Nothing regressed, but of 1 cell: 1 invalid", "warn"),
        ({"verdicts": {}}, "Nothing regressed, but of 1 cell: 1 not judged", "warn"),
        ({"verdicts": {"throughput": "missing"}}, "1 missing", "warn"),
        ({"verdicts": {"throughput": "missing"}, "recorded": 3}, "1 cell recorded", "good"),
        ({"verdicts": {"throughput": "inconclusive"}, "recorded": 3}, "1 inconclusive", "warn"),
        ({"verdicts": {"throughput": "of a later version"}}, "1 not judged", "warn"),
        ({"verdicts": {"throughput": "regressed"}}, "1 cell regressed, of 1", "bad"),
        (
            {"limits": [{"limit": "a <= b", "metric": "throughput", "state": "violated"}]},
            "1 cell beyond a limit, of 1",
            "bad",
        ),
        (
            {
                "verdicts": {"throughput": "regressed"},
                "judgements": {"throughput": {"change": -0.4, "accepted": True}},
            },
            "1 accepted",
            "warn",
        ),
    ],
)
def test_the_banner_is_green_only_where_everything_could_be_judged(
    more: dict[str, Any], headline: str, level: str
) -> None:
    html = section(data(cell("m", 1, 1) | more)).html
    assert headline in html
    assert f'class="banner {level}"' in html


def test_the_banner_is_not_green_where_part_of_the_baselines_did_not_run() -> None:
    html = section(data(cell("m", 1, 1), orphans={"m": ["b8-c8"]})).html
    assert "1 cell passed, but 1 cell of the baselines did not run" in html
    assert 'class="banner warn"' in html


def test_an_estimate_is_called_one_wherever_energy_is_shown() -> None:
    judged = {"energy_per_inference": {"change": 0.5, "baseline": 0.01, "now": 0.015}}
    estimated = cell("m", 1, 1) | {
        "energy_is_estimated": True,
        "verdicts": {"energy_per_inference": "regressed"},
        "judgements": judged,
    }
    text = page(data(estimated, estimated | {"id": "m-b1-c1"}))
    body = text[text.index("<main") : text.index('id="figure-data"')]
    texts = [text for text in re.split(r"<[^>]*>", body) if "energy" in text.lower()]
    assert len(texts) > 3
    assert [text for text in texts if "estimate" not in text] == []


def test_a_cause_is_the_rail_that_grew_and_never_the_total() -> None:
    before, after = cell("m", 1, 1), cell("m", 1, 1, worse=1.5)
    both = ReportData(
        (
            results_of(document([before], "2026-11-21T10:00:00Z")),
            results_of(document([after | {"model_change": "files changed"}])),
        )
    )
    found = causes(both, both.run.cells[0], "energy_per_inference")
    assert found[0] == "files changed"
    assert found[1].startswith("rail VDD_CPU_GPU_CV grew most since the run before: 8 to 18 mJ")
    assert causes(data(after), data(after).run.cells[0], "throughput") == []
