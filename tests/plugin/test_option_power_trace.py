"""--power-trace: the readings behind each cell's joules are kept, and can be read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.trace import load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.slow
def test_the_kept_readings_give_the_reported_joules(project: Project) -> None:
    shown = project.run(
        project.grid("steady"), "--power=estimate:5", "--power-trace=traces", "--gaitperf-budget=3",
        "--gaitperf-json=results.json", "--gaitperf-update=missing",
    )  # fmt: skip
    shown.assert_outcomes(passed=3, skipped=1)
    kept = load(Path(project.pytester.path, "traces", "steady-b1-c1.power.npz"))
    joules = integrate(kept.trace, int(kept.edges_ns[0]), int(kept.edges_ns[-1])).joules
    measured = project.measured()
    assert joules == {rail: pytest.approx(value) for rail, value in measured.rails_j.items()}
    assert joules["estimate"] > 0
    power, timeline = measured.power, measured.timeline
    assert power is not None
    assert timeline is not None
    assert (power.kind, measured.energy_estimated) == ("power", True)
    before = round(-power.start_s / power.bin_s)
    after = before + round(power.span_s / power.bin_s)
    assert 0 < before <= 10
    assert len(power.watts["estimate"]) > after
    assert sum(power.watts["estimate"][before:after]) * power.bin_s == pytest.approx(
        joules["estimate"], rel=1e-3
    )
    assert power.span_s == pytest.approx(measured.duration_s)
    assert len(timeline.throughput) <= 60
    mean = sum(timeline.throughput) / len(timeline.throughput)
    assert mean == pytest.approx(measured.metrics["throughput"].value, rel=0.05)
