"""--triton-repository: the models of a server that is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_the_models_of_the_repository_become_tests_without_a_server(offline: Project) -> None:
    write_model(offline.path / "elsewhere", "third")
    shown = offline.run("--collect-only", "-q", "--triton-repository=elsewhere")
    shown.stdout.fnmatch_lines(["test_grid.py::test_throughput[[]third-b1-c1[]]"])
    assert "steady" not in shown.stdout.str()


def test_the_command_line_wins_over_the_table(offline: Project) -> None:
    for name in ("one", "two"):
        write_model(offline.path / f"repo_{name}", name)
    offline.pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_repository = 'repo_one'\n")
    for arguments, name in (((), "one"), (("--triton-repository=repo_two",), "two")):
        shown = offline.run("--collect-only", "-q", *arguments)
        assert f"test_energy[{name}-b4-c4]" in shown.stdout.str()


def test_a_repository_that_is_not_there_is_refused(offline: Project) -> None:
    offline.refuses(
        "--triton-repository", "nowhere", "nowhere is not a directory", "build", named=False
    )


def test_an_empty_repository_is_refused(offline: Project) -> None:
    (offline.path / "empty").mkdir()
    shown = offline.run("--triton-repository=empty")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: model repository empty is empty: build the models with *"])
