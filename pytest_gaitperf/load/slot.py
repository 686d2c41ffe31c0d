"""A request slot: a connection, and the request in flight on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.load.sequences import SequenceRequests

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.load.tls import TlsSocket
    from pytest_gaitperf.load.wire_grpc import GrpcWire
    from pytest_gaitperf.load.wire_http1 import ResponseReader
    from pytest_gaitperf.load.wire_stream import StreamWire


@dataclass(slots=True, eq=False)
class Slot:
    """One request slot: a keep-alive connection with at most one request in flight.

    ``unsent`` is what of the request the kernel has not taken yet, and ``blocked`` whether epoll
    watches for room to send it; ``waiting`` is whether all of it was sent and its answer is not
    complete. ``send_ns`` is how long sending took; until all is sent, minus the time of the first
    byte. ``came_ns`` is when the first piece of an incomplete answer came, else 0, ``first_ns``
    when the first answer of a stream to the present request did. ``refused``
    counts how often the server did nothing of the request that was started at ``refused_ns``. A
    slot without a connection is connected for its next request.
    """

    requests: Iterator[bytes]
    request: bytes = field(default=b"", repr=False)  # it may hold a secret header
    send: Callable[[bytes | memoryview, int], int] = field(init=False)
    receive: Callable[[bytearray], int] = field(init=False)
    reader: ResponseReader | GrpcWire = field(init=False)
    stream: StreamWire | None = None  # the reader again, where it is one
    connection: socket.socket | TlsSocket | None = None
    started_ns: int = 0
    send_ns: int = 0
    came_ns: int = 0
    first_ns: int = 0
    waiting: bool = False
    unsent: memoryview | None = None
    blocked: bool = False
    refused: int = 0
    refused_ns: int = 0

    def lost(self) -> None:
        """Give the sequence up that a request failed in, where there is one."""
        if isinstance(self.requests, SequenceRequests):
            self.requests.lost()
