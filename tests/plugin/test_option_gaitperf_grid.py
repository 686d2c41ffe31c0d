"""--gaitperf-grid: which cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def collected(project: Project, *arguments: str) -> list[str]:
    shown = project.run("--collect-only", "-q", "--gaitperf-models=steady", *arguments)
    assert shown.ret == pytest.ExitCode.OK, shown.stderr.str()
    ids = [line.partition("::")[2] for line in shown.outlines if "::" in line]
    return [name for name in ids if name.startswith("test_latency")]


def test_quick_is_the_default(project: Project) -> None:
    cells = [f"test_latency[steady-b{b}-c{c}]" for b in (1, 4) for c in (1, 4)]
    assert collected(project) == cells
    assert collected(project, "--gaitperf-grid=quick") == cells


def test_a_file_may_be_named_in_every_way_and_the_command_line_wins(offline: Project) -> None:
    for size in (1, 2):
        (offline.path / f"{size}.toml").write_text(f"batch_sizes = [{size}]\nconcurrencies = [5]")
    offline.pytester.makepyprojecttoml("[tool.gaitperf]\ngrid = '1.toml'\n")
    assert collected(offline) == ["test_latency[steady-b1-c5]"]
    assert collected(offline, "--gaitperf-grid=2.toml") == ["test_latency[steady-b2-c5]"]


def test_full_has_the_batches_that_the_model_takes(offline: Project) -> None:
    shown = offline.run("--gaitperf-grid=full", "--collect-only", "-q", "-k", "steady and latency")
    assert shown.ret == pytest.ExitCode.OK
    ids = [line.partition("[")[2].rstrip("]") for line in shown.outlines if "::" in line]
    loads = (1, 4, 8, 12, 16, 20, 24, 28, 32)
    assert ids == [f"steady-b{batch}-c{load}" for batch in (1, 4, 8) for load in loads]


def test_bad_grids_are_refused(offline: Project) -> None:
    offline.refuses(
        "--gaitperf-grid",
        "fast",
        "unknown grid 'fast'; give quick, full, or the path of a .toml file",
        named=False,
    )
    shown = offline.run("--gaitperf-grid=none.toml")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: none.toml: no such file"])
    (offline.path / "odd.toml").write_text("batches = [1]\n")
    shown = offline.run("--gaitperf-grid=odd.toml")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(
        ["ERROR: odd.toml: unknown key *batches* (*batch_sizes*); the keys are *"]
    )
