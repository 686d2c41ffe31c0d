"""Somewhere to type what the documents say, with the programs that they call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

# A make that runs these tests hands its variables down.
_OF_MAKE = re.compile("MAKE|MFLAGS|NEWEST$|COVERAGE$|VENV$")
_PROGRAMS = {
    "python": '"$PYTHON" "$@"',
    "pytest": '"$PYTHON" -m pytest "$@"',
    "gaitperf": '"$PYTHON" -m pytest_gaitperf.cli "$@"',
}


@dataclass(frozen=True, slots=True)
class Shell:
    """A directory with ``.venv/bin`` in it and on PATH, whose Python is that of the tests.

    ``addopts`` go to every pytest that is called, before its own arguments.
    """

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, *, addopts: str = "") -> subprocess.CompletedProcess[str]:
        """Run a line with bash; its outputs together, as a reader sees them."""
        # The precision ends a cell early; the budget is for a machine that others use too.
        short = (
            "-p no:cacheprovider -p no:hypothesispytest "
            "--power=none --gaitperf-budget=4 --gaitperf-precision=50% --gaitperf-must-hear=9000%"
        )
        return subprocess.run(
            ["bash", "-c", command],  # noqa: S607 - the bash on PATH is meant
            cwd=self.directory,
            env={
                **{name: text for name, text in os.environ.items() if not _OF_MAKE.match(name)},
                "PATH": f"{self.directory / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "PYTEST_ADDOPTS": f"{short} {addopts}",
                "COLUMNS": "80",
                **self.environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


def _with_programs(directory: Path) -> Path:
    bin_ = directory / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name, line in _PROGRAMS.items():
        (bin_ / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (bin_ / name).chmod(0o755)
    return directory


@pytest.fixture
def empty(tmp_path: Path) -> Shell:
    """A reader's new directory."""
    return Shell(_with_programs(tmp_path))


@pytest.fixture
def clone(tmp_path: Path) -> Shell:
    """What of a clone ``make perf`` needs, installed, with one small model in the repository."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci" / "requirements", tmp_path / ".ci" / "requirements")
    model = Path("model_repository", "3D_fp32_40_batchd")
    for folder in (Path("suites"), model):
        without = shutil.ignore_patterns("*.onnx", "recipe.json", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=without)
    _with_programs(tmp_path)
    # What make would install is there: newer than what it depends on.
    (tmp_path / ".venv" / ".installed").touch()
    return Shell(tmp_path)
