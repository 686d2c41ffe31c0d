"""From a workload to the load that it asks for."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_gaitperf.load.connections import Connections
from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.grpc import GrpcConnections
from pytest_gaitperf.load.http import MOST_IN_FLIGHT, ClosedLoop, OpenLoop
from pytest_gaitperf.load.schedule import send_offsets_ns
from pytest_gaitperf.load.shared_memory import SharedTensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.load.encode import Sample
    from pytest_gaitperf.load.record import Load
    from pytest_gaitperf.triton.models import ModelInfo
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

_SECONDS_IN_FLIGHT = 4.0
_FEWEST_SLOTS = 16


@contextmanager
def open_load(
    server: TritonServer, model: ModelInfo, workload: Workload, samples: Sequence[Sample]
) -> Iterator[Load]:
    """Encode the samples, place them in shared memory where asked, and open the load.

    It may send a few inferences to learn the outputs' sizes: read the server's counters inside.

    Raises
    ------
    MeasurementError
        The server cannot be loaded in this way.
    ServerError
        It does not answer.
    """
    slots = workload.concurrency or _open_slots(workload.sends_per_s)
    with ExitStack() as stack:
        shared = None
        if workload.transport == "shm":
            tensors = SharedTensors(server.api, model, workload, samples, slots)
            shared = stack.enter_context(tensors)
        over: type[Connections]
        if workload.protocol == "grpc":
            requests, over = encode_grpc(model, workload, samples, shared), GrpcConnections
            port = server.grpc_port
        else:
            requests, over = encode_http(model, workload, server.url, samples, shared), Connections
            port = server.http_port
        load: Load
        if workload.concurrency:
            load = ClosedLoop(server.host, port, requests, slots, over=over)
        else:
            offsets_ns = send_offsets_ns(workload.sends_per_s, workload.arrival)
            load = OpenLoop(
                server.host, port, requests, offsets_ns, over=over, most_in_flight=slots
            )
        yield stack.enter_context(load)


def _open_slots(rate_per_s: float) -> int:
    """Return how many requests of an open loop may be in flight: what is due in four seconds.

    A server that is further behind has a backlog anyway, whose latencies count from the schedule;
    and what is in flight has to be waited for at the end of the load.
    """
    return min(max(math.ceil(_SECONDS_IN_FLIGHT * rate_per_s), _FEWEST_SLOTS), MOST_IN_FLIGHT)
