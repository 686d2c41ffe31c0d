"""``gaitperf baseline export``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.cli import main
from pytest_gaitperf.environment import Profile
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, cell, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Baselines of two sessions of one cell, and a results file."""
    store = BaselineStore(tmp_path / "baselines", "orin", {})
    facts = Fingerprint("2.42.0", "x -> y", "http", "inline", rails={})
    for day in (1, 2):
        store.record("resnet", "b8-c4", facts, {"throughput": Value(100.0 + day)})
        store.write(Provenance(f"2026110{day}T100000Z", f"2026-11-0{day}T10:00:00Z"))
    (tmp_path / "results.json").write_text(encode(run(GOOD)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_baselines_are_exported_session_by_session(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "export", "--format", "csv"]) == 0

    header, *rows = capsys.readouterr().out.splitlines()
    assert header.endswith(",resnet-b8-c4:throughput_inf_per_s")
    assert [row.rpartition(",")[2] for row in rows] == ["101", "102"]


def test_the_load_is_read_from_the_cells_name(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "export", "--format", "openmetrics"]) == 0

    assert 'batch_size="8",concurrency="4"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "load"),
    [
        ("b1-r12.5-poisson-grpc", 'request_rate="12.5",arrival="poisson"'),
        ("b1-r1e+06", 'request_rate="1e+06",arrival="constant"'),
        ("b2-s4-fps30-shm", 'subjects="4",frame_rate="30"'),
        ("b1-most-p95-40ms", 'batch_size="1",protocol="http"'),
    ],
)
def test_every_load_is_read_from_its_name(
    project: Path, capsys: pytest.CaptureFixture[str], key: str, load: str
) -> None:
    store = BaselineStore(project / "baselines", "orin", {})
    facts = Fingerprint("2.42.0", "x -> y", "http", "inline", rails={})
    store.record("resnet", key, facts, {"throughput": Value(5.0)})
    store.write(Provenance("20261103T100000Z", "2026-11-03T10:00:00Z"))

    assert main(["baseline", "export", "--format", "openmetrics"]) == 0

    assert load in capsys.readouterr().out


def test_a_name_that_is_no_cells_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = BaselineStore(project / "baselines", "orin", {})
    facts = Fingerprint("2.42.0", "x -> y", "http", "inline", rails={})
    store.record("resnet", "fast", facts, {"throughput": Value(5.0)})
    store.write(Provenance("20261103T100000Z", "2026-11-03T10:00:00Z"))

    assert main(["baseline", "export", "--format", "csv"]) == 1

    assert "the baselines of resnet have 'fast'" in capsys.readouterr().err


def test_results_are_exported_into_a_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--format", "bencher", "--results", "results.json", "-o", "deep/bmf.json"]

    assert main(["baseline", "export", *arguments]) == 0

    assert capsys.readouterr() == ("", "")
    assert set(json.loads((project / "deep" / "bmf.json").read_text())) == {GOOD.id}


def test_what_is_left_out_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = cell(Workload("resnet", 1, 1), measurement={"invalid": "the device throttled"})
    (project / "results.json").write_text(encode(run(GOOD, bad)))

    assert main(["baseline", "export", "--format", "bencher", "--results", "results.json"]) == 0

    shown = capsys.readouterr()
    assert set(json.loads(shown.out)) == {GOOD.id}
    assert "1 cell without a valid measurement" in shown.err
    assert "resnet-b1-c1: the device throttled" in " ".join(shown.err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "x"], "there is no format 'x'"),
        (["--format", "csv", "--results", "no.json"], "no.json: cannot be read"),
        (["--format", "csv", "--baselines", "empty"], "there are no baselines"),
        (["--format", "csv", "-o", "/proc/x.csv"], "/proc/x.csv cannot be written"),
        (["--format", "csv", "--results", "results.json", "other.json"], "different kinds of dev"),
        (["--format", "csv", "--results", "none.json"], "nothing to export"),
    ],
)
def test_a_mistake_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (project / "other.json").write_text(encode(run(profile=Profile("nano"))))
    (project / "none.json").write_text(encode(run()))

    assert main(["baseline", "export", *arguments]) == 1

    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("gaitperf: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
