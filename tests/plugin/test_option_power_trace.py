"""--power-trace: the readings behind each cell's joules are kept, and can be read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.trace import load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_kept_readings_give_the_reported_joules(project: Project) -> None:
    shown = project.run(
        project.grid("steady"), "--power=estimate:5", "--power-trace=traces",
        "--gaitperf-json=results.json", "--gaitperf-update=missing",
    )  # fmt: skip
    shown.assert_outcomes(passed=2, skipped=1)
    kept = load(Path(project.pytester.path, "traces", "steady-b1-c1.power.npz"))
    joules = integrate(kept.trace, int(kept.edges_ns[0]), int(kept.edges_ns[-1])).joules
    results = json.loads(Path(project.pytester.path, "results.json").read_text())
    (cell,) = results["cells"]
    assert joules == {rail: pytest.approx(value) for rail, value in cell["rails_j"].items()}
    assert joules["estimate"] > 0
    trace = cell["power_trace"]
    assert (trace["reduced_by"], trace["kind"], trace["estimated"]) == ("mean", "power", True)
    before = round(-trace["start_s"] / trace["bin_s"])
    after = before + round(trace["window_s"][1] / trace["bin_s"])
    assert 0 < before <= 10
    assert len(trace["watts"]["estimate"]) > after
    assert sum(trace["watts"]["estimate"][before:after]) * trace["bin_s"] == pytest.approx(
        joules["estimate"], rel=1e-3
    )
    assert trace["window_s"] == [0.0, pytest.approx(cell["duration_s"])]
    assert len(cell["course"]["throughput"]) <= 60
    mean = sum(cell["course"]["throughput"]) / len(cell["course"]["throughput"])
    assert mean == pytest.approx(cell["metrics"]["throughput"]["value"], rel=0.05)
