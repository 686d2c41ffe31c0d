"""``gaitperf baseline list`` and ``show``: from the command line, on real files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.commands.output import parted
from tests.baseline.recording import FINGERPRINT, record, steady

RECORDED = Path(__file__).parents[2] / "baselines"
H200 = "x86_64-intel-xeon-16cpu-128gb-nvidia-h200"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["baseline", *arguments]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert max(map(len, output.out.splitlines())) <= 80
    return output.out


def test_the_recorded_baseline_of_a_gpu_in_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = ("--baselines", str(RECORDED), "--profile", H200)
    assert shown(capsys, "list", *here).splitlines()[0] == H200
    text = shown(capsys, "show", *here, "--sessions")
    assert "3D_fp16_0_batchd" in text.splitlines()
    assert " b8-c8 " in text
    assert "recorded by host vm on commit 2b2f044" in text


def test_list_shows_profiles_then_models(capsys: pytest.CaptureFixture[str]) -> None:
    steady(last=3, models=("3D", "2D"))
    record(4, 40.0, cells=("b1-c1",))
    record(2, 40.0, profile="agx", models=("a-model-with-a-name-longer-than-its-column",))
    lines = shown(capsys, "list").splitlines()
    assert lines[0].split() == [
        *("profile", "models", "cells", "sessions", "newest", "age", "Triton", "recorder")
    ]
    age = (datetime.now(timezone.utc) - datetime(2026, 11, 4, 10, tzinfo=timezone.utc)).days
    orin = next(line for line in lines if line.startswith("orin")).split()
    assert orin[:5] == ["orin", "2", "4", "3-4", "2026-11-04"]
    assert abs(int(orin[5]) - age) <= 1
    assert orin[6:] == ["d", "2.51.0", "host", "board"]
    models = shown(capsys, "list", "--profile=orin").splitlines()
    assert models[0] == "orin"
    assert [line.split()[:4] for line in models[2:]] == [
        ["2D", "2", "3", "2026-11-03"],
        ["3D", "2", "3-4", "2026-11-04"],
    ]
    everything = shown(capsys, "list", "--all")
    assert "agx\nmodel" in everything
    assert "\norin\nmodel" in everything
    assert "a-model-with-a-name-" in everything
    assert "-its-column" in everything


def test_a_recorder_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    steady(last=1)
    path = Path("baselines/orin/3D.json")
    path.write_text(path.read_text().replace("host board", "[/red]:cat:"))
    assert "[/red]:cat:" in shown(capsys, "list")
    assert "[/red]:cat:" in shown(capsys, "show")


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    steady(last=3)
    (row,) = json.loads(shown(capsys, "list", "--json=-"))["baselines"]
    assert row.pop("newest") | {"age_days": 0} == {
        "session": "20261103T100000Z",
        "time": "2026-11-03T10:00:00Z",
        "age_days": 0,
        "recorder": "host board",
        "triton": "2.51.0",
    }
    assert row == {
        "profile": "orin",
        "model": None,
        "models": 1,
        "cells": 2,
        "sessions": {"fewest": 3, "most": 3},
    }
    assert json.loads(shown(capsys, "list", "--all", "--json=-"))["baselines"][0]["model"] == "3D"


def test_show_gives_the_geometric_mean_and_the_spread(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 40.0)
    record(2, 90.0)
    text = shown(capsys, "show")
    cell = next(line for line in text.splitlines() if line.startswith(" b8-c4"))
    # sqrt(40 * 90) = 60; the SD of two logs is their distance over the root of 2.
    assert cell.split() == ["b8-c4", "60.00", "(57)", "16.67", "(57)", "6.000", "(0.0)", "2"]
    assert "inf/s" in text
    assert "3D: 1 session, 2026-11-02T10:00:00Z\n" in text
    assert "recorded by host board on commit c00000000002\n" in text
    assert "VDD_IN summed" in text
    assert "\n  kernel 6.2\n" in text
    sessions = shown(capsys, "show", "3D/b8-c4", "--sessions").splitlines()
    assert [line.split() for line in sessions if line.startswith(" 11-")] == [
        ["11-01", "10:00", "40.00", "25.00", "6.000"],
        ["11-02", "10:00", "90.00", "11.11", "6.000"],
    ]
    assert "b1-c1" not in "".join(sessions)


def test_show_sets_aside_what_the_gate_does_not_use(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 80.0, fingerprint=replace(FINGERPRINT, triton="2.40.0"))
    record(2, 40.0)
    text = shown(capsys, "show", "--sessions")
    assert " b1-c1       40.00" in text
    assert " 11-01 10:00 80.00-" in text
    assert "- not comparable with the newest session (see below), so not in use" in text
    assert "Triton 2.40.0" in text
    cell = json.loads(shown(capsys, "show", "--json=-"))["cells"][0]
    assert cell["metrics"]["throughput"] == {
        "unit": "inf/s",
        "value": pytest.approx(40.0),
        "spread": None,
        "sessions": ["20261102T100000Z"],
        "changes": [],
    }
    assert [session["triton"] for session in cell["sessions"]] == ["2.40.0", "2.51.0"]
    assert cell["sessions"][0]["values"]["throughput"]["value"] == 80.0


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("3D", [("3D", "b1-c1"), ("3D", "b8-c4")]),
        ("*/b1-*", [("2D", "b1-c1"), ("3D", "b1-c1")]),
        ("2*,x/b8-c4,b9", [("2D", "b8-c4")]),
    ],
)
def test_show_takes_patterns(
    capsys: pytest.CaptureFixture[str], chosen: str, expected: list[tuple[str, str]]
) -> None:
    steady(last=1, models=("3D", "2D"))
    cells = json.loads(shown(capsys, "show", chosen, "--json=-"))["cells"]
    assert [(cell["model"], cell["cell"]) for cell in cells] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--baselines=nowhere"], "nowhere: there are no baselines; record one with"),
        (["list", "--profile=x"], "there is no baseline of 'x'; there are: agx, orin"),
        (["list", "--json=baselines"], "baselines cannot be written ("),
        (["show", "--baselines=nowhere"], "nowhere: there are no baselines; record one with"),
        (["show"], "name one with --profile: agx, orin"),
        (["show", "x*", "--profile=orin"], "no recorded model matches 'x*'; the models are: 3D"),
        (["show", "3D/x", "--profile=orin"], "matches 'x'; the cells are: b1-c1, b8-c4"),
        (["show", "--profile=agx"], "agx/3D.json, line 1: not valid JSON"),
    ],
)
def test_a_mistake_gives_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    steady(last=1)
    record(1, 40.0, profile="agx")
    if "--profile=agx" in arguments:
        Path("baselines/agx/3D.json").write_text("x")
    assert main(["baseline", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gaitperf: ")
    assert len(error.splitlines()) == 1


def test_help_names_every_action(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help")
    for action in ("list", "show", "diff", "sensitivity", "prune", "export"):
        assert f"    {action}" in (line[: 4 + len(action)] for line in text.splitlines())
    assert "geometric mean over sessions" in " ".join(shown(capsys, "show", "--help").split())
    assert "with --profile the models" in " ".join(shown(capsys, "list", "--help").split())


def test_models_by_themselves_have_a_table_of_their_own() -> None:
    """In one table with their loads, every cell would lack most columns, and none would fit."""
    loads, models = ["throughput", "latency_p50"], ["server_memory_peak", "model_load_time"]
    assert parted([*models, *loads]) == [loads, models]
    assert parted(loads) == [loads]
    assert parted([]) == []
