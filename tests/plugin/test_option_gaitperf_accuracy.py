"""--gaitperf-accuracy: the third objective of the frontier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_table_that_cannot_be_read_is_refused_before_anything_is_measured(
    project: Project,
) -> None:
    (project.path / "a.csv").write_text("model,accuracy\nsteady,94.7\n")
    project.refuses("--gaitperf-accuracy", "a.csv", "a.csv:2: '94.7' is neither", named=False)


def test_nothing_else_is_said_beside_it(project: Project) -> None:
    (project.path / "a.csv").write_text("model,accuracy\nsteady,94.7\n")
    shown = project.run("--gaitperf-accuracy=a.csv")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = shown.stdout.str() + shown.stderr.str()
    assert "'94.7' is neither" in " ".join(text.split())
    assert "already registered" not in text
