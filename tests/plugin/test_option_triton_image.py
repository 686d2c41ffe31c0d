"""--triton-image: the container image, through a fake docker that runs a local server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

pytestmark = pytest.mark.usefixtures("_polite")

FAKE = Path(__file__).parents[1] / "triton" / "fake_docker.py"
SHOW = """
def test_it(triton_server):
    print("it is", triton_server.mode, "with", *triton_server.models())
"""


@pytest.fixture
def calls(offline: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake engine on PATH, and return the file of its calls."""
    folder = offline.path / "bin"
    folder.mkdir()
    script = folder / "docker"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER_STATE", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[2]))
    offline.pytester.makepyfile(test_own=SHOW)
    return folder / "calls"


@pytest.mark.slow
def test_docker_runs_the_fields_command_line_with_the_default_image(
    offline: Project, calls: Path
) -> None:
    shown = offline.run("-s", "test_own.py", "--triton=docker")
    shown.stdout.fnmatch_lines(["Triton * (docker)", "*it is docker with other steady"])
    (run,) = [call for call in calls.read_text().splitlines() if call.startswith("run ")]
    assert "--runtime nvidia --net=host --ipc=host" in run
    assert "nvcr.io/nvidia/tritonserver:24.01-py3-igpu tritonserver --model-repository=/" in run


def test_the_image_is_the_one_asked_for(
    offline: Project, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DOCKER_ERROR", "Error response from daemon: No such image: own:1")
    offline.pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_image = 'other:2'\n")
    shown = offline.run("test_own.py", "--triton=docker", "--triton-image=own:1")
    shown.assert_outcomes(errors=1)
    assert " own:1 tritonserver " in calls.read_text()
    shown.stdout.fnmatch_lines(["*fetch the image with 'docker pull own:1', or name another with*"])
