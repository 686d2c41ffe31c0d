from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from pytest_gaitperf.triton import launch, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.triton.docker_engine import Engine

pytest_plugins = ["pytester"]

# How long an example takes is the machine's affair, which others use too. The same examples each
# time; tests.campaigns.properties draws others.
settings.register_profile("gaitperf", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("gaitperf")

_ONE_SERVER = {Path("tests", room) for room in ("load", "measure", "triton")}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, and whole rooms whose tests share a server: it starts once."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415  only where it is installed

    class LoadRoomScheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            return str(file.parent if file.parent in _ONE_SERVER else file)

    return LoadRoomScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _as_on_a_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let pytest and the plugin write in tests as they do outside CI.

    There pytest cuts long summary lines, and the runs in tests would add to the job's summary.
    Their lock is this process's own: they need not wait for each other, nor for who measures here.
    Their servers are killed: to end a Triton as it wishes takes 3 s. They complete no config.pbtxt:
    for that a stub is started beside each model's, and takes 1.2 s to end.
    Others' use of the CPUs disturbs nothing but the tests of that.
    """
    flags = launch._flags
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "GRACE_S", 0.0)
        patch.setattr(
            launch, "_flags", lambda *given: [*flags(*given), "--disable-auto-complete-config"]
        )
        patch.setenv("GAITPERF_LOCK_DIR", str(tmp_path_factory.mktemp("lock")))
        patch.setenv("GAITPERF_DISTURBED", "1")
        for name in ("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def _polite(monkeypatch: pytest.MonkeyPatch) -> None:
    """End servers as the plugin does: asked first, and killed only if that does not help."""
    monkeypatch.setattr(process, "GRACE_S", launch.GRACE_S)


@pytest.fixture(scope="session")
def _one_docker() -> Iterator[Engine]:
    """Docker's real engine with the image; tests are skipped where none can be had."""
    from tests.triton.docker_engine import Engine, EngineError  # noqa: PLC0415  slow tests only

    with tempfile.TemporaryDirectory(prefix="docker-") as folder:
        try:
            engine = Engine(Path(folder))
            engine.start()
        except EngineError as error:
            pytest.skip(f"no real Docker engine here, and no test of it: {error}")
        try:
            engine.make_image()
            yield engine
        finally:
            engine.stop()


@pytest.fixture
def docker(_one_docker: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine, which the client of this process speaks to; it has no container."""
    for name, value in _one_docker.environment.items():
        monkeypatch.setenv(name, value)
    assert _one_docker.containers() == []
    return _one_docker
