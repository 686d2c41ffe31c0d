"""Numbers, words and commands as people read them, and copy them."""

from __future__ import annotations

import math
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.report.table import table
from pytest_gaitperf.report.text import (
    cell_word,
    command,
    headline,
    tally,
    text_width,
    verdict_word,
)
from pytest_gaitperf.results import LimitCheck, LimitState, Policy, VerdictKind
from pytest_gaitperf.text import brief, count, number, percent, scaled, shown
from pytest_gaitperf.workload import Workload
from tests.report.runs import GOOD, MIXED, STRICT, cell, lost, missing, run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001234, "0.001"),
        (1.2345, "1.234"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (1234.5, "1234"),
        (999999.0, "999999"),
        (-12.345, "-12.35"),
    ],
)
def test_numbers_keep_three_digits_and_six_characters(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(0.001, 999_999))
def test_numbers_fit_their_column_and_are_right_to_a_percent(value: float) -> None:
    text = number(value)
    assert len(text) <= 6
    assert float(text) == pytest.approx(value, rel=0.01, abs=0.0005 + 1e-12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (0.0, "+0.0%"),
        (-0.1234, "-12.3%"),
        (0.999, "+99.9%"),
        (2.97, "+297%"),
        (98.999, "+9900%"),
        (None, ""),
        (math.inf, ""),
        (math.nan, ""),
    ],
)
def test_a_change_shows_its_sign_and_fits_its_column(change: float | None, text: str) -> None:
    assert percent(change) == text
    assert len(text) <= 6, "one more is for the mark"


def test_a_metric_is_shown_in_its_display_unit() -> None:
    assert scaled("latency_p50", 0.0213) == "21.30"
    assert scaled("throughput", 46.9) == "46.90"
    assert [shown("latency_p50", value) for value in (0.0213, None)] == ["21.30 ms", ""]


def test_counts_agree_with_their_noun() -> None:
    assert [count(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]


@pytest.mark.parametrize(
    ("invocation", "expected"),
    [
        (("suites",), "pytest suites --gaitperf-update=all"),
        ((), "pytest --gaitperf-update=all"),
        (("--gaitperf-update=missing", "-x"), "pytest -x --gaitperf-update=all"),
        (("--gaitperf-update", "missing", "-x"), "pytest -x --gaitperf-update=all"),
        (("--gaitperf-update",), "pytest --gaitperf-update=all"),
        (("-k", "a and not b", "-v"), "pytest -v --gaitperf-update=all"),
        (("--gaitperf-json", "r.json"), "pytest --gaitperf-update=all"),
        (("--gaitperf-models=*a b",), "pytest '--gaitperf-models=*a b' --gaitperf-update=all"),
    ],
)
def test_the_command_is_the_runs_own_with_the_option_in_place(
    invocation: tuple[str, ...], expected: str
) -> None:
    assert command(invocation, "--gaitperf-update=all") == expected


@given(st.lists(st.text(min_size=1).filter(lambda word: not word.startswith("-"))))
def test_a_shell_reads_the_same_words_back(words: list[str]) -> None:
    line = command(words, "--gaitperf-update=all")
    assert shlex.split(line) == ["pytest", *words, "--gaitperf-update=all"]


def test_a_ci_log_has_80_columns_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert text_width(200) == 200
    monkeypatch.setenv("CI", "true")
    assert text_width(200) == 80
    monkeypatch.setenv("COLUMNS", "120")
    assert text_width(120) == 120


VIOLATED = LimitCheck(
    limit="latency_p50 <= 1 ms", metric="latency_p50", bound=1e-3, state=LimitState.VIOLATED
)


@pytest.mark.parametrize(
    ("changes", "policy", "word"),
    [
        ({}, {}, "pass"),
        ({"factor": 1.5}, {}, "regressed"),
        ({"factor": 1.5}, {"accept_regressions": True}, "regressed, accepted"),
        ({"factor": 1.5, "unconfirmed": "gone"}, {}, "regressed, unconfirmed"),
        ({"factor": 0.5}, {}, "improved"),
        ({"limits": (VIOLATED,)}, {}, "limit violated"),
        ({"factor": 1.5, "limits": (VIOLATED,)}, {"accept_regressions": True}, "limit violated"),
        ({"lacking": {"energy": "no meter"}}, {}, "unmeasured"),
        ({"verdicts": {"sensitivity": 0.4, "must_hear": 0.25}}, {}, "unmeasured"),
        ({"verdicts": {"sensitivity": 0.2, "must_hear": 0.25}}, {}, "pass"),
        ({"verdicts": {"kind": VerdictKind.INCONCLUSIVE}}, {}, "inconclusive"),
        ({"verdicts": {"kind": VerdictKind.MISSING}}, {}, "missing"),
        (
            {"verdicts": {"kind": VerdictKind.MISSING}, "recorded": 1},
            {"update": "all"},
            "missing, recorded",
        ),
        ({"judged": ()}, {}, "not judged"),
        ({"measurement": {"invalid": "throttled"}}, {}, "invalid"),
    ],
)
def test_a_cell_has_one_word(changes: dict[str, Any], policy: dict[str, Any], word: str) -> None:
    of_cell = run(cell(**changes), policy=Policy(**policy))
    assert cell_word(of_cell, of_cell.cells[0]) == word


def test_a_pass_in_which_a_change_could_go_unheard_is_not_called_one() -> None:
    deaf = run(cell(verdicts={"sensitivity": 0.4, "must_hear": 0.25}))
    (of_cell,) = deaf.cells
    words = {verdict_word(deaf, of_cell, one) for one in of_cell.verdicts.values()}
    assert words == {"unmeasured"}
    assert of_cell.reasons[0].startswith("throughput unmeasured: pass beside 1234.5; it could have")
    green = "\x1b[32m"
    assert green in table(run(GOOD), width=120, colour=True)
    assert green not in table(deaf, width=120, colour=True)


def test_cells_are_counted_by_their_word_the_worst_first() -> None:
    assert tally(MIXED) == {"regressed": 1, "unmeasured": 1, "missing": 1, "pass": 1}
    assert headline(MIXED) == "red: 1 regressed, 1 unmeasured, 1 missing, 1 pass (of 4 cells)"
    assert headline(run()) == "green: no cell"
    assert headline(run(GOOD, policy=STRICT)) == "green: 1 pass"
    assert headline(run(lost(), missing(Workload("m", 1, 1)))).startswith("unmeasured: 1 unm")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0456, "0.0456"), (16.72, "16.7"), (999.4, "999"), (2000.4, "2000")]
)
def test_a_rate_has_no_exponent(value: float, text: str) -> None:
    assert brief(value) == text
