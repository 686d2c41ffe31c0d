"""Closed-loop load over HTTP: one thread, one epoll, pre-encoded bytes.

Measured against a thread per request slot and against tritonclient's own ``infer`` on the same
server, this design costs the least client CPU per request; ``benchmarks/`` holds the comparison.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.response import ResponseError, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

_RECEIVE_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_OK = 200
_FAILURES_BEFORE_GIVING_UP = 100
_SHARE_OF_FAILURES = 0.1

Observer: TypeAlias = "Callable[[LoadRecord], bool]"
"""Called at every tick with what has completed; the load goes on while it returns True."""


@dataclass(slots=True)
class _Slot:
    """One request slot: a keep-alive connection with at most one request in flight."""

    connection: socket.socket
    started_ns: int = 0
    unsent: memoryview | None = None
    reader: ResponseReader = field(default_factory=ResponseReader)
    in_flight: bool = False
    blocked: bool = False


class ClosedLoop:
    """Keep ``concurrency`` requests in flight until the observer says stop, then drain.

    ``silence_s`` is how long the server may complete nothing before the cell is given up.
    Use as a context manager; it owns the connections.
    """

    def __init__(
        self, host: str, port: int, request: bytes, concurrency: int, *, silence_s: float = 60.0
    ) -> None:
        self._address = (host, port)
        self._request = memoryview(request)
        self._silence_ns = int(silence_s * 1e9)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._epoll = select.epoll()
        self._slots: dict[int, _Slot] = {}
        self._concurrency = concurrency

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for slot in self._slots.values():
            slot.connection.close()
        self._slots.clear()
        self._epoll.close()

    def run(self, observer: Observer, tick_s: float) -> LoadRecord:
        """Load the server until ``observer`` returns False at a tick; return what happened.

        Raises
        ------
        MeasurementError
            The server is gone, silent, or fails too many requests.
        """
        while len(self._slots) < self._concurrency:
            self._open_slot()
        record = LoadRecord()
        cpu_before_ns = time.thread_time_ns()
        record.first_send_ns = time.monotonic_ns()
        for slot in list(self._slots.values()):
            self._send(slot, record)
        self._loop(record, observer, int(tick_s * 1e9))
        record.stopped_ns = time.monotonic_ns()
        self._loop(record, None, self._silence_ns)
        record.drained_ns = time.monotonic_ns()
        record.client_cpu_ns = time.thread_time_ns() - cpu_before_ns
        return record

    def _loop(self, record: LoadRecord, observer: Observer | None, tick_ns: int) -> None:
        """Serve events; without an observer nothing new is sent, until nothing is in flight."""
        now = time.monotonic_ns()
        tick_at = now + tick_ns
        seen, silent_since = record.requests + record.failures, now
        slots, poll, clock = self._slots, self._epoll.poll, time.monotonic_ns
        sending = observer is not None
        while sending or any(slot.in_flight for slot in slots.values()):
            for descriptor, event in poll(max(tick_at - clock(), 0) / 1e9, len(slots) or 1):
                slot = slots.get(descriptor)
                if slot is None:
                    continue
                if event & select.EPOLLOUT:
                    self._send_rest(slot, record)
                if event & ~select.EPOLLOUT and self._receive(slot, record) and sending:
                    self._send(slot, record)
            now = clock()
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            if record.requests + record.failures > seen:
                seen, silent_since = record.requests + record.failures, now
            elif now - silent_since >= self._silence_ns:
                raise MeasurementError(
                    f"no response from {self._address[0]}:{self._address[1]} for "
                    f"{self._silence_ns / 1e9:.0f} s with {len(slots)} requests in flight"
                )
            _give_up_on_failures(record)
            if observer is not None and not observer(record):
                return

    def _open_slot(self) -> _Slot:
        try:
            connection = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT_S)
        except OSError as error:
            host, port = self._address
            raise MeasurementError(f"cannot connect to {host}:{port}: {error}") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        slot = _Slot(connection)
        self._slots[connection.fileno()] = slot
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        return slot

    def _send(self, slot: _Slot, record: LoadRecord) -> None:
        slot.in_flight = True
        slot.unsent = self._request
        slot.started_ns = time.monotonic_ns()
        self._send_rest(slot, record)

    def _send_rest(self, slot: _Slot, record: LoadRecord) -> None:
        if slot.unsent is None:
            return
        try:
            slot.unsent = slot.unsent[slot.connection.send(slot.unsent) :] or None
        except BlockingIOError:
            pass
        except OSError as error:
            self._replace(slot, record, f"sending failed: {error}")
            return
        if slot.blocked != (slot.unsent is not None):
            slot.blocked = not slot.blocked
            self._epoll.modify(
                slot.connection.fileno(),
                select.EPOLLIN | select.EPOLLOUT if slot.blocked else select.EPOLLIN,
            )

    def _receive(self, slot: _Slot, record: LoadRecord) -> bool:
        """Take what has come; return True when the slot is free for its next request."""
        try:
            count = slot.connection.recv_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            return self._replace(slot, record, f"receiving failed: {error}")
        try:
            if count and not slot.reader.feed(self._buffer, count):
                return False
        except ResponseError as error:
            return self._replace(slot, record, str(error))
        ended_ns = time.monotonic_ns()
        problem = _misfit(slot, count)
        if problem is not None:
            return self._replace(slot, record, problem)
        slot.in_flight = False
        if slot.reader.status == _OK:
            record.starts_ns.append(slot.started_ns)
            record.ends_ns.append(ended_ns)
        else:
            record.fail(slot.reader.error_text)
        return True

    def _replace(self, slot: _Slot, record: LoadRecord, reason: str) -> bool:
        """Count the slot's request as failed, and go on with a new connection."""
        if slot.in_flight:
            record.fail(reason)
        self._epoll.unregister(slot.connection.fileno())
        del self._slots[slot.connection.fileno()]
        slot.connection.close()
        if not record.stopped_ns:
            _give_up_on_failures(record)
            self._send(self._open_slot(), record)
        return False


def _misfit(slot: _Slot, count: int) -> str | None:
    """Say why what just came cannot be the answer to the slot's request, None when it can."""
    if count == 0:
        return "the server closed the connection"
    if not slot.in_flight:
        return "bytes came that nobody had asked for"
    if slot.unsent is not None:
        return f"answered before the request was sent ({slot.reader.error_text})"
    return None


def _give_up_on_failures(record: LoadRecord) -> None:
    answered = record.requests + record.failures
    if (
        record.failures >= _FAILURES_BEFORE_GIVING_UP
        and record.failures > _SHARE_OF_FAILURES * answered
    ):
        raise MeasurementError(
            f"{record.failures} of {answered} requests failed: " + "; ".join(record.failure_reasons)
        )
