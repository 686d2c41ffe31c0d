"""The table at any width, and the lines under it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.table import table
from pytest_gaitperf.report.text import text_width
from tests.report.conftest import judged

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.session import Session


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (120, ["inf/s", "p50", "ms", "p99", "ms", "energy", "mJ", "CPU", "ms", "verdict"]),
        (80, ["inf/s", "p50", "ms", "p99", "ms", "energy", "mJ", "verdict"]),
        (60, ["inf/s", "p50", "ms", "verdict"]),
        (40, ["inf/s", "verdict"]),
    ],
)
def test_the_table_fits_and_keeps_the_verdict(run: Session, width: int, columns: list[str]) -> None:
    lines = [line.rstrip() for line in table(run, width=width, colour=False).splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[0].split() == columns
    assert lines[1] == "3D_fp32_0_batchd"
    assert lines[2].startswith(" b8-c4    771.6 -37.6%!")
    assert lines[2].endswith(" REGRESSED")
    assert lines[3].startswith(" b32-c32   1234 -0.2%")
    assert lines[3].endswith(" ok")
    assert lines[5].endswith(" missing")
    assert lines[6] == "[markup]"
    assert lines[7].endswith(" ERROR")


def test_colours_only_where_asked_for(run: Session) -> None:
    assert "\x1b[" not in table(run, width=80, colour=False)
    assert "\x1b[1;31mREGRESSED" in table(run, width=80, colour=True)


def test_the_closing_lines_count_and_advise(run: Session) -> None:
    lines = closing_lines(run)
    assert lines[0] == "profile agx-orin: 4 regressed, 1 missing, 4 pass, 1 cell not measured"
    assert "record with:" not in lines
    result = list(run.results.values())[1]
    result.verdicts["throughput"] = judged(result, "throughput", 1)
    provisional, *command = closing_lines(run)[-3:]
    assert provisional.startswith("* provisional: judged by a baseline of 1 session; record 2 more")
    assert command == ["record with:", "  pytest suites --gaitperf-update=all"]


def test_orphans_are_named_with_what_removes_them(run: Session, tmp_path: Path) -> None:
    assert not any("recorded cell" in line for line in closing_lines(run))
    run.orphans = {"gone": ["b1-c1"], "3D": [f"b{size}-c1" for size in range(1, 9)]}
    told, command = closing_lines(run)[-2:]
    assert told == (
        "9 recorded cells not in this suite (gone: b1-c1; 3D: b1-c1 b2-c1 b3-c1 b4-c1 b5-c1 and "
        "3 more); to remove what is gone, run with --gaitperf-json=FILE, then:"
    )
    assert command == f"  gaitperf baseline prune --results FILE --baselines {tmp_path}"


def test_what_was_recorded_counts_towards_enough_sessions(run: Session) -> None:
    regressed, good, missing, _ = run.results.values()
    good.verdicts = {"throughput": judged(good, "throughput", 1)}
    for result, sessions in ((regressed, 5), (good, 2), (missing, 5)):
        result.recorded = sessions
    lines = closing_lines(run)
    assert lines[0] == "profile agx-orin: 4 accepted, 1 recorded, 1 pass, 1 cell not measured"
    assert lines[-1] == "* provisional: judged by a baseline of 1 session"


def test_an_invalid_cell_is_marked_whatever_its_verdicts(run: Session) -> None:
    result = list(run.results.values())[1]
    assert result.measurement is not None
    result.measurement = replace(result.measurement, invalid="throttled")
    assert " INVALID" in table(run, width=80, colour=False)


def test_a_note_is_said_once_with_its_cell_or_their_number(run: Session) -> None:
    first, second, *_ = run.results.values()
    assert first.measurement is not None
    assert second.measurement is not None
    common = "the budget ended before the asked precision of 2.0%"
    first.measurement = replace(first.measurement, notes=("one", common, "two", "three"))
    second.measurement = replace(second.measurement, notes=(common,))
    lines = closing_lines(run)
    start = lines.index(f"{first.workload.id}: one")
    assert lines[start : start + 4] == [
        f"{first.workload.id}: one",
        f"2 cells: {common}",
        f"{first.workload.id}: two",
        "1 more note: see --gaitperf-json",
    ]


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"])
@pytest.mark.parametrize("colour", [True, False])
def test_pytest_alone_decides_on_colours(
    run: Session, monkeypatch: pytest.MonkeyPatch, variable: str, *, colour: bool
) -> None:
    monkeypatch.setenv(variable, "1")
    assert ("\x1b[1;31mREGRESSED" in table(run, width=80, colour=colour)) is colour
    assert ("\x1b" in table(run, width=80, colour=colour)) is colour


def test_a_ci_log_has_80_columns_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert text_width(200) == 200
    monkeypatch.setenv("CI", "true")
    assert text_width(200) == 80
    monkeypatch.setenv("COLUMNS", "120")
    assert text_width(120) == 120
