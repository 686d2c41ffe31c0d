"""The table at any width, and the lines under it."""

from __future__ import annotations

from dataclasses import replace as with_load
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.environment import Power
from pytest_gaitperf.report.table import COLUMNS, plain_rows, resolve_columns, table
from pytest_gaitperf.report.terminal import closing_lines, outcome_line, summarize
from pytest_gaitperf.report.text import command
from pytest_gaitperf.results import (
    Finding,
    Frontier,
    LimitCheck,
    LimitState,
    Outcome,
    Policy,
    Sensitivity,
    VerdictKind,
)
from pytest_gaitperf.workload import Workload
from tests.report.runs import (
    GOOD,
    LONG,
    MIXED,
    REGRESSED,
    cell,
    lost,
    measured,
    missing,
    run,
    searched,
    verdict,
)

if TYPE_CHECKING:
    from pytest_gaitperf.results import Run

SEARCHED = run(searched(), cell(Workload("3D_fp32_0_batchd", 1, 1)))

DEAF = {"sensitivity": 0.4, "must_hear": 0.25, "sharpen": "2 would", "more_sessions": 2}


def lines_of(of_run: Run, width: int = 80, **more: Any) -> list[str]:
    text = table(of_run, width=width, colour=False, **more)
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (120, ["inf/s", "p50", "ms", "p99", "ms", "energy", "mJ", "CPU", "ms", "verdict"]),
        (80, ["inf/s", "p50", "ms", "p99", "ms", "energy", "mJ", "verdict"]),
        (60, ["inf/s", "p50", "ms", "verdict"]),
        (40, ["inf/s", "verdict"]),
    ],
)
def test_the_table_fits_and_keeps_the_verdict(width: int, columns: list[str]) -> None:
    lines = lines_of(MIXED, width)
    assert max(map(len, lines)) <= width
    assert lines[0].split() == columns
    assert lines[1] == "3D_fp32_0_batchd"
    assert lines[2].startswith(" b8-c4    771.6 -37.5%!")
    assert lines[2].endswith(" regressed")
    assert lines[3].startswith(" b32-c32   1234 +0.0%")
    assert lines[3].endswith(" pass")
    assert lines[5].endswith(" missing")
    assert lines[6] == "[markup]"
    assert lines[7].endswith(" unmeasured")


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (120, ["subjects", "energy", "mJ", "p50", "ms", "p99", "ms", "verdict"]),
        (80, ["subjects", "energy", "mJ", "p50", "ms", "verdict"]),
        (50, ["subjects", "verdict"]),
    ],
)
def test_searches_have_a_table_of_their_own(width: int, columns: list[str]) -> None:
    lines = lines_of(SEARCHED, width)
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "inf/s"
    assert lines[2].startswith(" b1-c1")
    assert lines[3].split() == columns
    assert lines[4] == "3D_fp32_0_batchd"
    assert lines[5].startswith(" b1-most 42 (42.60) -14.8%!")
    assert lines[5].endswith(" regressed")


def test_what_could_not_hear_what_must_be_heard_is_unmeasured() -> None:
    deaf = cell(verdicts=DEAF)
    assert lines_of(run(deaf))[2].endswith(" unmeasured")
    recorded = missing(deaf.workload, recorded=1)
    assert lines_of(run(recorded, policy=Policy(update="all")))[2].endswith(" missing, recorded")


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"])
@pytest.mark.parametrize("colour", [True, False])
def test_pytest_alone_decides_on_colours(
    monkeypatch: pytest.MonkeyPatch, variable: str, *, colour: bool
) -> None:
    monkeypatch.setenv(variable, "1")
    text = table(MIXED, width=80, colour=colour)
    assert ("\x1b[1;31mregressed" in text) is colour
    assert ("\x1b" in text) is colour


def test_named_columns_stand_in_their_order_with_a_dash_for_what_was_not_measured() -> None:
    columns = resolve_columns(["watts", "latency_p99", "change", "precision", "compute"])
    lines = lines_of(MIXED, 100, columns=columns)
    title = "power W p99 ms change +- % compute ms verdict"
    assert lines[0].split() == title.split()
    regressed, good, absent, unmeasured = (lines[i].split() for i in (2, 3, 5, 7))
    assert regressed[:4] == ["b8-c4", "-", "133.0", "+60.0%!"]
    assert regressed[-3:] == ["1.000", "23.86", "regressed"]
    assert good[:4] == ["b32-c32", "-", "83.10", "+0.0%"]
    assert absent == ["b1-c1", "-", "83.10", "-", "1.000", "14.91", "missing"]
    assert unmeasured == ["b1-c1", "unmeasured"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_columns_without_room_are_named_and_no_row_wraps(width: int) -> None:
    columns = resolve_columns(["all"])
    lines = lines_of(MIXED, width, columns=columns)
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line.startswith(" b")] == [
        "b8-c4", "b32-c32", "b1-c1", "b1-c1",
    ]  # fmt: skip
    said = next(place for place, line in enumerate(lines) if line.startswith("no room for "))
    text = " ".join(line.strip() for line in lines[said:])
    left_out, _, how = text.removeprefix("no room for ").partition(": ")
    assert left_out.split(", ")[-1] == "change"
    assert set(left_out.split(", ")) < set(COLUMNS)
    needed = int(how.split()[0])
    assert how == f"{needed} columns show all, or name fewer with --gaitperf-columns"
    assert "no room" not in table(MIXED, width=needed, colour=False, columns=columns)
    narrower = table(MIXED, width=needed - 1, colour=False, columns=columns)
    assert "no room for change:" in narrower


