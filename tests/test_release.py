"""What a release needs: one version, a changelog that can be built, and fragments that count."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gaitperf import __version__

ROOT = Path(__file__).parents[1]
TYPES = ("added", "changed", "fixed", "removed")


def run(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_version_has_one_place_and_the_changelog_tells_of_it() -> None:
    assert run("hatchling", "metadata", "version").strip() == __version__
    newest = re.search(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", changelog(), re.MULTILINE)
    assert newest
    assert newest[1] == __version__


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    sorted(path for path in (ROOT / "changelog.d").iterdir() if path.suffix == ".md"),
    ids=lambda path: path.name,
)
def test_a_fragment_has_a_type(path: Path) -> None:
    assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(TYPES)})\.md", path.name)


def test_fragments_of_every_type_become_a_section_above_the_last_one(tmp_path: Path) -> None:
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    for name in ("pyproject.toml", "CHANGELOG.md", "changelog.d/template.md.jinja"):
        shutil.copy(ROOT / name, tmp_path / name)
    for kind in TYPES:
        (folder / f"one-thing.{kind}.md").write_text(f"Something was {kind},\nin two lines.\n")
    run("towncrier", "build", "--yes", "--version=99.0.0", "--date=2030-01-02", cwd=tmp_path)
    text = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    section = "## 99.0.0 (2030-01-02)\n\n" + "\n".join(
        f"### {kind.title()}\n\n- Something was {kind},\n  in two lines.\n" for kind in TYPES
    )
    head, rest = changelog().split("<!-- releases -->\n\n")
    assert text == f"{head}<!-- releases -->\n\n{section}\n{rest}"
    assert [path.name for path in folder.iterdir()] == ["template.md.jinja"]
