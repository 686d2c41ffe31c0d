"""What a container is run with, and what to do where the engine refuses: with a fake that refuses.

``test_docker_engine.py`` has a real engine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import way
from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton.launch import Docker, Local, ServerOptions
from pytest_gaitperf.triton.server import open_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_polite")


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake docker on PATH, which refuses with $FAKE_DOCKER_ERROR; return its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\necho "docker: $FAKE_DOCKER_ERROR" >&2\nexit 125\n'
    )
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "calls"


def test_a_container_has_the_command_line_of_the_field(
    repository: Path, refusing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "DEFAULT_URL", "127.0.0.1:1")
    monkeypatch.setattr(Local, "find", lambda: None)
    with pytest.raises(ServerError, match="exited with status 125"):
        # Nothing to attach to, and no server is installed.
        open_server(ServerOptions(mode="auto", repository=repository, image="example/triton:1"))
    (run,) = [call for call in refusing.read_text().split("\n") if call.startswith("run ")]
    name = run.split("--name ")[1].split()[0]
    assert run.startswith(
        "run --interactive --rm --pull=never --runtime nvidia --net=host --ipc=host "
        f"--name {name} -v {repository}:/models:ro example/triton:1 sh -c "
    )
    assert f"sh tritonserver --model-repository=/models --id={name}" in refusing.read_text()
    assert "--http-address=127.0.0.1" in refusing.read_text()


@pytest.mark.parametrize(
    ("engine", "advice"),
    [
        (
            "Cannot connect to the Docker daemon. Is the docker daemon running?",
            "systemctl start docker",
        ),
        ("Error response from daemon: No such image: x/y:1.", "docker pull example/triton:1"),
        ("permission denied while trying to connect to the Docker daemon socket", "group 'docker'"),
        ("unknown or invalid runtime name: nvidia.", "container toolkit"),
        ("Error response from daemon: Unknown runtime specified nvidia.", "container toolkit"),
    ],
)
def test_the_engines_own_message_and_what_to_do(
    repository: Path,
    refusing: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    advice: str,
) -> None:
    monkeypatch.setenv("FAKE_DOCKER_ERROR", engine)
    with pytest.raises(ServerError) as info:
        open_server(ServerOptions(mode="docker", repository=repository, image="example/triton:1"))
    assert engine in str(info.value)
    assert advice in str(info.value)


def test_docker_that_is_not_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "find", lambda: None)
    with pytest.raises(ServerError, match="tried docker: no executable 'docker'"):
        open_server(ServerOptions(mode="docker", repository=repository))
