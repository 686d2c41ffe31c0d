"""The documents stay small, and their words are those of the vocabulary."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import pytest_gaitperf
from tests.docs.documents import PAGES, ROOT

README_WORDS = 900
DOCS_WORDS = 16_000
"""As ``wc -w`` counts them: the most that a reader is asked to read."""

RETIRED = {
    # A verdict, a validity or an outcome has one word.
    r"unsure": "inconclusive",
    r"baseline power": "baseline sensitivity",
    # The field's nouns, no metaphors.
    r"deaf(er|ness)?": "not sensitive enough",
    r"hung(ry|rier)": "uses more energy",
    r"(it|gate|run|baseline|session)s? hears?": "detects",
    r"(the|its|server's) books": "statistics",
    r"sick": "cannot be read",
    # Plain verbs.
    r"mended": "fixed",
    r"tells? of": "describes",
    r"(is|are) told(?! from)": "is explained",
    r"told in": "explained in",
    r"who asks": "say who, or leave it out",
    r"as before": "say what",
}
"""What is not written any more, and what is instead."""


def words(text: str) -> int:
    return len(text.split())


def test_the_readme_is_one_sitting() -> None:
    assert words((ROOT / "README.md").read_text(encoding="utf-8")) <= README_WORDS


def test_the_documentation_stays_small() -> None:
    counts = {
        page.relative_to(ROOT).as_posix(): words(page.read_text(encoding="utf-8"))
        for page in PAGES
        if "docs" in page.relative_to(ROOT).parts
    }
    largest = sorted(counts, key=counts.__getitem__)[-3:]
    assert sum(counts.values()) <= DOCS_WORDS, f"the largest pages: {largest}"


@cache
def texts() -> dict[str, str]:
    """Return what people read: the pages, and the texts that the package prints."""
    found = {
        page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
        for page in PAGES
        if page.name != "CONTRIBUTING.md"
    }
    package = Path(pytest_gaitperf.__file__).parent
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # Docstrings, and those of attributes, are for developers.
        notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in notes
        ]
        found[f"{package.name}/{path.relative_to(package)}"] = "\n".join(strings)
    return found


def uses(text: str, retired: str) -> list[str]:
    pattern = retired.replace(" ", r"\s+")
    return [found[0] for found in re.finditer(rf"\b{pattern}\b", text, re.IGNORECASE)]


@pytest.mark.parametrize("retired", RETIRED)
def test_a_retired_word_stays_out(retired: str) -> None:
    found = {name: used for name, text in texts().items() if (used := uses(text, retired))}
    assert not found, f"write {RETIRED[retired]!r} in place of it"


@pytest.mark.parametrize(
    "text",
    ["a hungrier model", "The baseline\nhears it", "it Tells\nof changes", "all is mended"],
)
def test_a_retired_word_is_noticed(text: str) -> None:
    assert any(uses(text, retired) for retired in RETIRED)
