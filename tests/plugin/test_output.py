"""What a person and a program read: the table, the lines around it, the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def table(shown: pytest.RunResult) -> list[str]:
    """Return the lines of the section "gaitperf"."""
    lines = shown.outlines
    start = next(i for i, line in enumerate(lines) if line.strip("=") == " gaitperf ")
    rest = lines[start + 1 :]
    return rest[: next(i for i, line in enumerate(rest) if line.startswith("==="))]


def test_the_table_and_the_json_of_a_green_run(project: Project) -> None:
    project.record()
    grid, json = project.grid("steady"), "--gaitperf-json=results.json"
    shown = project.run(grid, json)
    shown.assert_outcomes(passed=3, skipped=1)
    text = shown.stdout.str()
    assert "\x1b" not in text, "no colours in a pipe"
    assert max(map(len, table(shown)[:3])) <= 80
    assert table(shown)[0].split() == ["inf/s", "p50", "ms", "CPU", "ms", "verdict"]
    assert table(shown)[1] == "steady"
    assert table(shown)[2].startswith(" b1-c1 ")
    shown.stdout.fnmatch_lines(
        [
            "Triton 2.* at 127.0.0.1:* (attach)",
            "1 cell to measure (up to 1 s left)",
            "1/1 steady-b1-c1: * inf/s +-*%, p50 * ms",
        ]
    )

    document = project.results()
    assert set(document) == {
        *("schema", "outcome", "reasons", "profile", "environment", "policy", "arguments"),
        *("baselines", "against", "relative_to", "sessions", "measuring_s", "cells"),
        *("findings", "frontier"),
        *("failed_tests", "unmeasured_tests", "unjudged", "full_run", "orphans"),
        *("unchecked_limits", "outputs", "notes", "warnings", "problems", "written"),
        *("board", "extra", "sensitivity"),
    }
    assert (document["schema"], document["outcome"], document["reasons"]) == (2, "green", [])
    assert set(document["profile"]) == {"id", "fields", "facts"}
    environment = document["environment"]
    assert environment["triton"]["mode"] == "attach"
    assert {"time", "commit", "dirty", "plugin", "pytest", "python", "power"} <= set(environment)
    (cell,) = document["cells"]
    assert (cell["id"], cell["outcome"]) == ("steady-b1-c1", "green")
    assert cell["workload"] == {
        "model": "steady",
        "version": "",
        "batch_size": 1,
        "concurrency": 1,
        "request_rate": 0.0,
        "arrival": "constant",
        "subjects": 0,
        "most_subjects": False,
        "frame_rate": 25.0,
        "deadline_s": 0.0,
        "percentile": 99.0,
        "protocol": "http",
        "transport": "inline",
        "shapes": [],
        "ranges": [],
        "data": "",
        "sequence_length": [0, 0],
        "sequences": 0,
        "streaming": False,
        "trace": "",
        "trace_file": "",
        "best_rate": False,
        "alone": False,
        "sustained_s": 0.0,
        "think_s": 0.0,
        "beside": [],
    }
    measured = cell["measurement"]
    metrics = measured["metrics"]
    units = {name: metric["unit"] for name, metric in metrics.items()}
    assert units["throughput"] == "inf/s"
    assert units["latency_p50"] == units["server_cpu_per_inference"] == "s"
    assert "energy_per_inference" not in units
    why = measured["absent"]["energy_per_inference"]
    assert why == "no power meter: none: no meter was asked for"
    assert "requests, 662 are needed" in measured["absent"]["latency_p99"]
    for metric in metrics.values():
        assert set(metric) == {"unit", "value", "low", "high"}
        assert metric["value"] > 0
        assert metric["low"] is None or metric["low"] <= metric["value"] <= metric["high"]
    assert 0.02 < metrics["latency_p50"]["value"] < 1
    assert measured["windows"] >= 6
    assert (measured["data"], measured["late_sends"]) == ("random, seed 2026", 0)
    assert measured["requests"] > 0
    assert measured["failures"] == 0
    assert measured["client_cpu_per_request_us"] > 0
    assert measured["invalid"] is None
    assert set(cell["verdicts"]) == {"throughput", "latency_p50", "server_cpu_per_inference"}
    assert {verdict["kind"] for verdict in cell["verdicts"].values()} == {"pass"}
    assert set(cell["verdicts"]["throughput"]) == {
        *("metric", "kind", "reason", "baseline", "now", "change", "low", "high", "limit"),
        *("sessions", "scope", "blocks", "anchor"),
        *("sensitivity", "must_hear", "sharpen", "more_sessions"),
    }


def test_sixty_columns_and_quiet(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = project.run(project.grid("steady"), "-q", "--color=no", "-k", "throughput")
    shown.assert_outcomes(failed=1, deselected=3)
    assert max(map(len, table(shown)[:3])) <= 60
    assert table(shown)[2].endswith(" missing")
    text = shown.stdout.str()
    assert "Triton 2." not in text
    assert "1/1 " not in text


def test_verbose_and_uncaptured_output_keeps_its_lines_apart(project: Project) -> None:
    project.record()
    shown = project.run(project.grid("steady"), "-v", "-s", "--color=yes", "-k", "throughput")
    assert shown.ret == pytest.ExitCode.OK
    assert "\x1b[32m" in shown.stdout.str(), "colours where they are asked for"
    # Nothing of ours is glued to the end of a line of pytest's.
    for line in shown.outlines:
        assert "1/1 steady" not in line or line.startswith("1/1 steady")
        assert "Triton 2." not in line or line.startswith("Triton 2.")
