"""APIs that Triton itself restricts: they open with a header, and statistics are done without."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.triton import launch
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.way import PLAIN
from pytest_gaitperf.workload import Workload
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Protocol

pytestmark = pytest.mark.slow

QUICK = Budget(budget_s=2.0, precision=0.5, wanted_requests=())
KEYS = (("x-ask", "open"), ("triton-grpc-protocol-x-ask", "open"))


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton whose statistics nobody gets, and whose inferences want a header."""
    repository = tmp_path_factory.mktemp("restricted")
    write_model(repository, "sleepy", sleep_s=0.01)
    flags = launch._flags
    closed = (
        "--http-restricted-api=statistics:x-secret=nobody-knows",
        "--http-restricted-api=inference:x-ask=open",
        "--grpc-restricted-protocol=inference:x-ask=open",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_flags", lambda *told: [*flags(*told), *closed])
        with open_server(ServerOptions(mode="local", repository=repository)) as server:
            yield server


def attached(server: TritonServer, *headers: tuple[str, str]) -> ServerOptions:
    way = replace(PLAIN, headers=headers)
    return ServerOptions(mode="attach", url=server.url, grpc_port=server.grpc_port, way=way)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_can_be_measured_without_statistics_is_and_the_rest_is_said(
    restricted: TritonServer, protocol: Protocol
) -> None:
    with open_server(attached(restricted, *KEYS)) as server:
        assert "refused /v2/models/sleepy/stats" in server.statistics("sleepy").absent
        workload = Workload("sleepy", 1, 2, protocol=protocol)
        measured = measure(server, workload, Metering(), QUICK)
    assert measured.invalid is None
    assert measured.metrics["latency_p50"].value >= 0.01
    assert measured.time_split_s == {}
    (note,) = [note for note in measured.notes if "/stats" in note]
    assert "whether another client used the model, a cache answered" in note


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_restricted_inference_needs_its_header(
    restricted: TritonServer, protocol: Protocol
) -> None:
    workload = Workload("sleepy", 1, 2, protocol=protocol)
    with (
        open_server(attached(restricted)) as server,
        pytest.raises(MeasurementError, match=r"failed: .*restricted"),
    ):
        measure(server, workload, Metering(), QUICK)
