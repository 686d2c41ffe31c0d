"""The live line: at a desk's terminal, and nowhere else; what it says at which width."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pytest_gaitperf.engine.progress import Place
from pytest_gaitperf.progress import Live, TerminalProgress
from pytest_gaitperf.workload import Workload
from tests.report.runs import measured, searched
from tests.terminals import Terminal

RECORDED = Path(__file__).parents[2] / "baselines"
DOING = "computing what a run of 4 cells can detect"

WHOLE = Live(
    "3/12",
    "3D_fp32_0_batchd",
    "b8-c4",
    "1234 inf/s",
    "+-1.3%",
    "12.3 W est.",
    "about",
    "14 min left",
)


def progress_at(
    monkeypatch: pytest.MonkeyPatch, *, isatty: bool = True, ci: str = "", term: str = "xterm"
) -> tuple[TerminalProgress, list[str]]:
    """A progress, and what it shows as it is drawn, on 80 columns."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TERM", term)
    lines: list[str] = []
    writer = SimpleNamespace(width_of_current_line=0, fullwidth=80)
    writer.line, writer.flush = lines.append, lambda: None
    reporter = SimpleNamespace(isatty=isatty, currentfspath=None, _tw=writer)
    plugins = SimpleNamespace(get_plugin={"terminalreporter": reporter}.get)
    config = SimpleNamespace(pluginmanager=plugins, get_verbosity=lambda: 0)
    progress = TerminalProgress(cast("pytest.Config", config))
    monkeypatch.setattr(progress, "_overwrite", lambda line: lines.append(line(79)))
    return progress, lines


@pytest.mark.parametrize(
    ("isatty", "ci", "term", "shown"),
    [
        (True, "", "xterm", ["warming up"]),
        (False, "", "xterm", []),
        (True, "true", "xterm", []),
        (True, "", "dumb", []),
    ],
    ids=["terminal", "pipe", "terminal on CI", "terminal that cannot erase"],
)
def test_a_live_line_is_for_a_person_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, isatty: bool, ci: str, term: str, shown: list[str]
) -> None:
    progress, lines = progress_at(monkeypatch, isatty=isatty, ci=ci, term=term)
    progress.live("warming up")
    assert lines == shown


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "3/12 3D_fp32_0_batchd-b8-c4: 1234 inf/s +-1.3%, 12.3 W est., about 14 min left"),
        (70, "3/12 3D_fp32_0_batchd-b8-c4: 1234 inf/s +-1.3%, about 14 min left"),
        (60, "3/12 3D_fp32_0_batchd-b8-c4: 1234 inf/s +-1.3%, 14 min left"),
        (55, "3/12 3D_fp32_..-b8-c4: 1234 inf/s +-1.3%, 14 min left"),
        (50, "3/12 3D_fp32_..-b8-c4: 1234 inf/s, 14 min left"),
        (40, "3/12 b8-c4: 1234 inf/s, 14 min left"),
        (30, "3/12 b8-c4: 1234 inf/s"),
        (15, "3/12 b8-c4: 1.."),
    ],
)
def test_what_matters_least_goes_first(width: int, line: str) -> None:
    assert WHOLE.fitted(width) == line


@given(st.lists(st.text(max_size=120), min_size=8, max_size=8), st.integers(1, 200))
def test_the_line_fits_whatever_it_says(parts: list[str], width: int) -> None:
    assert cell_len(Live(*parts).fitted(width)) <= width


def test_it_is_drawn_a_few_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, lines = progress_at(monkeypatch)
    now_s = 1000.0
    monkeypatch.setattr("pytest_gaitperf.progress.time.monotonic", lambda: now_s)
    progress.cell_starts(Workload("m", 1, 1), Place(2, 3, 0, 2), 60.0)
    before = len(lines)
    for tick in range(100):
        now_s = 1000.0 + tick / 100
        progress.cell_goes_on(50.0 + tick, 0.01)
    drawn = lines[before:]
    assert 2 <= len(drawn) <= 4
    assert drawn[-1] == "2/3 m-b1-c1: 125.0 inf/s +-1.0%, up to 59 s left"


def test_a_suspect_is_counted_among_the_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, lines = progress_at(monkeypatch)
    progress.cell_starts(Workload("m", 1, 1), Place(1, 2, 0, 2, again=True), 40.0)
    assert lines[-1] == "again 1/2 m-b1-c1: warming up, up to 40 s left"


def test_a_measured_cell_has_a_line_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress, lines = progress_at(monkeypatch, isatty=False)
    workload = Workload("m", 1, 1)
    progress.cell_starts(workload, Place(1, 2, 0, 2), 40.0)
    progress.cell_done(workload, measured(), tell=True)
    assert lines[-1].startswith("1/2 m-b1-c1: 1234 inf/s +-1.0%, p50 21.30 ms, 12.30 mJ/inf (abo")
    progress.cell_done(workload, measured(invalid="throttled", energy_estimated=True), tell=True)
    assert lines[-1].endswith("12.30 mJ/inf (estimate), invalid: throttled")
    search = searched()
    assert search.measurement is not None
    progress.cell_done(search.workload, search.measurement, tell=True)
    assert "b1-most: 42 subjects (capacity 42.6, 41.7 .. 45.2), 1234 inf/s" in lines[-1]


def test_at_a_terminal_only_a_bad_cell_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, lines = progress_at(monkeypatch)
    progress.cell_done(Workload("m", 1, 1), measured(), tell=True)
    assert lines == []
    progress.cell_done(Workload("m", 1, 1), measured(invalid="throttled"), tell=True)
    assert lines[-1].endswith("invalid: throttled")


def test_a_command_says_what_it_does_and_for_how_long_and_leaves_only_its_output() -> None:
    seen: list[str] = []
    profile = "--profile=x86_64-intel-xeon-16cpu-128gb-nvidia-h200"
    end = Terminal(100).run(
        "pytest_gaitperf.cli",
        ["baseline", "sensitivity", f"--baselines={RECORDED}", profile],
        lambda lines: seen.extend(line for line in lines if DOING in line),
    )
    assert end.code == 0
    assert any("0:00:0" in line for line in seen)
    assert not any(DOING in line for line in end.lines)
    assert end.lines[0].endswith("alpha 0.005 for a run of 4 cells")
