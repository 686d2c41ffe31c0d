"""``--triton-load``: models of a running explicit server, for as long as the run lasts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server in the mode explicit with one model loaded of three."""
    repository = tmp_path_factory.mktemp("explicit")
    for name in ("loaded", "wanted", "half[fp16]"):
        write_model(repository, name, sleep_s=0.01)
    write_model(repository, "broken", initialize_error="no weights here")
    options = ServerOptions(mode="local", repository=repository, models=("loaded",))
    with open_server(options) as server:
        yield server


def ready(server: TritonServer) -> set[str]:
    """Wait for what is being unloaded, and return what is ready then."""
    patience = time.monotonic() + 30
    while any(one.state == "UNLOADING" for one in server.index()) and time.monotonic() < patience:
        time.sleep(0.05)
    return set(server.models())


def options(project: Project, server: TritonServer) -> list[str]:
    others = [one for one in project.options if not one.startswith("--triton")]
    return [f"--triton-url={server.url}", *others, project.grid("*")]


@pytest.mark.slow
def test_what_is_asked_for_is_loaded_measured_and_unloaded(
    project: Project, explicit: TritonServer
) -> None:
    shown = project.pytester.runpytest_inprocess(
        *options(project, explicit),
        *("--triton-load=want*,half[fp16],loaded,broken", "--gaitperf-update=missing"),
        *("-k", "throughput", "--gaitperf-json=results.json"),
    )
    shown.assert_outcomes(passed=3, deselected=9)
    assert set(project.cells()) == {"loaded-b1-c1", "wanted-b1-c1", "half[fp16]-b1-c1"}
    shown.stdout.fnmatch_lines(["not measured: broken: *no weights here*"])
    assert ready(explicit) == {"loaded"}, "what was loaded before stays, the rest is as it was"


@pytest.mark.slow
def test_without_it_nothing_is_loaded_and_the_reason_names_it(
    project: Project, explicit: TritonServer
) -> None:
    shown = project.pytester.runpytest_inprocess(
        *options(project, explicit), "--gaitperf-models=wanted", "-k", "throughput"
    )
    shown.stdout.fnmatch_lines(["*not loaded: give --triton-load=wanted*"])
    assert ready(explicit) == {"loaded"}


@pytest.mark.slow
def test_a_pattern_of_nothing_is_refused_and_nothing_is_loaded(
    project: Project, explicit: TritonServer
) -> None:
    load = "--triton-load=half[fp16],wantd"
    shown = project.pytester.runpytest_inprocess(*options(project, explicit), load)
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "has no 'wantd' (did you mean 'wanted'?" in text
    assert ready(explicit) == {"loaded"}


def test_a_server_that_loads_nothing_on_request_is_refused(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--triton-load=steady")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "loads no models on request: start it with --model-control-mode=explicit" in text
