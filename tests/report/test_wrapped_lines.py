"""What others said is made harmless in the lines that are written, not before they are wrapped."""

from __future__ import annotations

from pytest_gaitperf.report.terminal import summarize
from pytest_gaitperf.workload import Workload
from tests.report.runs import lost, run


def test_a_command_that_a_wrap_brings_to_the_start_of_a_line_is_broken() -> None:
    gone = run(lost(Workload("m", 1, 1), "the model said ::stop-commands::x and ended"))
    lines: list[str] = []
    summarize(gone, lambda line, **_: lines.append(line), width=40, colour=False, every=False)
    start = lines.index("unmeasured: m-b1-c1: the model said")
    assert lines[start + 1].strip().startswith(": :stop-commands::x")
