"""The table at any width, and the lines under it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.columns import COLUMNS, parse
from pytest_gaitperf.report.table import plain_rows, table
from pytest_gaitperf.report.terminal import summarize
from pytest_gaitperf.report.text import text_width
from tests.report.conftest import judged

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.terminal import TerminalReporter
    from pytest_gaitperf.engine.session import Session


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


def with_columns(run: Session, columns: str) -> Session:
    run.settings = replace(run.settings, columns=parse(columns))
    return run


def test_named_columns_stand_in_their_order_with_a_dash_for_what_was_not_measured(
    run: Session,
) -> None:
    named = with_columns(run, "watts,latency_p99,change,precision,compute")
    lines = [line.rstrip() for line in table(named, width=100, colour=False).splitlines()]
    title = "power W p99 ms change +- % compute ms verdict"
    assert lines[0].split() == title.split()
    regressed, good, missing, lost = (lines[i].split() for i in (2, 3, 5, 7))
    assert regressed[:6] == ["b8-c4", "-", "133.0", "+59.7%!", "throughput", "-37.6%!"]
    assert regressed[6:] == ["1.000", "18.00", "REGRESSED"]
    assert good[:5] == ["b32-c32", "-", "83.10", "-0.2%", "throughput"]
    assert missing == ["b1-c1", "-", "83.10", "-", "1.000", "18.00", "missing"]
    assert lost == ["b1-c1", "ERROR"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_columns_without_room_are_told_and_no_row_wraps(run: Session, width: int) -> None:
    lines = table(with_columns(run, "all"), width=width, colour=False).splitlines()
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines if line.startswith(" b")]
    assert names == ["b8-c4", "b32-c32", "b1-c1", "b1-c1"]
    told = " ".join(line.strip() for line in lines[lines.index(next_after(lines)) :])
    left_out, _, how = told.removeprefix("no room for ").partition(": ")
    assert left_out.split(", ")[-1] == "change"
    shown = len(COLUMNS) - len(left_out.split(", "))
    assert shown == len([name for name in COLUMNS if name not in left_out.split(", ")])
    needed = int(how.split()[0])
    assert how == f"{needed} columns show all, or name fewer with --gaitperf-columns"
    assert "no room" not in table(run, width=needed, colour=False)
    assert "no room for change:" in table(run, width=needed - 1, colour=False)


def next_after(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("no room for "))


def test_gated_columns_that_nobody_named_are_told_too(run: Session) -> None:
    assert "no room" not in table(run, width=80, colour=False), "the CPU is only for reading"
    told = table(run, width=60, colour=False).splitlines()[-2:]
    assert told[0].startswith("no room for p99, energy: ")


def test_of_many_cells_the_table_has_those_that_somebody_must_look_at(run: Session) -> None:
    regressed, good, missing, lost = run.results.values()
    many = {}
    for number in range(200):
        first = regressed if number == 70 else lost if number == 80 else good
        one = replace(first, workload=replace(first.workload, concurrency=number + 1))
        many[one.workload] = one
    run.results = {missing.workload: missing, **many}
    lines = table(run, width=80, colour=False, every=False).splitlines()
    rows = [line.split() for line in lines if line.startswith(" b")]
    assert [(row[0], row[-1]) for row in rows] == [
        ("b1-c1", "missing"),
        ("b8-c71", "REGRESSED"),
        ("b1-c81", "ERROR"),
    ]
    assert lines[-1] == "not in the table: 198 cells (198 ok); -v shows all"
    every = table(run, width=80, colour=False).splitlines()
    assert sum(line.startswith(" b") for line in every) == 201
    assert "not in the table" not in every[-1]


def test_a_red_run_of_many_cells_shows_the_worst_and_counts_the_others(run: Session) -> None:
    regressed = next(iter(run.results.values()))
    run.results = {}
    for number in range(100):
        verdict = replace(regressed.verdicts["throughput"], change=-0.001 * number)
        one = replace(regressed, verdicts={"throughput": verdict})
        one = replace(one, workload=replace(one.workload, concurrency=number + 1))
        run.results[one.workload] = one
    lines = table(run, width=80, colour=False, every=False).splitlines()
    rows = [line.split()[0] for line in lines if line.startswith(" b")]
    assert rows == [f"b8-c{number + 1}" for number in range(60, 100)]
    assert lines[-1] == "not in the table: 60 cells (60 REGRESSED); -v shows all"


def test_a_long_name_of_a_cell_gives_way_to_a_value_and_the_verdict(run: Session) -> None:
    first = next(iter(run.results.values()))
    workload = replace(
        first.workload, concurrency=0, request_rate=100.0, arrival="poisson", transport="shm"
    )
    run.results = {workload: replace(first, workload=workload)}
    lines = [line.rstrip() for line in table(run, width=36, colour=False).splitlines()]
    assert lines[2] == " b8-r100-p…  771.6 -37.6%! REGRESSED"


def test_estimates_are_marked_once_in_the_header(run: Session) -> None:
    for result in run.results.values():
        if result.measurement is not None:
            result.measurement = replace(result.measurement, estimated=True)
    lines = table(with_columns(run, "p50,energy"), width=80, colour=False).splitlines()
    assert lines[0].split() == ["p50", "ms", "energy", "mJ", "est.", "verdict"]


def test_the_job_summary_has_the_named_columns(run: Session) -> None:
    first = next(iter(run.results.values()))
    headings, rows = plain_rows(with_columns(run, "watts,energy"), [first])
    assert headings == ["power W", "energy mJ"]
    assert rows == [["b8-c4", "-", "", "19.68", "+59.7%!", "REGRESSED"]]


def test_below_the_table_names_give_way_and_only_commands_are_wider_than_the_terminal(
    run: Session,
) -> None:
    lines: list[str] = []
    run.orphans = {"gone": ["b1-c1"]}  # named with the command that removes them
    reporter = SimpleNamespace(
        verbosity=0,
        _tw=SimpleNamespace(fullwidth=50, hasmarkup=False),
        write_sep=lambda *_, **__: None,
        write_line=lambda line, **_: lines.append(line),
    )
    summarize(cast("TerminalReporter", reporter), run)
    wide = [line for line in lines if len(line) > 50]
    assert [line.split()[0] for line in wide] == ["gaitperf"]
    frontier = lines.index("frontier over p50, energy: 2 of 3 cells:")
    assert lines[frontier + 1] == "  3D_fp32_0_batchd-b32-c32  21.30 ms  12.30 mJ"
    assert lines[frontier + 2] == "  a_model_with_a_name_longer..  21.30 ms  12.30 mJ"
