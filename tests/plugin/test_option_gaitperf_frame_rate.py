"""--gaitperf-frame-rate: how often a subject needs an inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SUITE = """
import pytest

@pytest.mark.gaitperf(models="steady", batch_sizes=[1], subjects=[2], most_subjects=True)
def test_subjects(perf, perf_cell): ...

@pytest.mark.gaitperf(models="steady", batch_sizes=[1], subjects=[2], frame_rate=10)
def test_near(perf, perf_cell): ...
"""


def test_it_is_part_of_the_cell_and_a_marker_wins(project: Project) -> None:
    (project.path / "test_grid.py").write_text(SUITE)
    shown = project.run("--gaitperf-frame-rate=30", "--collect-only", "-q")
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines_random(
        [
            "*test_subjects[[]steady-b1-s2-fps30]",
            "*test_subjects[[]steady-b1-most-fps30]",
            "*test_near[[]steady-b1-s2-fps10]",
        ]
    )


def test_a_bad_value_is_refused(project: Project) -> None:
    message = "'0' is not a positive number of frames per second"
    project.refuses("--gaitperf-frame-rate", "0", message)
