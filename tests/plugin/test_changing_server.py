"""A server whose models come and go: what was expected of them does not go missing in silence."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import Outcome, read_results
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.plugin.baselines import UNMEASURED
from tests.plugin.conftest import ROOT, Project
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer

JSON = "--gaitperf-json=results.json"
PAST_ALL_PRECISION = ("--gaitperf-budget=3", "--gaitperf-precision=0.01%")
"""A cell that takes its whole budget: there is time to change something meanwhile."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the changing server can load."""
    repository = tmp_path_factory.mktemp("changing")
    for name in ("first", "half[fp16]", "other", "upgraded"):
        write_model(repository, name, sleep_s=0.01, extra_config="version_policy { all {} }")
    return repository


@pytest.fixture(scope="module")
def changing(repository: Path) -> Iterator[TritonServer]:
    """A server that loads and unloads what it is told."""
    options = ServerOptions(mode="local", repository=repository, models=("first",))
    with open_server(options) as server:
        yield server


def change(server: TritonServer, name: str, what: str) -> None:
    server.api.request("POST", f"/v2/repository/models/{name}/{what}", "{}")
    while any((one.name, one.state) == (name, "UNLOADING") for one in server.index()):
        time.sleep(0.05)


@pytest.fixture
def attached(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, changing: TritonServer
) -> Project:
    """The suite on the server that changes, with one short cell of each model."""
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copy(ROOT / "suites" / "test_grid.py", pytester.path)
    options = ("-p", "no:hypothesispytest", f"--triton-url={changing.url}", "--power=none")
    rules = ("--gaitperf-tolerance=50%", "--gaitperf-must-hear=9000%", "--gaitperf-profile=here")
    project = Project(pytester, (*options, *rules))
    return replace(project, options=(*project.options, project.grid("*")))


def soon(server: TritonServer, *changes: tuple[str, str]) -> Thread:
    """Change something while the first cell that is measured now has a load."""

    def wait() -> None:
        first = changes[0][0]
        before = server.statistics(first).success_count
        while server.statistics(first).success_count < before + 40:
            time.sleep(0.02)
        for name, what in changes:
            change(server, name, what)

    thread = Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_server_with_nothing_loaded_is_to_load_something(
    attached: Project, changing: TritonServer
) -> None:
    change(changing, "first", "unload")
    shown = attached.run("-k", "throughput", "--gaitperf-update=missing", JSON)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    text = " ".join(shown.stdout.str().split())
    assert "model 'first' is not ready: not loaded: give --triton-load=first, or load it" in text
    assert "models build" not in text
    change(changing, "first", "load")


@pytest.mark.slow
def test_an_expected_model_that_is_not_served_neither_ends_the_lives_of_others_nor_is_loaded(
    attached: Project, changing: TritonServer
) -> None:
    expected = "--gaitperf-models=first,other"
    lives = ("--gaitperf-lives=2", "--gaitperf-budget=5")
    shown = attached.run("-k", "throughput", expected, *lives, "--gaitperf-update=missing", JSON)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    cells = attached.cells()
    assert "not loaded: give --triton-load=other" in (cells["other-b1-c1"].error or "")
    assert attached.measured("first-b1-c1").lives == 2
    assert changing.models() == ("first",)


@pytest.mark.slow
def test_a_name_with_brackets_is_a_name(attached: Project, changing: TritonServer) -> None:
    change(changing, "half[fp16]", "load")
    shown = attached.run(
        *("-k", "throughput", "--gaitperf-models=half[fp16]", "--gaitperf-update=missing", JSON)
    )
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert [cell.id for cell in read_results(attached.path / "results.json").cells] == [
        "half[fp16]-b1-c1"
    ]
    change(changing, "half[fp16]", "unload")


@pytest.mark.slow
def test_an_older_version_does_not_stand_in_for_the_newest(
    attached: Project, changing: TritonServer, repository: Path
) -> None:
    change(changing, "upgraded", "load")
    arguments = ("-k", "throughput", "--gaitperf-models=first,upgraded", JSON)
    assert attached.run(*arguments, "--gaitperf-update=missing").ret == pytest.ExitCode.OK
    newest = repository / "upgraded" / "2"
    shutil.copytree(repository / "upgraded" / "1", newest)
    (newest / "model.py").write_text("raise RuntimeError('no weights here')\n")
    change(changing, "upgraded", "load")
    shown = attached.run(*arguments)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    shown.stdout.fnmatch_lines(
        ["upgraded-b1-c1 could not be measured: model 'upgraded' *version 2 could not be loaded:*"]
    )
    outcomes = {
        cell.id: cell.outcome for cell in read_results(attached.path / "results.json").cells
    }
    assert outcomes["first-b1-c1"] is Outcome.GREEN
    change(changing, "upgraded", "unload")


@pytest.mark.slow
def test_a_model_that_goes_away_meanwhile_was_expected(
    attached: Project, changing: TritonServer
) -> None:
    change(changing, "other", "load")
    changes = soon(changing, ("first", "unload"), ("other", "unload"))
    shown = attached.run("-k", "throughput", "--gaitperf-update=missing", JSON, *PAST_ALL_PRECISION)
    changes.join()
    assert shown.ret == UNMEASURED, shown.stdout.str()
    run = read_results(attached.path / "results.json")
    assert {cell.id: cell.outcome for cell in run.cells} == {
        "first-b1-c1": Outcome.UNMEASURED,
        "other-b1-c1": Outcome.UNMEASURED,
    }
    assert "other" in " ".join(run.reasons)
    change(changing, "first", "load")


@pytest.mark.slow
def test_a_model_that_is_loaded_again_is_no_cache(
    attached: Project, changing: TritonServer, repository: Path
) -> None:
    source = repository / "first" / "1" / "model.py"
    source.write_text(source.read_text() + "# anew\n")
    changes = soon(changing, ("first", "load"))
    shown = attached.run("-k", "throughput and first", *PAST_ALL_PRECISION)
    changes.join()
    assert shown.ret == UNMEASURED, shown.stdout.str()
    shown.stdout.fnmatch_lines(["*is invalid: *the model was loaded again meanwhile*"])
