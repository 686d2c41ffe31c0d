"""The connections of a load: request slots, one epoll, pre-encoded bytes in and out."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_gaitperf.errors import FailedRequestsError, MeasurementError
from pytest_gaitperf.load.grpc_answer import OK, REFUSED
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.slot import Slot
from pytest_gaitperf.load.tls import TlsSocket, secured
from pytest_gaitperf.load.wire_grpc import GrpcWire, call_fields
from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_gaitperf.load.checked import Known
    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.load.sequences import SequenceRequests
    from pytest_gaitperf.load.wire_stream import StreamWire
    from pytest_gaitperf.workload import Protocol

    Wait = Callable[[int], Iterable[tuple[int, int]]]

_RECEIVE_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_ALONE_WAIT_S = 0.02
"""How long a slot that is alone blocks in recv, and so how late a tick can be at most."""
_FAILURES_BEFORE_GIVING_UP = 100
_SHARE_OF_FAILURES = 0.1
_MOST_REFUSALS = 5
"""How often a request that the server does nothing of is sent again."""


class Connections:
    """Request slots over keep-alive connections to one server, and the record of what they do.

    ``free`` are the slots with nothing in flight, the most recently used last. A response with
    status 200 is a success; any other, one that is not what is ``known``, and a connection that
    breaks before it is complete, is a failed request.

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
        way: Way = PLAIN,
        streaming: bool = False,
        sequences: Iterator[SequenceRequests] | None = None,
        known: Known | None = None,
    ) -> None:
        self.record = LoadRecord()
        self.slots = slots
        self.sequences = list(islice(sequences or (), slots))
        cycles: Sequence[Iterator[bytes]] = self.sequences or [cycle(row) for row in requests]
        self.free = deque(Slot(cycles[index % len(cycles)]) for index in reversed(range(slots)))
        self.server = way.url(host, port)
        self._host_port, self._way = (host, port), way
        # The header fields of every call, () for HTTP/1.1, where each request has its own.
        self._fields = (
            call_fields(host, port, way, streaming=streaming) if protocol == "grpc" else ()
        )
        self._streaming, self._known = streaming, known
        self._address: tuple[socket.AddressFamily, Any] | None = None
        alone = alone and not way.tls  # whose bytes epoll tells of, and which may be no answer
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
                if slot.waiting and slot.reader.usual(buffer, count):
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
        """Send a connected slot's next request, started at ``started_ns``; return the time."""
        slot.request = next(slot.requests)
        slot.started_ns = started_ns
        slot.first_ns = 0
        return self._send(slot, now_ns)

    def _send(self, slot: Slot, now_ns: int) -> int:
        """Send a connected slot's request; return the time."""
        request = slot.request
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
        if slot.stream is not None:
            self._take_answers(slot.stream, slot, ended_ns)
        if count and not complete:
            if not reader.idle and slot.stream is None:  # whose rest is waited for
                slot.came_ns = slot.came_ns or came_ns
            if slot.unsent is not None:
                self._send_rest(slot)  # the server may have made room
            elif reader.closing and not slot.waiting:
                self._disconnect(slot)  # it went away while nothing was asked of it
            return False
        unsent = slot.unsent is not None
        if not complete or not (slot.waiting or unsent):
            where = "before it answered" if reader.idle else "in the middle of a response"
            self._fail(slot, f"the server closed the connection {where}")
            return False
        if reader.status == REFUSED and self._send_again(slot):
            return False
        slot.waiting = False
        self._count(slot, came_ns, ended_ns, unsent=unsent)
        slot.came_ns = 0
        if reader.closing or unsent:
            self._disconnect(slot)
            self.free.appendleft(slot)
            return False
        return True

    def _count(self, slot: Slot, came_ns: int, ended_ns: int, *, unsent: bool) -> None:
        """Put a request that was answered into the record."""
        record, reader = self.record, slot.reader
        if reader.status != OK:
            slot.lost()
            reason = reader.error_text
            self._count_failure(
                f"answered before the request was sent ({reason})" if unsent else reason
            )
            return
        record.starts_ns.append(slot.started_ns)
        record.ends_ns.append(ended_ns)
        record.send_ns += slot.send_ns + (ended_ns if unsent else 0)
        record.receive_ns += ended_ns - (slot.came_ns or came_ns)
        if slot.stream is not None:
            record.firsts_ns.append(slot.first_ns)

    def _take_answers(self, stream: StreamWire, slot: Slot, came_ns: int) -> None:
        """Put the answers of a stream that have come into the record."""
        if answers := stream.answers():
            self.record.answers_ns.extend((came_ns,) * answers)
            slot.first_ns = slot.first_ns or came_ns

    def _send_again(self, slot: Slot) -> bool:
        """Send a request that the server did nothing of once more; False where that is too often.

        Its time runs on.
        """
        if slot.refused_ns != slot.started_ns:
            slot.refused_ns, slot.refused = slot.started_ns, 0
        if slot.refused == _MOST_REFUSALS:
            return False
        slot.refused += 1
        self.record.refused += 1
        if slot.reader.closing or slot.unsent is not None:
            self._disconnect(slot)
            self.connect(slot)
        self._send(slot, time.monotonic_ns())
        return True

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
            slot.lost()
            self._count_failure(reason)

    def _count_failure(self, reason: str) -> None:
        record = self.record
        record.fail(reason)
        answered = record.requests + record.failures
        if (
            record.failures >= _FAILURES_BEFORE_GIVING_UP
            and record.failures > _SHARE_OF_FAILURES * answered
        ):
            raise FailedRequestsError(
                f"{record.failures} of {answered} requests failed: "
                + "; ".join(record.failure_reasons)
            )

    def connect(self, slot: Slot) -> None:
        """Connect a slot: the first one to the end, later ones without waiting for the server."""
        try:
            connection = self._connection()
        except OSError as error:
            self._refuse(error)
        if not self._way.unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._alone is not None and isinstance(connection, socket.socket):
            # Only recv blocks, and not for long; every send is told not to.
            connection.settimeout(None)
            wait = struct.pack("@ll", 0, int(_ALONE_WAIT_S * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
            self._alone_events = ((connection.fileno(), select.EPOLLIN),)
        slot.connection = connection
        slot.receive = connection.recv_into
        if self._fields:
            wire: GrpcWire
            if self._known is not None:
                wire = self._known.wire(slot, connection, self._fields)
            elif self._streaming:
                # Not at the top: it imports grpc, 0.4 s that other loads need not pay.
                from pytest_gaitperf.load.wire_stream import StreamWire  # noqa: PLC0415

                wire = slot.stream = StreamWire(connection, self._fields)
            else:
                wire = GrpcWire(connection, self._fields)
            slot.send, slot.reader = wire.send, wire
        else:
            reader = ResponseReader() if self._known is None else self._known.reader(slot)
            slot.send, slot.reader = connection.send, reader
        slot.blocked = False
        self._connected[connection.fileno()] = slot
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _connection(self) -> socket.socket | TlsSocket:
        way = self._way
        if way.tls:
            return secured(way, *self._host_port, _CONNECT_TIMEOUT_S, grpc=bool(self._fields))
        if self._address is None or way.unix:
            connection = way.connect(*self._host_port, _CONNECT_TIMEOUT_S)
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
        why = f"cannot connect to {self.server}: {error}"
        if self._fields:
            why = (
                f"cannot connect to {self.server}: {error}; if the server has its gRPC port "
                "elsewhere, give it with --triton-grpc-port"
            )
        raise MeasurementError(why) from error

    def _disconnect(self, slot: Slot) -> None:
        connection, slot.connection = slot.connection, None
        slot.waiting, slot.unsent, slot.came_ns = False, None, 0
        if connection is not None:
            self._epoll.unregister(connection.fileno())
            del self._connected[connection.fileno()]
            connection.close()
