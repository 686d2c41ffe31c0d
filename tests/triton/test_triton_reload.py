"""Models that begin a new life on a server that goes on, over a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton import control
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.placement import own_processes
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("controlled")
    for name in ("one", "other"):
        write_model(repository, name)
    with open_server(
        ServerOptions(mode="local", repository=repository, models=("one", "other"))
    ) as server:
        yield server


def test_only_a_server_in_the_mode_explicit_controls_its_models(
    server: TritonServer, controlled: TritonServer
) -> None:
    assert not server.api.controls_models()
    assert controlled.api.controls_models()
    assert controlled.models() == ("one", "other"), "asking changes nothing"


@pytest.mark.slow
def test_a_model_is_loaded_again_and_the_others_are_left_alone(controlled: TritonServer) -> None:
    before = set(controlled.cpu_clocks())
    controlled.reload(["one"])
    after = set(controlled.cpu_clocks())
    assert controlled.models() == ("one", "other")
    assert len(before - after) == len(after - before) == 1


@pytest.mark.slow
def test_where_memory_is_short_the_old_process_ends_before_the_new_one_begins(
    controlled: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[int, ...]] = []
    loads = controlled.api.load

    def load(*arguments: Any, **more: Any) -> None:
        left.append(own_processes(controlled.server_pid, "one"))
        loads(*arguments, **more)

    monkeypatch.setattr(controlled.api, "load", load)
    controlled.reload(["one"])
    monkeypatch.setattr(control, "hold_twice", lambda _pids: False)
    controlled.reload(["one"])
    assert [len(one) for one in left] == [1, 0]


@pytest.mark.slow
def test_a_model_that_does_not_load_again_is_named_with_what_to_do(
    controlled: TritonServer, tmp_path: Path
) -> None:
    folder = controlled._options.repository / "other"
    folder.rename(tmp_path / "other")
    try:
        with pytest.raises(ServerError, match=r"not loaded again: other: .*models/NAME/load"):
            controlled.reload(["other", "one"])
        assert controlled.models() == ("one",)
    finally:
        (tmp_path / "other").rename(folder)
    controlled.api.load("other", 60.0)


def test_a_server_that_refuses_changes_nothing(server: TritonServer) -> None:
    models = server.models()
    with pytest.raises(ServerError, match="explicit model load / unload is not allowed"):
        server.reload(models)
    assert server.models() == models
