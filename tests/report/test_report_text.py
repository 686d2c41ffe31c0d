"""Numbers, changes and commands as people read them, and copy them."""

from __future__ import annotations

import math
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.report.text import command, count, number, percent, scaled


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
    assert float(text) == pytest.approx(value, rel=0.01, abs=0.0005)


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
        (("-k", "a and not b"), "pytest -k 'a and not b' --gaitperf-update=all"),
        (("--gaitperf-models=*a b",), "pytest '--gaitperf-models=*a b' --gaitperf-update=all"),
    ],
)
def test_the_command_is_the_runs_own_with_the_option_in_place(
    invocation: tuple[str, ...], expected: str
) -> None:
    assert command(Settings(invocation=invocation), "--gaitperf-update=all") == expected


@given(st.lists(st.text(min_size=1).filter(lambda word: not word.startswith("--gaitperf-update"))))
def test_a_shell_reads_the_same_words_back(words: list[str]) -> None:
    line = command(Settings(invocation=tuple(words)), "--gaitperf-update=all")
    assert shlex.split(line) == ["pytest", *words, "--gaitperf-update=all"]