def test_gated_columns_that_nobody_named_are_said_too() -> None:
    assert "no room for cpu: " in table(MIXED, width=80, colour=False)
    assert lines_of(MIXED, 60)[-2].startswith("no room for p99, energy, cpu: ")


def with_concurrency(of_cell: Any, concurrency: int) -> Any:
    load = with_load(of_cell.workload, concurrency=concurrency)
    return replace(of_cell, workload=load, id=load.id)


def test_of_many_cells_the_table_has_those_that_somebody_must_look_at() -> None:
    many = [
        with_concurrency(
            REGRESSED if number == 70 else lost() if number == 80 else GOOD, number + 1
        )
        for number in range(200)
    ]
    of_many = run(missing(Workload("m", 1, 1)), *many)
    lines = lines_of(of_many, every=False)
    rows = [line.split() for line in lines if line.startswith(" b")]
    assert [(row[0], row[-1]) for row in rows] == [
        ("b8-c71", "regressed"),
        ("b1-c1", "missing"),
        ("b1-c81", "unmeasured"),
    ]
    assert "not in the table: 198 cells (198 pass); -v shows all" in lines
    every = lines_of(of_many)
    assert sum(line.startswith(" b") for line in every) == 201
    assert "not in the table" not in " ".join(every)


def test_a_red_run_of_many_cells_shows_the_worst_and_counts_the_others() -> None:
    many = []
    for number in range(100):
        found = {"throughput": verdict("throughput", 1234.5, 1.1 + 0.001 * number)}
        many.append(replace(with_concurrency(REGRESSED, number + 1), verdicts=found))
    lines = lines_of(run(*many), every=False)
    rows = [line.split()[0] for line in lines if line.startswith(" b")]
    assert rows == [f"b8-c{number + 1}" for number in range(60, 100)]
    assert "not in the table: 60 cells (60 regressed); -v shows all" in lines


def test_red_models_and_cells_come_first() -> None:
    slower, other = cell(Workload("z", 1, 4), 1.6), cell(Workload("z", 1, 1))
    mixed = run(cell(Workload("a", 1, 1)), lost(Workload("b", 1, 1)), other, slower)
    lines = [line.split()[0] for line in lines_of(mixed)[1:8]]
    assert lines == ["z", "b1-c4", "b1-c1", "b", "b1-c1", "a", "b1-c1"]


def test_a_long_name_of_a_cell_gives_way_to_a_value_and_the_verdict() -> None:
    load = Workload("m", 8, request_rate=100.0, arrival="poisson", transport="shm")
    assert lines_of(run(cell(load, 1.6)), 36)[2] == " b8-r100-p…  771.6 -37.5%! regressed"


def test_estimates_are_marked_once_in_the_header() -> None:
    estimated = run(cell(measurement={"energy_estimated": True}))
    lines = lines_of(estimated, columns=("p50", "energy"))
    assert lines[0].split() == ["p50", "ms", "energy", "mJ", "est.", "verdict"]


def test_plain_rows_have_the_named_columns() -> None:
    headings, rows = plain_rows(MIXED, MIXED.cells[:1], ("watts", "energy"))
    assert headings == ["cell", "verdict", "power W", "energy mJ"]
    assert rows == [["b8-c4", "regressed", "-", "19.68 +60.0%! +-3"]]


@pytest.mark.parametrize(("low", "high", "says"), [(0.58, 0.62, "2 "), (-0.2, 1.4, "80 ")])
def test_a_wide_table_shows_how_wide_the_interval_of_a_regression_is(
    low: float, high: float, says: str
) -> None:
    red = run(cell(factor=1.6, verdicts={"low": low, "high": high}))
    assert f"+60.0%! +-{says}" in lines_of(red, 120)[2]
    assert "+-" not in lines_of(red, 70)[2]
    passed = run(cell(verdicts={"low": low, "high": high}))
    assert "+-" not in lines_of(passed, 120)[2]


