"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING

import pytest_gaitperf as gaitperf
from pytest_gaitperf.results_file import encode
from tests.docs.documents import ROOT, python_blocks
from tests.report.runs import MIXED

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

READING, HOOKS = python_blocks(ROOT / "docs" / "api.md")


def test_the_record_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text(encode(MIXED))
    (tmp_path / "example.py").write_text(READING)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{MIXED.outcome.value} {MIXED.outcome.exit_code}"
    bad = [cell.id for cell in MIXED.cells if cell.outcome is not gaitperf.Outcome.GREEN]
    assert bad, "an example without a bad cell shows nothing"
    assert [line for line in lines[1:] if not line.startswith(" ")] == bad


def test_a_verdict_is_put_in_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conftest_example.py").write_text(HOOKS.replace("2027", "9999"))
    hooks = runpy.run_path(str(tmp_path / "conftest_example.py"))
    slower = gaitperf.Verdict("latency_p50", gaitperf.VerdictKind.REGRESSED, "+12 %")
    known = hooks["pytest_gaitperf_verdict"](gaitperf.Workload("resnet50", 1, 1), slower)
    assert known.kind is gaitperf.VerdictKind.PASS
    assert known.reason.endswith("(was: +12 %)")
    other = hooks["pytest_gaitperf_verdict"](gaitperf.Workload("other", 1, 1), slower)
    assert other is None
    hooks["pytest_gaitperf_finished"](MIXED)
    assert capsys.readouterr().out.startswith(f"outcome: {MIXED.outcome.value}, ")
