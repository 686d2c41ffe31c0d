"""Markdown that shows what it was given, whatever that is."""

from __future__ import annotations

import html

import pytest

from pytest_gaitperf.report.markdown import escape, table


@pytest.mark.parametrize(
    "text", ["a|b", "<script>", "[x](y)", "@everyone", "**bold**", "&lt;", "a_b_c", "`x`", "-5.2 %"]
)
def test_an_escaped_text_has_no_syntax_left_and_reads_as_before(text: str) -> None:
    shown = escape(text)

    assert not set("|<>[]()@*`_") & set(shown)
    assert html.unescape(shown) == text


def test_a_text_of_several_lines_becomes_one() -> None:
    assert escape("a\n\n# b") == "a &#35; b"


def test_a_table_aligns_its_numbers_to_the_right() -> None:
    assert table(["cell", "mJ"], [["b1", "5"]], numbers=[1]) == (
        "| cell | mJ |\n| :-- | --: |\n| b1 | 5 |\n"
    )