def test_a_long_reason_why_something_is_absent_is_shown_on_demand() -> None:
    long = f"no power meter: {'nothing answers here; ' * 20}"
    absent = run(cell(measurement={"absent": {"energy_per_inference": long}}))
    assert "no energy: no power meter (-v says why)" in closing_lines(absent)
    assert f"no energy: {long}" in closing_lines(absent, every=True)


def test_an_inconclusive_run_says_what_would_sharpen_it() -> None:
    for more, says in ((3, "3 more sessions"), (0, "more sessions")):
        open_ = cell(verdicts={"kind": VerdictKind.INCONCLUSIVE, "more_sessions": more})
        advice = f"inconclusive: {says}, or pairs (--gaitperf-against), find smaller changes"
        assert advice in closing_lines(run(open_))


def test_the_closing_lines_count_and_advise() -> None:
    lines = closing_lines(MIXED)
    assert lines[0] == "profile agx-orin: red: 1 regressed, 1 unmeasured, 1 missing, 1 pass"
    assert "record with:" not in lines
    heard = (Sensitivity("throughput", 0.4, 0.5), Sensitivity("latency_p99", 1.26))
    deaf = cell(verdicts=DEAF)
    *_, said, record, command = closing_lines(run(deaf, sensitivity=heard))
    assert said == "could have heard: throughput 40%, p99 126%"
    assert record == "record with:"
    assert command == "  pytest suites --gaitperf-update=all --gaitperf-sessions=2"
    # What was recorded counts towards enough sessions.
    enough = replace(deaf, recorded=2)
    assert closing_lines(run(enough, sensitivity=heard))[-1] == said


def test_nothing_is_offered_for_recording_beside_a_regression() -> None:
    better, worse = cell(factor=0.5), cell(Workload("m", 1, 1), factor=2.0)
    assert "record with:" in closing_lines(run(better))
    assert "record with:" not in closing_lines(run(better, worse))


def test_what_is_offered_for_recording_writes_over_no_file_of_this_run() -> None:
    arguments = (
        *("suites", "-q", "-k", "fast and not slow", "--gaitperf-json=r.json", "--junitxml", "j"),
        *("--gaitperf-export=bmf:b.json", "--lf", "--gaitperf-budget=7", "--gaitperf-report", "p"),
    )
    lines = closing_lines(run(cell(factor=0.5), arguments=arguments))
    assert lines[-1] == "  pytest suites -q --gaitperf-budget=7 --gaitperf-update=all"
    accepting = command(arguments, "--gaitperf-update=all", "--gaitperf-accept-regressions")
    assert accepting == (
        "pytest suites -q -k 'fast and not slow' --gaitperf-budget=7 --gaitperf-update=all "
        "--gaitperf-accept-regressions"
    )


def test_in_pairs_it_says_with_what_and_advises_nothing() -> None:
    improved = run(cell(factor=0.5), against="version 1")
    assert closing_lines(improved)[0] == "against version 1: green: 1 improved"
    assert "record with:" not in closing_lines(improved)


def test_orphans_are_named_with_what_removes_them() -> None:
    assert not any("recorded cell" in line for line in closing_lines(MIXED))
    orphans = {"gone": ("b1-c1",), "3D": tuple(f"b{size}-c1" for size in range(1, 9))}
    said, command = closing_lines(run(GOOD, orphans=orphans, baselines="mine"))[-2:]
    assert said == (
        "9 recorded cells not in this suite (gone: b1-c1; 3D: b1-c1 b2-c1 b3-c1 b4-c1 b5-c1 and "
        "3 more); to remove what is gone, run with --gaitperf-json=FILE, then:"
    )
    assert command == "  gaitperf baseline prune --results FILE --baselines mine"
    written = closing_lines(run(GOOD, orphans=orphans, outputs={"json": "r.json"}))
    assert "  gaitperf baseline prune --results r.json" in written
    assert written[-1] == "results written: r.json"


def test_a_note_is_said_once_with_its_cell_or_their_number() -> None:
    common = "the budget ended before the asked precision of 2.0%"
    first = cell(measurement={"notes": ("one", common, "two", "three")})
    second = cell(Workload("m", 1, 1), measurement={"notes": (common,)})
    lines = closing_lines(run(first, second))
    start = lines.index(f"{first.id}: one")
    assert lines[start : start + 4] == [
        f"{first.id}: one",
        f"2 cells: {common}",
        f"{first.id}: two",
        "1 more note: see --gaitperf-json",
    ]


