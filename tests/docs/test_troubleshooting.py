"""Every message that the troubleshooting page quotes is one that the program still prints."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

import pytest_gaitperf
from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^### `(.+)`$", PAGE.read_text(), re.MULTILINE)

VARIES = "\N{OBJECT REPLACEMENT CHARACTER}"


class _Texts(ast.NodeVisitor):
    """Gathers texts: f-strings as they are put together, with a sign for what varies."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.found.append(
            "".join(str(p.value) if isinstance(p, ast.Constant) else VARIES for p in node.values)
        )
        self.generic_visit(node)


@lru_cache
def printed() -> str:
    texts = _Texts()
    for path in sorted(Path(pytest_gaitperf.__file__).parent.rglob("*.py")):
        texts.visit(ast.parse(path.read_text()))
    return "\n".join(texts.found)


def is_printed(message: str) -> bool:
    # What varies may stand at either end of a text, where it is put together elsewhere.
    parts = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
    return re.search(rf".*{VARIES}.*".join(parts), printed()) is not None


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_one_of_the_programs(message: str) -> None:
    assert is_printed(message), f"{PAGE.name}: nothing prints this any more: {message}"


def test_a_message_that_nothing_prints_is_noticed() -> None:
    assert not is_printed("no Triton server; tired ...")
    assert not is_printed("no Triton server; cannot be written")


def test_each_message_is_explained_once() -> None:
    assert len(QUOTED) == len(set(QUOTED)) >= 12
