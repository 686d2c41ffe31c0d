"""A server in a container, which an executable that stands for docker runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton import api
from pytest_gaitperf.triton.launch import Docker, Local, ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.infer import infer, regions, tree, wait_gone
from tests.triton.models import write_model

pytestmark = pytest.mark.usefixtures("_polite")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = tmp_path / "repository"
    write_model(repository, "identity")
    return repository


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake on PATH; return the file with its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    executable = folder / "docker"
    # Run by this Python, which has the wheel.
    executable.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "fake_docker.py"}" "$@"\n'
    )
    executable.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_DOCKER_STATE", str(state))
    return state / "calls"


@pytest.mark.slow
def test_docker_runs_the_command_line_of_the_field(
    repository: Path, temporary: Path, fake_docker: Path
) -> None:
    options = ServerOptions(mode="docker", repository=repository, image="example/triton:1")
    with open_server(options) as server:
        assert server.mode == "docker"
        assert server.models() == ("identity",)
        assert infer(server.url, "identity")[0] == 200
        assert server.process is not None
        assert server.server_pid is not None
        assert server.server_pid != server.process.pid
        pids = tree(server.server_pid)
        seconds = server.cpu_seconds()
        assert seconds is not None
        assert seconds > 0
    assert wait_gone(pids) == []
    run, inspect, stop, *_ = fake_docker.read_text().splitlines()
    name = run.split("--name ")[1].split()[0]
    assert run.startswith(
        f"run --rm --pull=never --runtime nvidia --net=host --ipc=host --name {name} "
        f"-v {repository}:/models:ro example/triton:1 tritonserver --model-repository=/models "
    )
    assert "--http-address=127.0.0.1" in run
    assert inspect.endswith(name)
    assert stop == f"stop -t 6 {name}"
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_container_does_not_outlive_the_client_that_ran_it(
    repository: Path, temporary: Path, fake_docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "DEFAULT_URL", "127.0.0.1:1")
    monkeypatch.setattr(Local, "find", lambda: None)
    server = open_server(ServerOptions(mode="auto", repository=repository))
    assert server.mode == "docker", "nothing to attach to, and no server is installed"
    assert server.process is not None
    assert server.server_pid is not None
    pids = tree(server.server_pid)
    memory = regions(pids)
    # The client of the engine is killed; the container goes on until it is told.
    os.kill(server.process.pid, signal.SIGKILL)
    assert server.process.wait(20) == 128 + signal.SIGKILL
    with pytest.raises(ServerError, match="was killed by SIGKILL"):
        server.check_alive()
    server.close()
    assert wait_gone(pids) == []
    assert [region for region in memory if region.exists()] == []
    assert "kill gaitperf-" in fake_docker.read_text()


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
    ],
)
def test_the_engines_own_message_and_what_to_do(
    repository: Path,
    fake_docker: Path,
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
