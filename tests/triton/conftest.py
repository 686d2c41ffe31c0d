from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import Tensor, write_broken_config, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of each kind, and three folders that cannot be served."""
    repository = tmp_path_factory.mktemp("served")
    write_model(repository, "identity")
    write_model(repository, "text", inputs=[Tensor("INPUT0", "BYTES", (1,))])
    write_model(
        repository,
        "two",
        inputs=[Tensor("B", "FP32", (3, 2)), Tensor("A", "INT64", (2,), optional=True)],
        outputs=[Tensor("SUM", "FP32", (4,))],
    )
    write_model(repository, "unbatched", max_batch_size=0)
    write_model(repository, "dynamic", inputs=[Tensor("INPUT0", "FP32", (-1, 2))])
    write_model(
        repository, "versioned", versions=(2, 10), extra_config="version_policy: { all { } }"
    )
    write_model(repository, "busy", sleep_s=0.25, burn_fraction=1.0)
    write_model(repository, "flaky", fail_every=2)
    write_model(repository, "raising", fail_every=2, fail_by_raising=True)
    write_model(repository, "raises", initialize_error="no weights here")
    write_broken_config(repository, "broken")
    (repository / "empty").mkdir()
    return repository


@pytest.fixture(scope="session")
def server(served: Path) -> Iterator[TritonServer]:
    """One local server for every test that only asks it things."""
    with open_server(ServerOptions(mode="local", repository=served)) as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One model, for a test that starts a server of its own."""
    repository = tmp_path / "repository"
    write_model(repository, "identity")
    return repository


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of its own, to see what is left in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder
