"""A server in a container of Docker's real engine: its start, its end, and every way to lose it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import lease
from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.docker_engine import IMAGE, Engine
from tests.triton.infer import infer, regions, tree, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_polite", "temporary")]

_OWNER = """
import sys
from pathlib import Path
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server

repository, image = sys.argv[1:]
with open_server(ServerOptions("docker", repository=Path(repository), image=image)) as server:
    process = server.process
    print(process._supervisor.pid, process.pid, server.server_pid, server.url, flush=True)
    sys.stdin.read()
"""
_ENDS_S = 30.0


@pytest.fixture
def options(repository: Path) -> ServerOptions:
    return ServerOptions(mode="docker", repository=repository, image=IMAGE)


class Run:
    """A process that owns a server in a container, as pytest does; ``parts`` are its processes."""

    def __init__(self, repository: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWNER, str(repository), IMAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parts = {"pytest": self.process.pid}
        self.family: list[int] = []

    def wait_ready(self) -> None:
        """Wait for the server."""
        assert self.process.stdout is not None
        *pids, self.url = self.process.stdout.readline().split()
        self.parts |= zip(("supervisor", "client", "server"), map(int, pids), strict=True)
        self.family = [*self.parts.values(), *tree(self.parts["server"])[1:]]
        self.regions = regions(self.family)

    def kill(self, *parts: str) -> None:
        """Kill some of its processes."""
        for part in parts:
            os.kill(self.parts[part], signal.SIGKILL)

    def close(self) -> None:
        """Let it end, if it still is there."""
        with self.process:  # closes its stdin
            pass


@pytest.fixture
def runs(docker: Engine, repository: Path) -> Iterator[list[Run]]:
    """Two runs at once, which are about to start."""
    runs = [Run(repository), Run(repository)]
    yield runs
    for run in runs:
        run.close()


def none_is_left(docker: Engine, within_s: float = _ENDS_S) -> bool:
    """Wait for the end of the last container."""
    deadline = time.monotonic() + within_s
    while docker.containers() and time.monotonic() < deadline:
        time.sleep(0.2)
    return docker.containers() == []


def test_a_server_runs_in_a_container_and_ends_with_it(
    docker: Engine, options: ServerOptions, temporary: Path
) -> None:
    with open_server(options) as server:
        assert (server.mode, server.models()) == ("docker", ("identity",))
        assert infer(server.url, "identity")[0] == 200
        assert server.process is not None
        assert docker.containers() == [server.process.directory.name]
        assert server.server_pid is not None
        assert server.server_pid != server.process.pid
        family = tree(server.server_pid)
        memory = regions(family)
        assert memory != []
        assert (server.cpu_seconds() or 0) > 0
        # Whose container it is can be seen, and its processes can be placed.
        assert server.keep_on(family, {0})
        assert all(os.sched_getaffinity(pid) == {0} for pid in family)
    assert docker.containers() == []
    assert wait_gone(family) == []
    assert [region for region in memory if region.exists()] == []
    assert list(temporary.iterdir()) == []


# The campaign of faults kills the client alone, and pytest with any of the others.
@pytest.mark.parametrize(
    "parts",
    [
        ("supervisor",),
        ("server",),
        ("supervisor", "client"),
        ("client", "supervisor", "pytest"),
    ],
    ids="+".join,
)
def test_whatever_is_killed_the_container_ends_and_another_run_keeps_its_own(
    docker: Engine, runs: list[Run], parts: tuple[str, ...], temporary: Path
) -> None:
    hit, other = runs
    for run in runs:
        run.wait_ready()
    hit.kill(*parts)
    if "pytest" in parts:  # which is our child, and waited for
        hit.process.wait()
    assert wait_gone([pid for pid in hit.family if pid != hit.process.pid], _ENDS_S) == []
    assert infer(other.url, "identity")[0] == 200
    for run in runs:
        run.close()
    assert none_is_left(docker)
    assert wait_gone(hit.family + other.family) == []
    lease.sweep()
    assert [region for run in runs for region in run.regions if region.exists()] == []
    assert list(temporary.iterdir()) == []


def test_containers_end_when_an_engine_that_stood_still_goes_on(
    docker: Engine, runs: list[Run], repository: Path
) -> None:
    for run in runs:
        run.wait_ready()
    docker.stand_still()
    early = Run(repository)  # asks for a container that is not there yet
    time.sleep(3)
    early.kill("pytest")
    early.close()
    runs[0].kill("pytest")
    runs[1].kill("pytest", "supervisor", "client")
    time.sleep(10)  # beyond what one attempt to remove it may take
    docker.go_on()
    assert none_is_left(docker, 2 * _ENDS_S)
    assert wait_gone(runs[0].family + runs[1].family) == []
    time.sleep(2)
    assert docker.containers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_started_again_has_no_container_of_ours(
    docker: Engine, options: ServerOptions, temporary: Path, number: int
) -> None:
    server = open_server(options)
    assert server.server_pid is not None
    family = tree(server.server_pid)
    docker.stop(number)
    if number == signal.SIGTERM:
        assert wait_gone(family) == []
        with pytest.raises(ServerError):
            server.check_alive()
    docker.start()
    server.close()
    assert none_is_left(docker)
    assert wait_gone(family) == []
    with open_server(options) as again:
        assert infer(again.url, "identity")[0] == 200
    assert list(temporary.iterdir()) == []


def test_the_next_start_removes_what_nobody_ends(
    docker: Engine, options: ServerOptions, runs: list[Run]
) -> None:
    """A container that does not watch its stdin, as those of earlier versions did not."""
    run, _ = runs
    run.wait_ready()
    program = "from pytest_gaitperf.lease import prefix; print(prefix('triton'), end='')"
    name = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    docker.docker("run", "--detach", "--name", f"{name}x", "--net=host", IMAGE, "sleep", "600")
    docker.docker("run", "--detach", "--name", "a-colleague", "--net=host", IMAGE, "sleep", "600")
    with open_server(options):
        assert f"{name}x" not in docker.containers()
        assert "a-colleague" in docker.containers()
    assert infer(run.url, "identity")[0] == 200
    docker.docker("rm", "--force", "a-colleague")


def test_what_the_engine_refuses_is_told_with_what_to_do(
    docker: Engine, options: ServerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(image: str = IMAGE) -> str:
        with pytest.raises(ServerError) as info:
            open_server(ServerOptions("docker", repository=options.repository, image=image))
        return str(info.value)

    missing = refused("example/triton:1")
    assert "o such image: example/triton:1" in missing
    assert "fetch the image with 'docker pull example/triton:1'" in missing
    docker.stop()
    assert "sudo systemctl start docker" in refused()
    docker.start(nvidia=False)
    try:
        assert "install the NVIDIA container toolkit and restart docker" in refused()
    finally:
        docker.stop()
        docker.start()
