"""A user's project, and real servers for it: the plugin is tested as it is met."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.triton.options import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer

ROOT = Path(__file__).parents[2]
DECOUPLED = "model_transaction_policy { decoupled: true }"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of the shared server: models that sleep, and odd ones."""
    repository = tmp_path_factory.mktemp("served")
    write_model(repository, "slow", sleep_s=0.03)
    write_model(repository, "steady", sleep_s=0.02)
    write_model(repository, "dynamic", inputs=[Tensor("ROWS", "FP32", (-1, 2))], sleep_s=0.01)
    write_model(repository, "flaky", sleep_s=0.005, fail_every=20)
    write_model(repository, "refusing", fail_every=1)
    write_model(repository, "text", inputs=[Tensor("INPUT0", "BYTES", (1,))], sleep_s=0.01)
    write_model(
        repository,
        "two",
        inputs=[Tensor("B", "FP32", (3, 2)), Tensor("A", "INT64", (2,))],
        outputs=[Tensor("SUM", "FP32", (4,))],
        max_batch_size=0,
        sleep_s=0.01,
    )
    write_model(repository, "streaming", extra_config=DECOUPLED)
    return repository


@pytest.fixture(scope="session")
def server(served: Path) -> Iterator[TritonServer]:
    """One server for every test that need not start its own."""
    with open_server(ServerOptions(mode="local", repository=served)) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Project:
    """A user's directory with the gait suite in it."""

    pytester: pytest.Pytester
    options: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The directory that pytest is started in."""
        return self.pytester.path

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own, with the project's options before these."""
        return self.pytester.runpytest_subprocess(*self.options, *arguments)

    def grid(self, *models: str, batches: str = "[1]", concurrencies: str = "[1]") -> str:
        """Write a grid file and return the option that names it."""
        (self.path / "grid.toml").write_text(
            f"models = {json.dumps(models)}\n"
            f"batch_sizes = {batches}\nconcurrencies = {concurrencies}\n"
        )
        return "--gaitperf-grid=grid.toml"

    def results(self, name: str = "results.json") -> dict[str, Any]:
        """Read a results file."""
        document: dict[str, Any] = json.loads((self.path / name).read_text())
        return document

    def cells(self, name: str = "results.json") -> dict[str, dict[str, Any]]:
        """Read the cells of a results file, by id."""
        return {cell["id"]: cell for cell in self.results(name)["cells"]}

    def refuses(self, flag: str, value: str, *messages: str) -> None:
        """Check that a bad value is refused, wherever it stands, before anything is measured."""
        key = flag.lstrip("-").removeprefix("gaitperf-").replace("-", "_")
        pyproject = self.path / "pyproject.toml"
        before = pyproject.read_text() if pyproject.exists() else ""
        self._refused(f"{flag}={value}", messages=(flag, *messages))
        self._refused("-o", f"gaitperf_{key}={value}", messages=(f"gaitperf_{key}", *messages))
        pyproject.write_text(f"{before}\n[tool.gaitperf]\n{key} = {json.dumps(value)}\n")
        self._refused(messages=(key, *messages))
        pyproject.write_text(before)

    def _refused(self, *arguments: str, messages: tuple[str, ...]) -> None:
        shown = self.run(*arguments, "--gaitperf-json=refused.json")
        text = shown.stdout.str() + shown.stderr.str()
        assert shown.ret == pytest.ExitCode.USAGE_ERROR, text
        plain = " ".join(text.split())
        for message in messages:
            assert message in plain, text
        assert "Traceback" not in text
        assert not (self.path / "refused.json").exists()


def _project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *options: str) -> Project:
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copy(ROOT / "suites" / "test_grid.py", pytester.path / "test_grid.py")
    return Project(pytester, options)


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server: TritonServer
) -> Project:
    """The suite, with short cells on the shared server and no power meter."""
    return _project(
        pytester,
        monkeypatch,
        "--triton=attach",
        f"--triton-url={server.url}",
        "--power=none",
        "--gaitperf-budget=2",
        "--gaitperf-tolerance=20%",
    )


@pytest.fixture
def offline(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The suite, with nothing at the URL and two models in the repository."""
    write_model(pytester.path / "model_repository", "steady", sleep_s=0.02)
    write_model(pytester.path / "model_repository", "other", sleep_s=0.02)
    return _project(
        pytester,
        monkeypatch,
        "--triton=local",
        "--power=none",
        "--gaitperf-budget=2",
        "--gaitperf-tolerance=20%",
    )
