from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer


@pytest.fixture(scope="session")
def measured_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One server for every test of cells, whose models are as fast as their names say."""
    repository = tmp_path_factory.mktemp("runner")
    write_model(repository, "identity", max_batch_size=64, extra_config="dynamic_batching { }")
    write_model(repository, "sleepy", sleep_s=0.02)
    write_model(repository, "slow", sleep_s=0.3)
    write_model(repository, "flaky", fail_every=3)
    write_model(repository, "dynamic", inputs=[Tensor("INPUT0", "FP32", (-1, 2))])
    write_model(repository, "streams", extra_config="model_transaction_policy { decoupled: true }")
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server
