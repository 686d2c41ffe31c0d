from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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

    from pytest_gaitperf.triton.server import TritonServer


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A local server with every kind of model that a request can be made for."""
    repository = tmp_path_factory.mktemp("load")
    batching = "dynamic_batching { }"
    write_model(repository, "identity", max_batch_size=64, extra_config=batching)
    for datatype in ("INT64", "BOOL", "BYTES", "FP16", "UINT8"):
        write_model(repository, datatype.lower(), inputs=[Tensor("INPUT0", datatype, (2,))])
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
    write_model(repository, "large", inputs=[Tensor("INPUT0", "FP32", (500_000,))])
    write_model(repository, "sleepy", sleep_s=0.02, instances=4)
    write_model(repository, "flaky", fail_every=5)
    write_model(repository, "slow", sleep_s=0.5)
    write_stateful_model(repository, "state")
    write_stateful_model(
        repository, "oldest", told=True, strategy="oldest { max_candidate_sequences: 8 }"
    )
    write_decoupled_model(repository, "stream")
    write_decoupled_model(repository, "last", answers=2, first_s=0.002, final_with_last=True)
    write_decoupled_model(repository, "silent", answers=0)
    write_decoupled_model(repository, "broken", answers=2, first_s=0.0, fail_every=4)
    write_decoupled_model(repository, "many", answers=500, first_s=0.0, gap_s=0.0)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server
