"""What tests load a server with, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_gaitperf.load.connections import Connections
from pytest_gaitperf.load.loops import ClosedLoop

if TYPE_CHECKING:
    import pytest

    from pytest_gaitperf.load.record import LoadRecord, Observer
    from pytest_gaitperf.load.slot import Slot
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Protocol
    from tests.load.fake_server import FakeServer

GUARD_S = 20.0


def post(body: bytes = b"12345678") -> bytes:
    return b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def until(answered: int) -> Observer:
    """Go on until so many requests were answered or failed; a stuck load ends all the same."""
    end = time.monotonic() + GUARD_S
    return lambda record, _now_ns: (
        record.requests + record.failures < answered and time.monotonic() < end
    )


def load(
    server: FakeServer,
    *,
    concurrency: int = 2,
    answered: int = 40,
    request: bytes = b"",
    silence_s: float = 5.0,
    protocol: Protocol = "http",
) -> LoadRecord:
    """Load a fake server in a closed loop until so many requests were answered or failed."""
    with ClosedLoop(
        "127.0.0.1",
        server.port,
        [[request or post()]],
        concurrency,
        protocol=protocol,
        silence_s=silence_s,
    ) as closed_loop:
        return closed_loop.run(until(answered), 0.001)


def grpc_load(
    server: FakeServer,
    *,
    concurrency: int = 2,
    answered: int = 40,
    message: bytes = b"question",
    silence_s: float = 5.0,
) -> LoadRecord:
    """Load a fake gRPC server in a closed loop until so many calls were answered or failed."""
    return load(
        server,
        concurrency=concurrency,
        answered=answered,
        request=message,
        silence_s=silence_s,
        protocol="grpc",
    )


def connections_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the time (monotonic, ns) when each connection has been made."""
    made_ns: list[int] = []
    connect = Connections.connect

    def noted(connections: Connections, slot: Slot) -> None:
        connect(connections, slot)
        made_ns.append(time.monotonic_ns())

    monkeypatch.setattr(Connections, "connect", noted)
    return made_ns


def counted_since(server: TritonServer, model: str, before: int, expected: int) -> int:
    """Return what the server counted; it books after it has answered."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        counted = server.statistics(model).inference_count - before
        if counted >= expected:
            break
        time.sleep(0.01)
    return counted
