"""The connections of a load: request slots, one epoll, pre-encoded bytes in and out."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.wire_grpc import GrpcWire, call_headers
from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_gaitperf.load.data import Requests
    from pytest_gaitperf.workload import Protocol

    Wait = Callable[[int], Iterable[tuple[int, int]]]

_RECEIVE_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_ALONE_WAIT_S = 0.02
"""How long a slot that is alone blocks in recv, and so how late a tick can be at most."""
_OK = 200
_FAILURES_BEFORE_GIVING_UP = 100
_SHARE_OF_FAILURES = 0.1


@dataclass(slots=True)
class Slot:
    """One request slot: a keep-alive connection with at most one request in flight.

    ``unsent`` is what of the request the kernel has not taken yet, and ``blocked`` whether epoll
    watches for room to send it; ``waiting`` is whether all of it was sent and its answer is not
    complete. ``send_ns`` is how long sending took; until all is sent, minus the time of the first
    byte. ``came_ns`` is when the first piece of an incomplete answer came, else 0. A slot without a
    connection is connected for its next request.
    """

    requests: Iterator[bytes]
    send: Callable[[bytes | memoryview, int], int] = field(init=False)
    receive: Callable[[bytearray], int] = field(init=False)
    reader: ResponseReader | GrpcWire = field(init=False)
    connection: socket.socket | None = None
    started_ns: int = 0
    send_ns: int = 0
    came_ns: int = 0
    waiting: bool = False
    unsent: memoryview | None = None
    blocked: bool = False


class Connections:
    """Request slots over keep-alive connections to one server, and the record of what they do.

    ``free`` are the slots with nothing in flight, the most recently used last. A response with
    status 200 is a success; any other, and a connection that breaks before it is complete, is a
    failed request.

    ``alone``: there is a single slot. It needs no epoll: recv itself waits, which saves 12 % of the
    client's CPU per request (median of 50 paired runs).
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Requests,
        slots: int,
        *,
        protocol: Protocol = "http",
        alone: bool = False,
    ) -> None:
        self.record = LoadRecord()
        self.slots = slots
        cycles = [cycle(row) for row in requests]
        self.free = deque(Slot(cycles[index % len(cycles)]) for index in reversed(range(slots)))
        self.server = f"{host}:{port}"
        self._host_port = (host, port)
        # The header block of every call, b"" for HTTP/1.1, where each request has its own.
        self._headers = call_headers(self.server) if protocol == "grpc" else b""
        self._address: tuple[socket.AddressFamily, Any] | None = None
        self._alone = self.free[0] if alone else None
        self.wait: Wait = self._wait_alone if alone else self._wait
        self._alone_events: tuple[tuple[int, int]] = ((0, 0),)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._epoll = select.epoll()
        self._connected: dict[int, Slot] = {}

    def close(self) -> None:
        """Close every connection."""
        for slot in self._connected.values():
            if slot.connection is not None:
                slot.connection.close()
                slot.connection = None
        self._connected.clear()
        self._epoll.close()

    def begin(self, connected: int) -> LoadRecord:
        """Connect ``connected`` slots and begin a new record; nothing must be in flight."""
        self.serve(self._wait, 0, again=False)  # closed since the last load
        for slot in list(self.free)[-connected:]:
            if slot.connection is None:
                self.connect(slot)
        self.record = LoadRecord()
        return self.record

    def _wait(self, wait_ns: int) -> Iterable[tuple[int, int]]:
        """Wait for events, for at most so long rounded up to milliseconds; return them."""
        return self._epoll.poll(wait_ns / 1e9, self.slots)

    def _wait_alone(self, wait_ns: int) -> Iterable[tuple[int, int]]:
        """Leave the waiting to recv where the only slot waits for its answer."""
        if self._alone is not None and self._alone.waiting:
            return self._alone_events
        return self._wait(wait_ns)

    def wait_precisely(self, wait_ns: int) -> Iterable[tuple[int, int]]:
        """Wait for events, for at most so long within the kernel's timer slack; return them.

        ``select`` takes microseconds where ``epoll_wait`` takes milliseconds: so it does the
        waiting, on the one descriptor that stands for all.
        """
        ready, _, _ = select.select((self._epoll,), (), (), wait_ns / 1e9)
        return self._epoll.poll(0, self.slots) if ready else ()

    def serve(self, wait: Wait, until_ns: int, *, again: bool) -> int:
        """Wait for what comes and take it, until a time, or until a slot is free; return when.

        With ``again``, a slot that was answered sends its next request at once. ``wait`` is one of
        this object's own. Every request passes here. The clock is read twice for each: when its
        answer has come, which is when the slot's next request starts, and when that is sent. The
        loop over the waits being here saves 5 % of the client's CPU per request for a single slot.
        """
        record, buffer, connected, free = self.record, self._buffer, self._connected, self.free
        add_start, add_end = record.starts_ns.append, record.ends_ns.append
        alone, room, clock = self._alone is not None, select.EPOLLOUT, time.monotonic_ns
        now = clock()
        while True:
            events = wait(max(until_ns - now, 0))
            now = clock()
            for descriptor, event in events:
                slot = connected[descriptor]
                if event == room:
                    self._send_rest(slot)
                    now = clock()
                    continue
                try:
                    count = slot.receive(buffer)
                except OSError as error:
                    self._trouble(slot, "receiving", error)
                    now = clock()
                    continue
                ended = clock()
                if alone:
                    now = ended  # recv was the wait: when the answer began to come is not known
                reader = slot.reader
                if (
                    slot.waiting
                    and count == reader.usual_bytes
                    and buffer.startswith(reader.usual_head)
                ):
                    slot.waiting = False
                    add_start(slot.started_ns)
                    add_end(ended)
                    record.send_ns += slot.send_ns
                    record.receive_ns += ended - now
                elif not self._take(slot, count, now, ended):
                    now = clock()
                    continue
                if again:
                    now = self.start(slot, ended, ended)
                else:
                    free.append(slot)
                    now = ended
            if now >= until_ns or free:
                return now

    def start(self, slot: Slot, started_ns: int, now_ns: int) -> int:
        """Send the next request of a free slot, started at ``started_ns``; return the time."""
        if slot.connection is None:
            self.connect(slot)
        request = next(slot.requests)
        slot.started_ns = started_ns
        slot.waiting = True
        try:
            count = slot.send(request, socket.MSG_DONTWAIT)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._trouble(slot, "sending", error)
            return time.monotonic_ns()
        sent_ns = time.monotonic_ns()
        if count == len(request):
            slot.send_ns = sent_ns - now_ns
            return sent_ns
        slot.waiting = False
        slot.send_ns = -now_ns
        slot.unsent = memoryview(request)[count:]
        self._send_rest(slot)
        return time.monotonic_ns()

    def _send_rest(self, slot: Slot) -> None:
        """Send what the kernel had no room for, and watch for room while there is a rest."""
        if slot.unsent is None or slot.connection is None:
            return
        try:
            slot.unsent = slot.unsent[slot.send(slot.unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._trouble(slot, "sending", error)
            return
        if not slot.unsent:
            slot.unsent = None
            slot.waiting = True
            slot.send_ns += time.monotonic_ns()
        if slot.blocked != (slot.unsent is not None and not slot.reader.window_closed):
            slot.blocked = not slot.blocked
            self._epoll.modify(
                slot.connection.fileno(),
                select.EPOLLIN | select.EPOLLOUT if slot.blocked else select.EPOLLIN,
            )

    def _take(self, slot: Slot, count: int, came_ns: int, ended_ns: int) -> bool:
        """Take what is not the usual answer in one piece; return whether the slot can go on."""
        reader = slot.reader
        try:
            complete = reader.feed(self._buffer, count) if count else False
        except ResponseError as error:
            self._fail(slot, str(error))
            return False
        if count and not complete:
            if not reader.idle:
                slot.came_ns = slot.came_ns or came_ns
            if slot.unsent is not None:
                self._send_rest(slot)  # the server may have made room
            return False
        if not complete or not slot.waiting:
            where = "before it answered" if reader.idle else "in the middle of a response"
            reason = f"the server closed the connection {where}"
            if complete:
                reason = f"answered before the request was sent ({reader.error_text})"
            self._fail(slot, reason)
            return False
        slot.waiting = False
        if reader.status == _OK:
            record = self.record
            record.starts_ns.append(slot.started_ns)
            record.ends_ns.append(ended_ns)
            record.send_ns += slot.send_ns
            record.receive_ns += ended_ns - (slot.came_ns or came_ns)
        else:
            self._count_failure(reader.error_text)
        slot.came_ns = 0
        if reader.closing:
            self._disconnect(slot)
            self.free.appendleft(slot)
        return not reader.closing

    def _trouble(self, slot: Slot, doing: str, error: OSError) -> None:
        """Give up a connection on which the system reports an error, other than: not now."""
        if isinstance(error, BlockingIOError):
            return
        if isinstance(error, ConnectionRefusedError):  # it never was one
            self._refuse(error)
        self._fail(slot, f"{doing} failed: {error}")

    def _fail(self, slot: Slot, reason: str) -> None:
        """Give the slot's connection up; a request in flight on it has failed."""
        in_flight = slot.waiting or slot.unsent is not None
        self._disconnect(slot)
        if in_flight:
            self.free.appendleft(slot)
            self._count_failure(reason)

    def _count_failure(self, reason: str) -> None:
        record = self.record
        record.fail(reason)
        answered = record.requests + record.failures
        if (
            record.failures >= _FAILURES_BEFORE_GIVING_UP
            and record.failures > _SHARE_OF_FAILURES * answered
        ):
            raise MeasurementError(
                f"{record.failures} of {answered} requests failed: "
                + "; ".join(record.failure_reasons)
            )

    def connect(self, slot: Slot) -> None:
        """Connect a slot: the first one to the end, later ones without waiting for the server."""
        try:
            connection = self._connection()
        except OSError as error:
            self._refuse(error)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._alone is not None:
            # Only recv blocks, and not for long; every send is told not to.
            connection.settimeout(None)
            wait = struct.pack("@ll", 0, int(_ALONE_WAIT_S * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
            self._alone_events = ((connection.fileno(), select.EPOLLIN),)
        slot.connection = connection
        slot.receive = connection.recv_into
        if self._headers:
            wire = GrpcWire(connection, self._headers)
            slot.send, slot.reader = wire.send, wire
        else:
            slot.send, slot.reader = connection.send, ResponseReader()
        slot.blocked = False
        self._connected[connection.fileno()] = slot
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _connection(self) -> socket.socket:
        if self._address is None:
            connection = socket.create_connection(self._host_port, timeout=_CONNECT_TIMEOUT_S)
            self._address = connection.family, connection.getpeername()
            connection.settimeout(0)
            return connection
        family, address = self._address
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(address)
        except BlockingIOError:
            pass  # under way: it takes no bytes until it is there
        except BaseException:  # Ctrl-C, too
            connection.close()
            raise
        return connection

    def _refuse(self, error: OSError) -> NoReturn:
        hint = "; if the server has its gRPC port elsewhere, give it with --triton-grpc-port"
        hint = hint if self._headers else ""
        raise MeasurementError(f"cannot connect to {self.server}: {error}{hint}") from error

    def _disconnect(self, slot: Slot) -> None:
        connection, slot.connection = slot.connection, None
        slot.waiting, slot.unsent, slot.came_ns = False, None, 0
        if connection is not None:
            self._epoll.unregister(connection.fileno())
            del self._connected[connection.fileno()]
            connection.close()
