"""What tests load a server with, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gaitperf.load.record import Observer

GUARD_S = 20.0


def post(body: bytes = b"12345678") -> bytes:
    return b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def until(answered: int) -> Observer:
    """Go on until so many requests were answered or failed; a stuck load ends all the same."""
    end = time.monotonic() + GUARD_S
    return lambda record, _now_ns: (
        record.requests + record.failures < answered and time.monotonic() < end
    )