def test_limits_findings_and_power_have_a_line_each() -> None:
    met = LimitCheck(limit="a", metric="latency_p50", bound=1, state=LimitState.MET, certain=True)
    worse: dict[str, Any] = {"worse": True, "limit": 0.1, "sessions": 4, "text": ""}
    lines = closing_lines(
        run(
            replace(GOOD, limits=(met, met)),
            unchecked_limits={"throughput >= 1": 3},
            findings=(
                Finding(scope="model", metric="throughput", change=-0.3, model="m", **worse),
                Finding(scope="model", metric="latency_p50", change=0.5, model="m", **worse),
                Finding(scope="run", metric="latency_p50", change=0.2, cause="the clock", **worse),
            ),
        )
    )
    assert "limits: 2 met" in lines
    assert "no test of this run checked throughput >= 1 (3 cells)" in lines
    assert "the whole model m changed: throughput -30.0%, p50 +50.0%" in lines
    assert "the whole run changed: p50 +20.0%: the clock" in lines
    assert "idle power: 5.0 W, 5.5 W" in lines


def test_an_estimate_of_energy_is_called_one() -> None:
    estimated = run(cell(measurement={"energy_estimated": True}))
    power = Power(meter="estimate", description="CPU time x 65 W", estimated=True)
    estimated = replace(estimated, environment=replace(estimated.environment, power=power))
    assert "ENERGY IS ESTIMATED, not measured: CPU time x 65 W" in closing_lines(estimated)


def written(of_run: Run, width: int = 50) -> list[tuple[str, dict[str, Any]]]:
    lines: list[tuple[str, dict[str, Any]]] = []
    summarize(
        of_run,
        lambda line, **markup: lines.append((line, markup)),
        width=width,
        colour=False,
        every=False,
    )
    return lines


def test_names_give_way_and_only_commands_are_wider_than_the_terminal() -> None:
    small = replace(missing(Workload(LONG, 1, 1)), measurement=measured(factor=0.9))
    shown = run(
        *(GOOD, small),
        baselines="a/rather/deep/directory",
        orphans={"gone": ("b1-c1",)},
        policy=Policy(update="missing"),
        frontier=Frontier(
            objectives=("latency_p50", "energy_per_inference"),
            cells=(GOOD.id, small.id),
            compared=2,
        ),
    )
    lines = [line for line, _ in written(shown)]
    assert [line.split()[0] for line in lines if len(line) > 50] == ["gaitperf"]
    frontier = lines.index("frontier over p50, energy: 2 of 2 cells:")
    assert lines[frontier + 1] == "  3D_fp32_0_batchd-b32-c32  21.30 ms  12.30 mJ"
    assert lines[frontier + 2] == "  a_model_with_a_name_longer..  19.17 ms  11.07 mJ"


def test_the_last_line_is_the_outcome_with_what_made_it() -> None:
    assert written(MIXED)[-1] == ("outcome: red (1 cell)", {"red": True, "bold": True})
    assert written(run(GOOD))[-1] == ("outcome: green", {"green": True, "bold": True})
    failed = run(GOOD, failed_tests=("a", "b"))
    assert outcome_line(failed) == "outcome: red (2 tests)"
    unmeasured = run(
        lost(), unmeasured_tests=("a",), unjudged=("session 2 failed",), problems=("no space",)
    )
    assert outcome_line(unmeasured) == "outcome: unmeasured (1 cell, 1 test, 2 other reasons)"
    assert unmeasured.outcome is Outcome.UNMEASURED


def test_an_unmeasured_run_says_up_to_five_reasons_and_a_problem_once() -> None:
    gone = [lost(Workload("m", size, 1), f"it did not answer {size}") for size in range(1, 8)]
    lines = written(run(*gone, problems=("r.json cannot be written",), warnings=("it is hot",)))
    texts = [line for line, _ in lines]
    assert ("warning: it is hot", {"yellow": True}) in lines
    assert ("problem: r.json cannot be written", {"red": True, "bold": True}) in lines
    assert texts[-7:-2] == [
        f"unmeasured: m-b{size}-c1: it did not answer {size}" for size in range(1, 6)
    ]
    assert texts[-2] == "2 more reasons: see --gaitperf-json"
    assert sum("cannot be written" in line for line in texts) == 1


def test_a_reason_of_many_cells_is_said_once() -> None:
    why = "no power meter: it is unplugged"
    one = replace(measured(), absent={"energy_per_inference": why})
    cells = [
        replace(GOOD, id=f"m-b{size}-c1", measurement=one, lacking={"energy": f"gone: {why}"})
        for size in range(1, 13)
    ]
    texts = [line for line, _ in written(run(*cells))]
    assert sum("unplugged" in line for line in texts) == 1
    assert "unmeasured: m-b1-c1 and 11 more: energy: gone: no" in " ".join(texts)
