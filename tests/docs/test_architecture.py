"""The picture of the layers shows every room, as the import contract does."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_picture_shows_every_module_and_folder_once() -> None:
    picture = PAGE.partition("```text\n")[2].partition("```")[0]
    shown = [
        name
        for line in picture.splitlines()
        for name in re.split(r" {3,}", line)[0].replace("|", " ").split()
        if not name.startswith("-")
    ]
    there = {path.stem for path in (ROOT / "pytest_gaitperf").iterdir() if path.suffix == ".py"}
    there |= {path.parent.name for path in (ROOT / "pytest_gaitperf").glob("*/__init__.py")}
    assert sorted(shown) == sorted(there - {"__init__"})


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"`([\w/]+/|[\w/]+\.py)`", PAGE):
        assert (ROOT / "pytest_gaitperf" / name).exists(), name
