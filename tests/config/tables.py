"""What tests of the settings share: a project's table, and what is loaded of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.config.settings import Settings, load_settings

if TYPE_CHECKING:
    import pytest

FLAGS = {option.dest: option.flag for option in OPTIONS}


def load(pytester: pytest.Pytester, *arguments: str) -> Settings:
    return load_settings(pytester.parseconfig(*arguments))


def write(pytester: pytest.Pytester, table: str) -> None:
    (pytester.path / "pyproject.toml").write_text(f"[tool.gaitperf]\n{table}\n")
