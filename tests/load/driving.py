"""What tests load a server with, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gaitperf.load.record import Observer
    from pytest_gaitperf.triton.server import TritonServer

GUARD_S = 20.0


def post(body: bytes = b"12345678") -> bytes:
    return b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def until(answered: int) -> Observer:
    """Go on until so many requests were answered or failed; a stuck load ends all the same."""
    end = time.monotonic() + GUARD_S
    return lambda record, _now_ns: (
        record.requests + record.failures < answered and time.monotonic() < end
    )


def counted_since(server: TritonServer, model: str, before: int, expected: int) -> int:
    """Return what the server counted; it books after it has answered."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        counted = server.statistics(model).inference_count - before
        if counted >= expected:
            break
        time.sleep(0.01)
    return counted
