"""Closed and open loops over HTTP: one thread that waits, sends and receives.

Measured against a thread per request slot and against tritonclient's own ``infer`` on the same
server, this design cost the least client CPU per request. ``benchmarks/load_vs_perf_analyzer.py``
compares it with perf_analyzer.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from pytest_gaitperf.load.record import LoadRecord, Observer, Requests

MOST_IN_FLIGHT = 256
"""Connections of an open loop at most.

Enough that a server which stalls for 300 ms at 500 requests a second has them all, as it would in
the field, and few enough for the usual limit of 1024 open files. More wait in the client.
"""

_NEVER = 1 << 62


class _HttpLoad(ABC):
    """What both loops share: books, ticks, silence, stop and drain."""

    def __init__(self, connections: Connections, connected: int, silence_s: float) -> None:
        self._connections = connections
        self._connected = connected
        self._silence_ns = int(silence_s * 1e9)
        self._seen = 0
        self._seen_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    def run(self, observer: Observer, tick_s: float) -> LoadRecord:
        """Load the server until ``observer`` returns False at a tick; return what happened.

        Raises
        ------
        MeasurementError
            The server is gone, silent, or fails too many requests.
        """
        record = self._connections.begin(self._connected)
        cpu_before_ns = time.thread_time_ns()
        record.first_send_ns = self._seen_ns = time.monotonic_ns()
        self._seen = 0
        self._load(record, observer, int(tick_s * 1e9))
        record.stopped_ns = time.monotonic_ns()
        self._drain(record)
        record.drained_ns = time.monotonic_ns()
        record.client_cpu_ns = time.thread_time_ns() - cpu_before_ns
        return record

    @abstractmethod
    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        """Send and receive until the observer says stop."""

    def _drain(self, record: LoadRecord) -> None:
        """Receive until nothing is in flight."""
        connections = self._connections
        self._seen_ns = time.monotonic_ns()
        while self._in_flight:
            silent_at = self._seen_ns + self._silence_ns
            self._check_silence(record, connections.serve(connections.wait, silent_at, again=False))

    @property
    def _in_flight(self) -> int:
        return self._connections.slots - len(self._connections.free)

    def _check_silence(self, record: LoadRecord, now: int) -> None:
        answered = record.requests + record.failures
        if answered > self._seen or not self._in_flight:
            self._seen, self._seen_ns = answered, now
        elif now - self._seen_ns >= self._silence_ns:
            raise MeasurementError(
                f"no response from {self._connections.server} for {self._silence_ns / 1e9:g} s "
                f"with {self._in_flight} requests in flight: is the model stuck, or slower than "
                "that?"
            )


class ClosedLoop(_HttpLoad):
    """Keep ``concurrency`` requests in flight until the observer says stop, then drain.

    Failed requests are counted, and the slot of each goes on with its next. ``silence_s`` is how
    long the server may complete nothing before the cell is given up. Use as a context manager; it
    owns the connections. After an error it can only be closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Requests,
        concurrency: int,
        *,
        over: type[Connections] = Connections,
        silence_s: float = 60.0,
    ) -> None:
        connections = over(host, port, requests, concurrency, alone=concurrency == 1)
        super().__init__(connections, concurrency, silence_s)

    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        connections, clock = self._connections, time.monotonic_ns
        free = connections.free
        now = record.first_send_ns
        tick_at = now + tick_ns
        while True:
            for _ in range(len(free)):  # at first, and those that lost their connection
                slot = free.popleft()
                if slot.connection is None:
                    connections.connect(slot)
                now = clock()
                connections.start(slot, now, now)
            now = connections.serve(connections.wait, 0 if free else tick_at, again=True)
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            self._check_silence(record, now)
            if not observer(record, now):
                return


class OpenLoop(_HttpLoad):
    """Send by a schedule, whatever comes back, until the observer says stop, then drain.

    ``offsets_ns`` ascend without end. Each run takes up where the last one stopped in them, and its
    first request is sent at once. A request's start is its *scheduled* time: a stall of the server,
    or of this client, lengthens the latency of every request that was due in it, sent or not.
    Connections are made as needed, without waiting for the server, and the most recently used one
    is taken first. Past ``most_in_flight`` requests wait here until one is answered; those still
    waiting at the stop are not sent. Otherwise as ClosedLoop.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Requests,
        offsets_ns: Iterator[int],
        *,
        over: type[Connections] = Connections,
        most_in_flight: int = MOST_IN_FLIGHT,
        silence_s: float = 60.0,
    ) -> None:
        super().__init__(over(host, port, requests, most_in_flight), 1, silence_s)
        self._offsets_ns = offsets_ns

    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        connections, clock, offsets = self._connections, time.monotonic_ns, self._offsets_ns
        free, add_delay = connections.free, record.delays_ns.append
        now = record.first_send_ns
        tick_at, zero = now + tick_ns, now - next(offsets)
        due = now
        while True:
            while free and due <= now:
                add_delay(now - due)
                now = connections.start(free.pop(), due, now)
                due = zero + next(offsets)
            wake_at = min(due, tick_at) if free else tick_at
            now = connections.serve(connections.wait_precisely, wake_at, again=False)
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            self._check_silence(record, now)
            if not observer(record, now):
                return
            now = clock()
