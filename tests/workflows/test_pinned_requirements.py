"""What CI installs is what somebody has looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.workflows.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PINS = sorted((ROOT / ".ci" / "requirements").glob("*.txt"))


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_every_requirement_is_one_version_with_hashes_and_from_no_named_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        pinned = re.fullmatch(
            r"[a-z0-9][a-z0-9.-]*(\[[a-z,]+\])?==[\w.+!]+( ; [^#]+?)?"
            r"(\s+--hash=sha256:[0-9a-f]{64})+\s*",
            line,
        )
        assert pinned, line[:120]


def test_the_package_needs_nothing_that_is_not_pinned() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project[project.index("\ndependencies = [") : project.index("[project.optional")]
    wanted = set(re.findall(r'^    "([a-z0-9-]+)', block, re.MULTILINE))
    assert "pytest" in wanted
    for name in ("run", "perf", "dev", "oldest"):
        text = (ROOT / ".ci" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        assert wanted <= set(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==", text, re.MULTILINE)), name
