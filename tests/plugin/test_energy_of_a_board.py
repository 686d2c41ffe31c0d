"""Energy from end to end: a fake Orin Nano's sensor, real requests, baselines, the gate, the page.

The board is a fake in the real sysfs layout, whose driver serves what the test says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.results_file import read_results
from pytest_gaitperf.testing import ORIN_NANO, FakeBoard, Square
from tests.power.conftest import READS_A_FAKE_TREE
from tests.report.results_schema import misfits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugin.conftest import Project

OPTIONS = (
    "-k",
    "energy",
    "--power=ina3221",
    "--gaitperf-budget=4",
    "--gaitperf-json=results.json",
    "--gaitperf-report=page.html",
)


@pytest.fixture
def board(project: Project, tmp_path: Path) -> Iterator[FakeBoard]:
    """A board whose sensor the project reads."""
    with FakeBoard(tmp_path / "board", ORIN_NANO) as board:
        (project.path / "conftest.py").write_text(READS_A_FAKE_TREE.format(root=str(board.root)))
        yield board


def draw(board: FakeBoard, gpu_ma: int) -> None:
    """Let the board draw 1 A beside its GPU; what one hears of it wavers."""
    board.close()
    waves = {"VDD_IN": 1000 + gpu_ma, "VDD_CPU_GPU_CV": gpu_ma, "VDD_SOC": 300}
    board.drive({rail: Square(ma, ma) for rail, ma in waves.items()}, noise_ma=200)


@pytest.mark.slow
def test_a_hungrier_gpu_is_red_and_named_and_the_rest_is_not(
    project: Project, board: FakeBoard
) -> None:
    grid = project.grid("steady")
    draw(board, 400)
    recorded = project.run_apart(
        grid, *OPTIONS, "--gaitperf-update=missing", "--gaitperf-sessions=2"
    )
    recorded.assert_outcomes(passed=1, deselected=3)
    recorded.stdout.fnmatch_lines(
        [
            "power meter: Jetson Orin Nano*total VDD_IN of rails VDD_IN, VDD_CPU_GPU_CV, VDD_SOC*",
            "*mJ/inf*",
            "* b1-c1 *missing, recorded",
            "idle power: *W, *W, *W",
        ]
    )
    first = project.results()
    assert misfits(first) == []
    assert project.cells()["steady-b1-c1"].recorded == 2
    metrics = project.measured().metrics
    joules, watts = metrics["energy_per_inference"].value, metrics["power_mean"].value
    # 1.5 A at 5 V: what the driver wavers by is half of 200 mA.
    assert watts == pytest.approx(7.5, rel=0.03)
    assert joules == pytest.approx(watts / metrics["throughput"].value, rel=0.02)
    assert [sorted(one) for one in first["environment"]["power"]["idle_w"]] == 3 * [
        ["VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC"]
    ]
    page = (project.path / "page.html").read_text()
    assert "green: 1 missing, recorded" in page

    draw(board, 1600)
    hungrier = project.run_apart(grid, *OPTIONS)
    hungrier.assert_outcomes(failed=1, deselected=3)
    hungrier.stdout.fnmatch_lines(
        [
            "*test_energy?steady-b1-c1? _*",
            "energy regressed: +*",
            "*VDD_CPU_GPU_CV*",
            "* regressed*",
        ]
    )
    second = read_results(project.path / "results.json")
    assert second.cells[0].verdicts["energy_per_inference"].kind is VerdictKind.REGRESSED
    page = (project.path / "page.html").read_text()
    assert "red: 1 regressed" in page
    assert "Energy per inference by rail" in page
