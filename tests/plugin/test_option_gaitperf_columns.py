"""--gaitperf-columns: which columns the table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.report.table import COLUMNS

if TYPE_CHECKING:
    import pytest

    from tests.plugin.conftest import Project


def test_named_columns_are_shown_with_a_dash_where_nothing_was_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    grid, columns = project.grid("steady"), "--gaitperf-columns=requests,watts,p50,change,queue,cpu"
    options = ("-k", "throughput", "--gaitperf-update=missing", "--gaitperf-budget=2.5")
    shown = project.run(grid, columns, *options, "--gaitperf-summary=own.md")
    lines = shown.outlines
    header = next(line for line in lines if "verdict" in line)
    titles = "requests power W p50 ms change queue ms CPU ms verdict"
    assert header.split() == titles.split()
    cell = lines[lines.index(header) + 2].split()
    assert (cell[0], cell[2], cell[4], cell[-1]) == ("b1-c1", "-", "-", "recorded")
    assert float(cell[1]) >= 1
    assert float(cell[3]) >= 20, "milliseconds, the median"
    assert "no room for" not in shown.stdout.str()
    summary = (project.path / "own.md").read_text()
    assert "| requests | power W | p50 ms | change | queue ms | CPU ms |" in summary


def test_an_unknown_column_is_refused_with_the_list(project: Project) -> None:
    project.refuses(
        "--gaitperf-columns",
        "p98",
        "--gaitperf-columns: 'p98' is no column (did you mean 'p99'?); the columns are throughput,",
        named=False,
    )


def test_the_help_names_every_column() -> None:
    (option,) = (option for option in OPTIONS if option.flag == "--gaitperf-columns")
    words = option.help.replace(",", " ").split()
    assert [name for name in [*COLUMNS, "all"] if name not in words] == []
