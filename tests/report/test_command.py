"""``gaitperf report``, and what its page says."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.cli import main
from pytest_gaitperf.environment import Profile
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.html.verdict import causes
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, MIXED, cell, measured, run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.results import Run

M = cell(Workload("m", 1, 1))


def written(path: Path, of_run: Run) -> str:
    path.write_text(encode(of_run))
    return str(path)


def test_a_history_becomes_one_page_that_is_about_the_newest_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = written(tmp_path / "a.json", run(M))
    old = written(tmp_path / "b.json", run(M, time="2026-11-21T10:00:00Z"))
    target = tmp_path / "deep" / "r.html"
    assert main(["report", new, old, new, "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"report written: {target}\n"
    text = target.read_text()
    assert "<title>gaitperf: green, agx-orin, 2026-11-22T10:00:00Z</title>" in text
    runs = text[text.index("Runs on this page") :]
    assert runs.index("2026-11-22T10:00:00Z") < runs.index("2026-11-21T10:00:00Z")


def test_baselines_of_the_profile_are_given_to_the_page(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path / "baselines", "agx-orin", {})
    facts = Fingerprint("2.51.0", "x -> y", "http", "inline", rails={})
    store.record("m", "b1-c1", facts, {"throughput": Value(100.0)})
    store.write(Provenance("20261101T100000Z", "2026-11-01T10:00:00Z"))
    results = written(tmp_path / "r.json", run(M))
    command = ["report", results, "-o", str(tmp_path / "r.html"), "--baselines"]
    assert main([*command, str(tmp_path / "baselines")]) == 0
    data = re.search(r'id="cell-data">(.*)</script>', (tmp_path / "r.html").read_text())
    assert data is not None
    trend = json.loads(data[1])["m-b1-c1"]["figures"]["trend"]
    assert trend["metrics"][0]["values"][0] == 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "not valid JSON"),
        ('{"schema": 7}', "$.schema is 7, this pytest-gaitperf reads 2"),
        (encode(run(profile=Profile("nano"))), "different kinds of device (agx-orin, nano)"),
    ],
)
def test_what_is_no_results_file_or_of_another_device_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    good, bad = written(tmp_path / "good.json", run()), tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    assert main(["report", good, str(bad), "-o", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_baselines_of_other_devices_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "m.json").write_text("{}")
    results = written(tmp_path / "r.json", run())
    command = ["report", results, "-o", str(tmp_path / "r.html"), "--baselines", str(tmp_path)]
    assert main(command) == 1
    assert "no baseline of 'agx-orin', which the results are of, but of nano" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_without_what_draws_it_says_what_to_install(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    results = written(tmp_path / "r.json", run())
    assert main(["report", results, "-o", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr().err
    assert f"needs {package}," in told
    assert "pip install 'pytest-gaitperf[report]'" in told


def test_what_a_run_wrote_is_what_the_page_says() -> None:
    text = page([MIXED])
    assert re.findall(r'data-verdict="([^"]*)" data-outcome="(\w+)"', text) == [
        ("regressed", "red"),
        ("unmeasured", "unmeasured"),
        ("missing", "unmeasured"),
        ("pass", "green"),
    ]
    assert "the model&#39;s files changed" in text
    assert "it did not answer" in text


def test_an_estimate_is_called_one_wherever_energy_is_shown() -> None:
    estimated = cell(
        Workload("m", 1, 1),
        1.5,
        values={"energy_per_inference": 0.01, "throughput": 400.0, "latency_p50": 0.02},
        judged=("energy_per_inference",),
        measurement={"energy_estimated": True},
    )
    text = page([run(estimated, replace(estimated, id="m-b2-c1"))])
    body = text[text.index("<main") : text.index('id="figure-data"')]
    texts = [text for text in re.split(r"<[^>]*>", body) if "energy" in text.lower()]
    assert len(texts) > 3
    assert [text for text in texts if "estimate" not in text] == []


def test_a_cause_is_the_rail_that_grew_and_never_the_total() -> None:
    rails: dict[str, Any] = {"VDD_IN": 30.0, "VDD_CPU": 20.0, "VDD_SOC": 5.0}
    before = replace(GOOD, measurement=measured(rails_j=rails))
    after = replace(
        GOOD,
        measurement=measured(factor=1.5, rails_j=rails | {"VDD_CPU": 30.0}),
        model_change="files changed",
    )
    both = ReportData((run(before, time="2026-11-21T10:00:00Z"), run(after)))
    found = causes(both, both.run.cells[0], "energy_per_inference")
    assert found[0] == "files changed"
    assert found[1].startswith("rail VDD_CPU grew most since the run before: 8.2 to 18.5 mJ")
    alone = ReportData((run(GOOD),))
    assert causes(alone, alone.run.cells[0], "throughput") == []
