"""Workflow commands: what GitHub reads back from them is what was said."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.report.ci import MOST, Failed, annotate, command
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, MIXED, REGRESSED, cell, lost, missing, run

ROOT = Path("/repository")


def report(name: str, *, is_call: bool = True, text: str = "it is red") -> Failed:
    return Failed(f"suites/t.py::{name}", name, "suites/t.py", 16, text, is_call)


def read(line: str) -> tuple[str, dict[str, str], str]:
    """Take a command apart as GitHub's runner does (its ActionCommand)."""
    assert "\n" not in line
    assert "\r" not in line
    head, _, data = line.removeprefix("::").partition("::")
    level, _, properties = head.partition(" ")
    values = dict(one.split("=", 1) for one in properties.split(","))
    for code, character in (("3A", ":"), ("2C", ","), ("0D", "\r"), ("0A", "\n"), ("25", "%")):
        values = {name: value.replace(f"%{code}", character) for name, value in values.items()}
        if code not in ("3A", "2C"):
            data = data.replace(f"%{code}", character)
    return level, values, data


@given(st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=50)
def test_any_text_comes_back_as_it_went_in_but_for_what_drives_a_terminal(
    message: str, title: str
) -> None:
    assert read(command("error", message, title=title, line="1")) == (
        "error",
        {"title": sanitize(title), "line": "1"},
        sanitize(message),
    )


def test_a_red_test_is_named_with_its_cell_and_its_place() -> None:
    name = "test_throughput[3D_fp32_0_batchd-b8-c4]"
    failed = [report(name, text="throughput regressed:\n -5%")]
    assert next(annotate(MIXED, failed, ROOT, ROOT)) == (
        f"::error title={name},file=suites/t.py,line=17::throughput regressed:%0A -5%25"
    )


def test_files_are_named_from_the_root_of_the_repository() -> None:
    error, *_ = annotate(MIXED, [report("test_x")], ROOT / "device", ROOT)
    assert read(error)[1]["file"] == "device/suites/t.py"
    error, *_ = annotate(MIXED, [report("test_x")], ROOT, ROOT / "elsewhere")
    assert read(error)[1] == {"title": "test_x"}


def test_a_cell_that_was_not_measured_is_warned_of_once() -> None:
    reports = [report(f"test_{name}[[markup]-b1-c1]", is_call=False) for name in "abc"]
    reports.append(report("test_d[other-b1-c1]", is_call=False))
    said = [read(line) for line in annotate(MIXED, reports, ROOT, ROOT)]
    assert [(level, values["title"]) for level, values, _ in said] == [
        ("error", "test_d[other-b1-c1]"),
        ("warning", "[markup]-b1-c1"),
    ]
    assert said[1][2] == "unmeasured: it did not answer"


def test_a_test_without_a_verdict_is_a_warning() -> None:
    name = "suites/t.py::test_x"
    unmeasured = run(GOOD, unmeasured_tests=(name,))
    said = [read(line) for line in annotate(unmeasured, [report("test_x")], ROOT, ROOT)]
    assert [(level, values["title"]) for level, values, _ in said] == [("warning", "test_x")]


def test_in_a_red_run_only_what_is_red_is_an_error_however_much_else_was_not_shown() -> None:
    new = [missing(Workload("new", size, 1)) for size in range(1, MOST + 3)]
    reports = [report(f"test_throughput[{one.id}]") for one in new]
    own, red = f"test_own[{GOOD.id}]", f"test_throughput[{REGRESSED.id}]"
    of_run = run(REGRESSED, GOOD, *new, failed_tests=(f"suites/t.py::{own}",))
    said = [
        read(line) for line in annotate(of_run, [*reports, report(own), report(red)], ROOT, ROOT)
    ]
    assert [values["title"] for level, values, _ in said if level == "error"] == [own, red]
    assert [level for level, _, _ in said].count("warning") == MOST


def test_an_outcome_that_no_test_shows_has_a_line() -> None:
    (line,) = annotate(run(GOOD, failed_tests=("a.py::test_x",)), [], ROOT, ROOT)
    assert read(line) == ("error", {"title": "gaitperf"}, "red: a.py::test_x failed")
    (line,) = annotate(run(GOOD, unjudged=("session 2 failed",)), [], ROOT, ROOT)
    assert read(line) == ("warning", {"title": "gaitperf"}, "unmeasured: session 2 failed")


def test_a_problem_is_a_warning() -> None:
    (line,) = annotate(run(GOOD, problems=("r.json cannot be written",)), [], ROOT, ROOT)
    assert read(line) == ("warning", {"title": "gaitperf"}, "r.json cannot be written")


def test_of_many_the_last_says_how_many_more() -> None:
    gone = [lost(Workload("m", size, 1)) for size in range(1, 31)]
    red = run(cell(factor=2.0), *gone)
    lines = list(annotate(red, [report(f"test_{n}") for n in range(25)], ROOT, ROOT))
    for level, more in (("error", "16 more errors"), ("warning", "21 more warnings")):
        found = [line for line in lines if line.startswith(f"::{level}")]
        assert len(found) == MOST
        assert read(found[-1])[2].startswith(more)
