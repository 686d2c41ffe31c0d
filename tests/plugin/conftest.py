"""A user's project, and real servers for it: the plugin is tested as it is met."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pytest_gaitperf
from pytest_gaitperf import read_results
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import (
    Tensor,
    write_decoupled_model,
    write_model,
    write_stateful_model,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell
    from pytest_gaitperf.triton.server import TritonServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def _loaded() -> None:
    """Load what a run in this process would load first: after it pytester unloads what is new.

    C extensions bear no second load, and a module of ours that is loaded twice has two of each
    class.
    """
    for module in pkgutil.walk_packages(pytest_gaitperf.__path__, "pytest_gaitperf."):
        with suppress(ModuleNotFoundError):  # what Triton loads, or an extra brings
            importlib.import_module(module.name)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_gaitperf.measure.cell._SHORTEST_WINDOW_S", 0.07)
    monkeypatch.setattr("pytest_gaitperf.measure.pairs.SHORTEST_VISIT_S", 0.3)
    monkeypatch.setattr("pytest_gaitperf.engine.reference._LOOK_S", 15.0)


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
    write_decoupled_model(repository, "streaming", answers=3, first_s=0.01, gap_s=0.005)
    write_stateful_model(repository, "remembering", sleep_s=0.01)
    write_model(repository, "spoilt", initialize_error="no weights here")
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
    recorded: Path = Path()

    @property
    def path(self) -> Path:
        """The directory that pytest is started in."""
        return self.pytester.path

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process, where windows are short, with the project's options."""
        return self.pytester.runpytest_inprocess(*self.options, _HURRIED, *arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own, as ``run`` does in this one."""
        return self.pytester.runpytest_subprocess(*self.options, *arguments)

    def grid(self, *models: str, batches: str = "[1]", concurrencies: str = "[1]") -> str:
        """Write a grid file and return the option that names it."""
        (self.path / "grid.toml").write_text(
            f"models = {json.dumps(models)}\n"
            f"batch_sizes = {batches}\nconcurrencies = {concurrencies}\n"
        )
        return "--gaitperf-grid=grid.toml"

    def record(self, profile: str = "here") -> None:
        """Bring a baseline of the model "steady" along, as if recorded before."""
        folder = self.path / "baselines" / profile
        shutil.copytree(self.recorded / profile, folder)

    def results(self, name: str = "results.json") -> dict[str, Any]:
        """Read a results file."""
        document: dict[str, Any] = json.loads((self.path / name).read_text())
        return document

    def cells(self, name: str = "results.json") -> dict[str, Cell]:
        """Read the cells of a results file, by id."""
        return {cell.id: cell for cell in read_results(self.path / name).cells}

    def measured(self, cell: str = "steady-b1-c1") -> Measurement:
        """Read what was measured of a cell in the results file."""
        measurement = self.cells()[cell].measurement
        assert measurement is not None
        return measurement

    def refuses(
        self, flag: str, value: str, *messages: str, named: bool = True, key: str = ""
    ) -> None:
        """Check that a bad value is refused, before anything is measured.

        On the command line and in the table; ``tests/config/test_settings.py`` has every way in.
        ``named``: the message says where it stood. ``key`` is the table's, where it is not the
        flag's.
        """
        key = key or flag.lstrip("-").removeprefix("gaitperf-").replace("-", "_")
        self._refused(*self.options, f"{flag}={value}", messages=(flag if named else "", *messages))
        (self.path / "pyproject.toml").write_text(f"[tool.gaitperf]\n{key} = {json.dumps(value)}\n")
        others = [option for option in self.options if option.partition("=")[0] != flag]
        self._refused(*others, messages=(f"pyproject.toml: {key}:" if named else "", *messages))

    def _refused(self, *arguments: str, messages: tuple[str, ...]) -> None:
        shown = self.pytester.runpytest_inprocess(*arguments, "--gaitperf-json=refused.json")
        text = shown.stdout.str() + shown.stderr.str()
        assert shown.ret == pytest.ExitCode.USAGE_ERROR, text
        plain = " ".join(text.split())
        for message in messages:
            assert message in plain, text
        assert "Traceback" not in text
        assert not (self.path / "refused.json").exists()


_HURRIED = "--gaitperf-budget=0.6"
"""A warm-up and six windows, as ``_in_a_hurry`` makes them; in another process it takes 2 s."""


# Hypothesis' plugin imports Hypothesis: that is most of the time of a short run.
_QUICKLY = (
    "-p",
    "no:hypothesispytest",
    "--power=none",
    "--gaitperf-budget=2",
    "--gaitperf-lives=1",
    "--gaitperf-tolerance=50%",
    "--gaitperf-must-hear=9000%",
    "--gaitperf-profile=here",
)


def _suite(path: Path) -> None:
    shutil.copy(ROOT / "suites" / "test_grid.py", path / "test_grid.py")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, server: TritonServer) -> Path:
    """Baselines of one session of steady-b1-c1, recorded by the plugin."""
    path = tmp_path_factory.mktemp("recorded")
    _suite(path)
    (path / "grid.toml").write_text("batch_sizes = [1]\nconcurrencies = [1]\n")
    command = (
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *_QUICKLY),
        *("--triton=attach", f"--triton-url={server.url}", "--gaitperf-grid=grid.toml"),
        *("--gaitperf-models=steady", "--gaitperf-update=missing"),
    )
    subprocess.run(command, cwd=path, check=True, timeout=120)
    return path / "baselines"


@pytest.fixture
def project(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    server: TritonServer,
    recorded: Path,
) -> Project:
    """The suite, with short cells on the shared server and no power meter."""
    monkeypatch.setenv("COLUMNS", "80")
    _suite(pytester.path)
    attach = ("--triton=attach", f"--triton-url={server.url}")
    return Project(pytester, (*attach, *_QUICKLY), recorded)


@pytest.fixture
def offline(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The suite, with two models in the repository and a server that is started for it."""
    write_model(pytester.path / "model_repository", "steady", sleep_s=0.02)
    write_model(pytester.path / "model_repository", "other", sleep_s=0.02)
    monkeypatch.setenv("COLUMNS", "80")
    _suite(pytester.path)
    return Project(pytester, ("--triton=local", *_QUICKLY))
