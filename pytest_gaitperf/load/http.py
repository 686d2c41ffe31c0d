"""Closed-loop load over HTTP: one thread, one epoll, pre-encoded bytes.

A single request slot needs no epoll: its thread blocks in recv, which saves a system call and,
in the median of 50 paired runs, 12 % of the client's CPU per request.

Measured against a thread per request slot and against tritonclient's own ``infer`` on the same
server, this design cost the least client CPU per request. ``benchmarks/load_vs_perf_analyzer.py``
compares it with perf_analyzer.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.response import ResponseError, ResponseReader

if TYPE_CHECKING:
    from typing_extensions import Self

    from pytest_gaitperf.load.record import Observer

_RECEIVE_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_ALONE_WAIT_S = 0.02
"""How long a slot that is alone blocks in recv, and so how late a tick can be at most."""
_OK = 200
_FAILURES_BEFORE_GIVING_UP = 100
_SHARE_OF_FAILURES = 0.1


@dataclass(slots=True)
class _Slot:
    """One request slot: a keep-alive connection with at most one request in flight.

    ``unsent`` is what of the request the kernel has not taken yet; ``blocked`` is whether epoll
    watches for room to send it. Without a connection, one is made for the next request.
    """

    connection: socket.socket | None = None
    reader: ResponseReader = field(default_factory=ResponseReader)
    started_ns: int = 0
    unsent: memoryview | None = None
    in_flight: bool = False
    blocked: bool = False


class ClosedLoop:
    """Keep ``concurrency`` requests in flight until the observer says stop, then drain.

    A response with status 200 is a success; any other, and a connection that breaks before the
    response is complete, is a failed request: it is counted, and its slot goes on with the next.
    ``silence_s`` is how long the server may complete nothing before the cell is given up.
    Use as a context manager; it owns the connections. After an error it can only be closed.
    """

    def __init__(
        self, host: str, port: int, request: bytes, concurrency: int, *, silence_s: float = 60.0
    ) -> None:
        self._address = (host, port)
        self._request = memoryview(request)
        self._silence_ns = int(silence_s * 1e9)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._epoll = select.epoll()
        self._slots = [_Slot() for _ in range(concurrency)]
        self._connected: dict[int, _Slot] = {}
        self._unsent: list[_Slot] = []
        self._seen = 0
        self._seen_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for slot in self._connected.values():
            if slot.connection is not None:
                slot.connection.close()
                slot.connection = None
        self._connected.clear()
        self._epoll.close()

    def run(self, observer: Observer, tick_s: float) -> LoadRecord:
        """Load the server until ``observer`` returns False at a tick; return what happened.

        Raises
        ------
        MeasurementError
            The server is gone, silent, or fails too many requests.
        """
        for descriptor, _ in self._epoll.poll(0, len(self._slots)):
            self._disconnect(self._connected[descriptor])  # closed since the last load
        for slot in self._slots:
            if slot.connection is None:
                self._connect(slot)
        record = LoadRecord()
        self._unsent = list(self._slots)
        cpu_before_ns = time.thread_time_ns()
        record.first_send_ns = time.monotonic_ns()
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
        self._seen, self._seen_ns = record.requests + record.failures, now
        clock, sending = time.monotonic_ns, observer is not None
        serve = self._serve_alone if len(self._slots) == 1 else self._serve
        while sending or any(slot.in_flight for slot in self._slots):
            if self._unsent and sending:
                unsent, self._unsent = self._unsent, []
                for slot in unsent:
                    self._send(slot, record)
            serve(record, 0 if self._unsent else max(tick_at - now, 0), sending=sending)
            now = clock()
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            self._check_silence(record, now)
            if observer is not None and not observer(record, now):
                return

    def _serve(self, record: LoadRecord, wait_ns: int, *, sending: bool) -> None:
        """Wait for events and serve them."""
        connected, only_room = self._connected, select.EPOLLOUT
        for descriptor, event in self._epoll.poll(wait_ns / 1e9, len(self._slots)):
            slot = connected[descriptor]
            if event == only_room:
                self._send_rest(slot, record)
            elif self._receive(slot, record) and sending:
                self._send(slot, record)

    def _serve_alone(self, record: LoadRecord, wait_ns: int, *, sending: bool) -> None:
        """Wait for the answer of the only slot, in recv itself once its request is sent."""
        slot = self._slots[0]
        if not slot.in_flight or slot.unsent is not None:
            self._serve(record, wait_ns, sending=sending)
        elif self._receive(slot, record) and sending:
            self._send(slot, record)

    def _check_silence(self, record: LoadRecord, now: int) -> None:
        answered = record.requests + record.failures
        if answered > self._seen:
            self._seen, self._seen_ns = answered, now
        elif now - self._seen_ns >= self._silence_ns:
            raise MeasurementError(
                f"no response from {self._address[0]}:{self._address[1]} for "
                f"{self._silence_ns / 1e9:g} s with {len(self._slots)} requests in flight: is the "
                "model stuck, or slower than that?"
            )

    def _connect(self, slot: _Slot) -> socket.socket:
        try:
            connection = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT_S)
        except OSError as error:
            host, port = self._address
            raise MeasurementError(f"cannot connect to {host}:{port}: {error}") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        if len(self._slots) == 1:
            # Only recv blocks, and not for long; every send is told not to.
            connection.settimeout(None)
            wait = struct.pack("@ll", 0, int(_ALONE_WAIT_S * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        slot.connection = connection
        slot.reader = ResponseReader()
        slot.blocked = False
        self._connected[connection.fileno()] = slot
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def _disconnect(self, slot: _Slot) -> None:
        connection, slot.connection = slot.connection, None
        slot.in_flight, slot.unsent = False, None
        if connection is not None:
            self._epoll.unregister(connection.fileno())
            del self._connected[connection.fileno()]
            connection.close()

    def _send(self, slot: _Slot, record: LoadRecord) -> None:
        connection = slot.connection or self._connect(slot)
        slot.in_flight = True
        request = self._request
        slot.started_ns = time.monotonic_ns()
        try:
            count = connection.send(request, socket.MSG_DONTWAIT)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._fail(slot, record, f"sending failed: {error}")
            self._unsent.append(slot)
            return
        if count < len(request):
            slot.unsent = request[count:]
            self._send_rest(slot, record)

    def _send_rest(self, slot: _Slot, record: LoadRecord) -> None:
        """Send what the kernel had no room for, and watch for room while there is a rest."""
        connection, unsent = slot.connection, slot.unsent
        if connection is None or unsent is None:
            return
        try:
            slot.unsent = unsent[connection.send(unsent, socket.MSG_DONTWAIT) :] or None
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(slot, record, f"sending failed: {error}")
            self._unsent.append(slot)
            return
        if slot.blocked != (slot.unsent is not None):
            slot.blocked = not slot.blocked
            self._epoll.modify(
                connection.fileno(),
                select.EPOLLIN | select.EPOLLOUT if slot.blocked else select.EPOLLIN,
            )

    def _receive(self, slot: _Slot, record: LoadRecord) -> bool:
        """Take what has come; return True when the slot is free for its next request."""
        reader = slot.reader
        try:
            count = slot.connection.recv_into(self._buffer)  # type: ignore[union-attr] # it had an event
            complete = reader.feed(self._buffer, count) if count else False
        except BlockingIOError:
            return False
        except OSError as error:
            return self._fail(slot, record, f"receiving failed: {error}")
        except ResponseError as error:
            return self._fail(slot, record, str(error))
        ended_ns = time.monotonic_ns()
        if count and not complete:
            return False
        if not complete or slot.unsent is not None or not slot.in_flight:
            return self._fail(slot, record, _broken(slot.reader, complete=complete))
        slot.in_flight = False
        if reader.status == _OK:
            record.starts_ns.append(slot.started_ns)
            record.ends_ns.append(ended_ns)
        else:
            record.fail(reader.error_text)
            _give_up_on_failures(record)
        if reader.closing:
            self._disconnect(slot)
        return True

    def _fail(self, slot: _Slot, record: LoadRecord, reason: str) -> bool:
        """Count the slot's request as failed and give its connection up; the slot is free then."""
        if slot.in_flight:
            record.fail(reason)
            _give_up_on_failures(record)
        self._disconnect(slot)
        return True


def _broken(reader: ResponseReader, *, complete: bool) -> str:
    """Say what is wrong with a response that ended early, or came before its request."""
    if complete:
        return f"answered before the request was sent ({reader.error_text})"
    where = "before it answered" if reader.idle else "in the middle of a response"
    return f"the server closed the connection {where}"


def _give_up_on_failures(record: LoadRecord) -> None:
    answered = record.requests + record.failures
    if (
        record.failures >= _FAILURES_BEFORE_GIVING_UP
        and record.failures > _SHARE_OF_FAILURES * answered
    ):
        raise MeasurementError(
            f"{record.failures} of {answered} requests failed: " + "; ".join(record.failure_reasons)
        )
