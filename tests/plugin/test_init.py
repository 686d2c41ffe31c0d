"""``gaitperf init``: what a project gets for the models that it has, and that it works."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_gaitperf.cli import main
from pytest_gaitperf.commands.init import grid_text
from pytest_gaitperf.config.grid import load_grid
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.model import ModelInfo, TensorSpec
from tests.plugin.baselines import UNMEASURED
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer

GRID, TESTS = "performance/grid.toml", "performance/test_performance.py"
JOB = ".github/workflows/performance.yml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose model repository has an odd name, beside directories that are none."""
    write_model(tmp_path / "served", "steady", sleep_s=0.002)
    write_model(
        tmp_path / "served",
        "open.one",
        inputs=[
            Tensor("image", "FP32", (3, -1, -1)),
            Tensor("ids", "INT64", (-1,)),
            Tensor("rest", "FP32", (-1, 7)),
        ],
        max_batch_size=4,
    )
    (tmp_path / "docs" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_what_a_gate_of_the_models_needs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the model repository served has 2 models: open.one, steady\n")
    assert "performance/grid.toml: the shapes of open.one are proposed" in " ".join(said.split())
    assert "next: pytest performance\n" in said
    grid = load_grid(GRID)
    assert (grid.models, grid.batch_sizes) == (("open.one", "steady"), (1, 4))
    settings = project_settings(project)
    assert (settings.grid, str(settings.triton_repository)) == (GRID, "served")
    assert {path.name for path in (project / "performance").iterdir()} == {
        "grid.toml",
        "test_performance.py",
    }
    text = (project / GRID).read_text()
    assert '[shapes."open.one"]\nimage = [3, 224, 224]\nids = [128]\nrest = [16, 7]\n' in text
    job = yaml.safe_load((project / JOB).read_text())["jobs"]["gate"]
    assert job["timeout-minutes"]
    assert "head.repo.full_name == github.repository" in job["if"], "a fork's code does not run"
    assert (project / ".gitignore").read_text().splitlines() == [
        "/performance-results.json",
        "/performance-report.html",
    ]


def test_what_is_there_is_left_alone_and_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"')
    (project / ".gitignore").write_text("*.pyc")
    assert main(["init"]) == 0
    assert (project / "pyproject.toml").read_text().startswith('[project]\nname = "x"\n\n[tool')
    assert (project / ".gitignore").read_text().startswith("*.pyc\n/performance-results.json\n")
    (project / TESTS).write_text("# mine\n")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["init"]) == 0
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    said = " ".join(capsys.readouterr().out.split())
    assert f"left as it was: {GRID}, {TESTS}, {JOB}, [tool.gaitperf] in pyproject.toml" in said
    assert "look at: pyproject.toml: all is there" in said


def test_a_gitignore_in_another_encoding_keeps_what_it_has(project: Path) -> None:
    (project / ".gitignore").write_bytes(b"# caf\xe9\n*.pyc")
    assert main(["init"]) == 0
    assert (project / ".gitignore").read_bytes() == (
        b"# caf\xe9\n*.pyc\n/performance-results.json\n/performance-report.html\n"
    )


def test_a_table_of_its_own_is_not_touched_but_told_what_it_lacks(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").write_text("[tool.gaitperf]\nbudget = 3\n")
    assert main(["init", "--no-ci"]) == 0
    assert (project / "pyproject.toml").read_text() == "[tool.gaitperf]\nbudget = 3\n"
    said = " ".join(capsys.readouterr().out.split())
    assert 'pyproject.toml: grid = "performance/grid.toml"; triton_repository = "served"' in said
    assert not (project / ".github").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "several directories hold models, other, served: name one with --repository"),
        (["--repository=none"], "none is not a directory"),
        (["--repository=docs/models"], "docs/models has no models"),
        (["--url=127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_what_it_cannot_tell_it_says_and_writes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    (project / "other" / "net" / "1").mkdir(parents=True)
    (project / "other" / "net" / "1" / "model.onnx").touch()
    assert main(["init", *arguments]) == 1
    assert problem in " ".join(capsys.readouterr().err.split())
    assert not (project / "performance").exists()
    assert not (project / "pyproject.toml").exists()


def test_without_any_model_it_says_where_one_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 1
    assert "gaitperf models import MODEL.onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("datatype", "shape", "proposed"),
    [
        ("FP32", (-1, 3, -1, -1), [1, 3, 224, 224]),
        ("FP32", (1, 3, -1, -1), [1, 3, 224, 224]),
        ("INT64", (-1, -1), [1, 128]),
        ("INT64", (-1,), [128]),
        ("FP32", (2, -1, 128), [2, 1, 128]),
    ],
)
def test_of_a_model_without_batches_an_open_first_size_is_taken_for_its_own(
    datatype: str, shape: tuple[int, ...], proposed: list[int]
) -> None:
    x = TensorSpec("x", datatype, shape)
    model = ModelInfo("net", ("1",), 0, (x,), (TensorSpec("y", "FP32", (1,)),))
    assert f"[shapes.net]\nx = {proposed}\n" in grid_text({"net": model})


@pytest.mark.slow
def test_the_next_commands_measure_record_and_gate(project: Path) -> None:
    assert main(["init"]) == 0
    # The test model answers with what it got: two of its inputs are images of 224 x 224.
    quick = ["-p", "no:cacheprovider", "--power=none", "--gaitperf-budget=1.5"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "performance", *quick, *more]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "CI": "1"}
        )

    done = run()
    assert done.returncode == UNMEASURED, done.stdout
    assert "no baseline" in done.stdout
    assert "open.one" in done.stdout
    done = run("--gaitperf-update=missing", "-k", "steady")
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert list((project / "baselines").glob("*/steady.json"))


def test_a_server_that_runs_is_asked(
    project: Path, server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", f"--url={server.url}"]) == 0
    assert f"the server at {server.url} has " in capsys.readouterr().out
    assert project_settings(project).triton_url == server.url
    assert "steady" in load_grid(GRID).models
