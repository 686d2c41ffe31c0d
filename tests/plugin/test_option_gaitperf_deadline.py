"""--gaitperf-deadline: within what time a subject counts as served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SUITE = """
import pytest

@pytest.mark.gaitperf(models="steady", batch_sizes=[1], most_subjects=True)
def test_subjects(perf, perf_cell): ...

@pytest.mark.gaitperf(models="steady", batch_sizes=[1], most_subjects=True, deadline="10 ms")
def test_near(perf, perf_cell): ...
"""


def test_it_is_part_of_the_cell_and_a_marker_wins(project: Project) -> None:
    (project.path / "test_grid.py").write_text(SUITE)
    shown = project.run("--gaitperf-deadline=20 ms", "--collect-only", "-q")
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(
        ["*test_subjects[[]steady-b1-most-20ms]", "*test_near[[]steady-b1-most-10ms]"]
    )


def test_a_bad_value_is_refused(project: Project) -> None:
    message = "'20' is not a positive time with its unit, such as '40 ms'"
    project.refuses("--gaitperf-deadline", "20", message)
