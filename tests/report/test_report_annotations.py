"""Workflow commands: what GitHub reads back from them is what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.report.annotations import MOST, annotate, command
from tests.report.conftest import judged

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.session import Session


def report(name: str, *, when: str = "call", text: str = "it is red") -> pytest.TestReport:
    return pytest.TestReport(
        f"suites/test_grid.py::{name}",
        ("suites/test_grid.py", 16, name),
        {},
        "failed",
        text,
        when,  # type: ignore[arg-type]  # one of three words
    )


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
def test_any_text_comes_back_as_it_went_in(message: str, title: str) -> None:
    assert read(command("error", message, title=title, line="1")) == (
        "error",
        {"title": title, "line": "1"},
        message,
    )


def test_a_red_test_is_named_with_its_cell_and_its_place(run: Session, tmp_path: Path) -> None:
    name = "test_throughput[3D_fp32_0_batchd-b8-c4]"
    (error, *_) = annotate(run, [report(name, text="throughput regressed:\n -5%")], tmp_path)
    assert error == (
        f"::error title={name},file=suites/test_grid.py,line=17::throughput regressed:%0A -5%25"
    )


def test_files_are_named_from_the_root_of_the_repository(
    run: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (error, *_) = annotate(run, [report("test_x")], tmp_path / "device")
    assert read(error)[1]["file"] == "device/suites/test_grid.py"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    (error, *_) = annotate(run, [report("test_x")], tmp_path / "device")
    assert read(error)[1] == {"title": "test_x"}


def test_a_cell_that_was_not_measured_is_warned_of_once(run: Session, tmp_path: Path) -> None:
    reports = [report(f"test_{name}[[markup]-b1-c1]", when="setup") for name in "abc"]
    reports.append(report("test_d[other-b1-c1]", when="setup"))
    said = [read(line) for line in annotate(run, reports, tmp_path)]
    assert [(level, values["title"]) for level, values, _ in said] == [
        ("error", "test_d[other-b1-c1]"),
        ("warning", "[markup]-b1-c1"),
    ]
    assert said[1][2] == "not measured: it did not answer"


def test_provisional_verdicts_and_files_that_were_not_written_are_told(
    run: Session, tmp_path: Path
) -> None:
    good = list(run.results.values())[1]
    good.verdicts["throughput"] = judged(good, "throughput", 1)
    run.problems.append("the results cannot be written")
    said = [read(line) for line in annotate(run, [], tmp_path)]
    assert ("error", {"title": "gaitperf"}, "the results cannot be written") in said
    assert said[-1][:2] == ("warning", {"title": "provisional verdicts"})
    assert said[-1][2].startswith("1 cell judged")


def test_of_many_the_last_says_how_many_more(run: Session, tmp_path: Path) -> None:
    lines = list(annotate(run, [report(f"test_{n}") for n in range(25)], tmp_path))
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == MOST
    assert read(errors[-1])[2].startswith("16 more errors")
