"""Cells of every kind of load, as a user asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

GRID = """
import pytest

steady = lambda **kw: pytest.mark.gaitperf(models="steady", batch_sizes=[2], **kw)


@steady(request_rates=[20])
def test_rate(perf, perf_cell):
    perf.gate(perf_cell, "throughput")
    measured = perf.measure(perf_cell)
    assert measured.metrics["throughput"].value == pytest.approx(40, rel=0.4)
    assert measured.metrics["latency_p50"].value >= 0.02
    assert "schedule" in measured.time_split_s


@steady(subjects=[10], frame_rate=4, transport="shm")
def test_subjects(perf, perf_cell):
    perf.gate(perf_cell, "latency")
    assert perf.measure(perf_cell).metrics["throughput"].value == pytest.approx(40, rel=0.4)


@steady(concurrencies=[2], protocol="grpc", transport="shm")
def test_grpc(perf, perf_cell):
    perf.gate(perf_cell, "latency")


@pytest.mark.gaitperf(concurrencies=[9], models="no such")
class TestNear:
    @steady(request_rates=[500], arrival="poisson")
    def test_too_much(self, perf, perf_cell):
        # One instance that sleeps 20 ms answers 50 a second, and Triton is asked for 500.
        measured = perf.measure(perf_cell)
        assert measured.metrics["throughput"].value < 150
        assert "requests/s: the backlog grew" in measured.notes[0]
"""


@pytest.mark.slow
def test_open_loops_subjects_and_shared_memory_over_grpc(offline: Project) -> None:
    (offline.path / "test_grid.py").write_text(GRID)
    arguments = ("--gaitperf-json=results.json", "--gaitperf-update=missing", "-v")
    shown = offline.run(*arguments)
    shown.assert_outcomes(passed=4)
    cells = offline.cells()
    assert list(cells) == [
        "steady-b2-r20",
        "steady-b2-s10-fps4-shm",
        "steady-b2-c2-grpc-shm",
        "steady-b2-r500-poisson",
    ]
    assert all(cell.unmeasured is None for cell in cells.values())
    assert cells["steady-b2-s10-fps4-shm"].workload.subjects == 10
    assert cells["steady-b2-c2-grpc-shm"].workload.protocol == "grpc"
    recorded = (offline.path / "baselines" / "here" / "steady.json").read_text()
    assert all(f'"b2-{key}"' in recorded for key in ("r20", "s10-fps4-shm", "c2-grpc-shm"))
    shown.stdout.fnmatch_lines(["steady-b2-r500-poisson: completed * of 500 requests/s: *"])


def test_the_options_choose_for_a_grid_that_names_none(project: Project) -> None:
    shown = project.run(
        project.grid("steady"),
        *("--gaitperf-protocol=grpc", "--gaitperf-transport=shm", "--collect-only", "-q"),
    )
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(["*test_latency[[]steady-b1-c1-grpc-shm]"])
    project.refuses("--gaitperf-protocol", "ftp", "ftp")
    project.refuses("--gaitperf-transport", "cuda", "cuda")
