"""gRPC over plain sockets: each slot has an HTTP/2 connection with one call at a time.

A unary call is two frames there and three back. Put together and taken apart here, around the
bytes of tritonclient's messages, they go through the same loops as HTTP/1.1.

Measured against grpcio with the same bytes (a blocking call per thread, futures into a queue,
futures that send the next one, asyncio), in turns on an identity model, medians of 5 rounds on a
busy machine of 2 cores: 0.15 to 0.40 of the client's CPU per request (62 to 78 us; grpcio 171 to
523 us), and 0.94 to 1.9 times the throughput, at 1, 8 and 32 requests in flight.

Header fields are encoded without state in both directions (the server is told to keep no table),
so that a header block that was decoded once is from then on compared.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, cast
from urllib.parse import unquote

from hpack import Encoder, NeverIndexedHeaderTuple

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.connections import Connections
from pytest_gaitperf.load.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_HEAD,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    LAST_STREAM,
    MAX_FRAME_SIZE,
    NO_USUAL,
    NUMBER,
    OPENING,
    PADDED_OR_PRIORITY,
    PING,
    RST_STREAM,
    SETTING,
    SETTINGS,
    SMALLEST_MAX_FRAME,
    WINDOW_UPDATE,
    frame,
    header_fields,
    usual_parts,
)
from pytest_gaitperf.load.response import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.load.connections import Slot

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_OK = 200
_FAILED = -1

_COPIED_BYTES = 16_384
"""Up to here a message is copied behind its heads: one buffer costs the kernel less than two."""
_LONGEST_CONTROL = 1 << 20
"""No frame but of data may be longer: it is kept until it is whole."""
_NOT_HTTP2 = "the server does not speak HTTP/2: is this its gRPC port?"


def call_headers(authority: str) -> bytes:
    """Return the header block of an inference call to ``authority`` (``host:port``)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": _METHOD,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    headers = [NeverIndexedHeaderTuple(name, value) for name, value in fields.items()]
    return bytes(Encoder().encode(headers, huffman=False))


class GrpcWire:
    """One connection: what is sent on it and, as ``ResponseReader``, what comes.

    A message is sent with ``send`` until all of it is taken; then ``feed`` gets what comes until
    the call is complete. ``status`` is 200 for a call that succeeded. ``window_closed``: the last
    ``send`` ended because the server takes no more for now, and not because the kernel did not.
    """

    __slots__ = (
        "_began",
        "_call_head",
        "_chunk",
        "_connection",
        "_connection_window",
        "_headers",
        "_initial_window",
        "_largest_frame",
        "_number",
        "_partial",
        "_pending",
        "_prefix",
        "_reason",
        "_received",
        "_replies",
        "_sending",
        "_settled",
        "_skip",
        "_stream",
        "_stream_window",
        "_usual",
        "closing",
        "status",
        "usual_bytes",
        "usual_head",
        "window_closed",
    )

    def __init__(self, connection: socket.socket, headers: bytes) -> None:
        self.status = 0
        self.closing = False
        self.window_closed = False
        # Two answers are never the same bytes: their frames carry the number of the call.
        self.usual_head = b""
        self.usual_bytes = -1
        self._connection = connection
        self._headers = headers
        self._call_head = frame(HEADERS, END_HEADERS, 0, headers)[: FRAME_HEAD.size]
        self._stream = -1
        self._number = b""
        self._initial_window = self._connection_window = DEFAULT_WINDOW
        self._stream_window = 0
        self._largest_frame = SMALLEST_MAX_FRAME
        # To be sent before anything else; what of the frame begun there is still in the message;
        # and answers to control frames, for which the place is between two frames.
        self._pending = bytearray(OPENING)
        self._chunk = 0
        self._replies = bytearray()
        self._sending = False
        self._prefix = b""
        # What came: a frame not yet whole, the rest of a tensor, bytes since the window was opened.
        self._partial = bytearray()
        self._skip = 0
        self._received = 0
        self._usual = NO_USUAL
        self._began = self._settled = False
        self._reason = ""

    @property
    def error_text(self) -> str:
        """Return what the server said of a call that failed."""
        return self._reason

    @property
    def idle(self) -> bool:
        """Whether nothing of an answer has come yet, or it is complete."""
        return not self._began

    def send(self, message: bytes | memoryview, flags: int) -> int:
        """Send a message, or the rest of the one begun; return how many of its bytes were taken."""
        size, taken = len(message), 0
        if not self._sending:
            self._begin_call(size)
        pending, connection = self._pending, self._connection
        while taken < size:
            if not self._chunk and not self._begin_frame(size - taken):
                self.window_closed = True
                return taken
            chunk, head = self._chunk, len(pending)
            part = message if chunk == size else memoryview(message)[taken : taken + chunk]
            try:
                if chunk <= _COPIED_BYTES:
                    sent = connection.send(pending + part, flags)
                else:
                    sent = connection.sendmsg((pending, part), (), flags)
            except BlockingIOError:
                self.window_closed = False
                return taken
            if sent < head:
                del pending[:sent]
                continue
            pending.clear()
            self._chunk = chunk - (sent - head)
            taken += sent - head
        self._sending = False
        return taken

    def _begin_call(self, size: int) -> None:
        """Queue the headers of the next call."""
        self._sending = True
        self._stream += 2
        self.closing |= self._stream >= LAST_STREAM
        self._reason = ""
        self._number = NUMBER.pack(self._stream)
        self._pending += self._call_head + self._number + self._headers
        self._prefix = b"\0" + NUMBER.pack(size)
        self._stream_window = self._initial_window

    def _begin_frame(self, rest: int) -> bool:
        """Queue the head of the next frame of data; False where the server has no room for it."""
        room = min(self._stream_window, self._connection_window, self._largest_frame)
        length = min(room, len(self._prefix) + rest)
        self._chunk = chunk = length - len(self._prefix)
        if chunk <= 0:
            self._chunk = 0
            return False
        self._stream_window -= length
        self._connection_window -= length
        if self._replies:
            self._pending += self._replies
            self._replies.clear()
        end = END_STREAM if chunk == rest else 0
        self._pending += (
            FRAME_HEAD.pack(length >> 8, length & 0xFF, DATA, end) + self._number + self._prefix
        )
        self._prefix = b""
        return True

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take the first ``count`` bytes of ``buffer``; return True when the call is complete.

        Raises
        ------
        ResponseError
            Not HTTP/2, or a part of it that no gRPC server uses.
        """
        at = usual = 0
        if self._skip:
            at = min(self._skip, count)
            self._skip -= at
        elif self._partial:
            self._partial += memoryview(buffer)[:count]
            buffer, count, self._partial = self._partial, len(self._partial), bytearray()
        else:
            at = usual = self._usual_answer(buffer, count)
        complete = self._frames(buffer, at, count) or usual > 0
        if self._received > LARGEST_WINDOW // 2:
            self._replies += frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._received))
            self._received = 0
        if self._replies and not self._chunk:
            self._reply()
        return complete

    def _usual_answer(self, buffer: bytearray, count: int) -> int:
        """Return the length of the answer at the beginning of what came, if it is as usual, else 0.

        The good answers of one model usually are the same but for the number of the call and the
        tensors, and come in one piece: the parts around these are compared with the last one's.
        """
        number, usual = self._number, self._usual
        if (
            count < usual.size
            or not buffer.startswith(usual.first + number + usual.middle + number)
            or not buffer.startswith(usual.last + number + usual.trailers, usual.last_at)
        ):
            return 0
        self._received += usual.data
        self.status = _OK
        return usual.size

    def _frames(self, buffer: bytearray, at: int, count: int) -> bool:
        """Take the frames from ``at`` on; return whether one of them ends the call."""
        began, complete = at, False
        while count - at >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(buffer, at)
            start = at + FRAME.size
            end = start + (high << 8 | low)
            if kind == DATA:
                self._received += end - start
                complete |= self._data(flags, stream)
            elif end - start > _LONGEST_CONTROL:
                what = f"an HTTP/2 frame of type {kind} and {end - start} bytes"
                raise ResponseError(what if self._settled else _NOT_HTTP2)
            elif end > count:
                break
            elif kind == HEADERS:
                complete |= self._header(flags, stream, bytes(buffer[start:end]))
            else:
                complete |= self._control(kind, flags, stream, bytes(buffer[start:end]))
            at = end
        if at > count:
            self._skip = at - count
        elif at < count:
            self._keep(buffer, at, count)
        if complete and self.status == _OK and not began:
            self._usual = usual_parts(buffer, count)
        return complete

    def _keep(self, buffer: bytearray, at: int, count: int) -> None:
        """Keep the beginning of a frame until the rest comes."""
        self._partial += memoryview(buffer)[at:count]
        kind = self._partial[3:4]
        if not self._settled and kind and kind[0] != SETTINGS:
            raise ResponseError(_NOT_HTTP2)

    def _data(self, flags: int, stream: int) -> bool:
        """Pass over a part of an answer; return whether it ends the call, which none should."""
        if not self._settled:
            raise ResponseError(_NOT_HTTP2)
        self._began = True
        ended = bool(flags & END_STREAM and stream == self._stream)
        return ended and self._fail_call("it ended without a gRPC status")

    def _reply(self) -> None:
        self._pending += self._replies
        self._replies.clear()
        # What is not taken goes before the next frame; a broken connection shows when it is read.
        with suppress(OSError):
            del self._pending[: self._connection.send(self._pending, socket.MSG_DONTWAIT)]

    def _header(self, flags: int, stream: int, block: bytes) -> bool:
        """Take the fields before or after an answer; return whether they end the call."""
        if not flags & END_HEADERS or flags & PADDED_OR_PRIORITY:
            raise ResponseError("a header block in parts or with padding, which is not read here")
        if stream != self._stream:
            return False
        self._began = True
        fields = header_fields(block)
        http_status = fields.get(":status", str(_OK))
        if http_status != str(_OK):
            self._reason = f"HTTP {http_status}"
        if not flags & END_STREAM:
            return False
        if fields.get("grpc-status") != "0" or self._reason:
            return self._fail_call(_explanation(fields))
        self.status = _OK
        self._began = False
        return True

    def _fail_call(self, reason: str) -> bool:
        self.status = _FAILED
        self._reason = self._reason or reason
        self._began = False
        return True

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """Obey a frame that carries no answer; return whether it ends the call all the same."""
        try:
            if kind == SETTINGS and not flags & ACK:
                self._set(payload)
            elif kind == PING and not flags & ACK:
                self._replies += frame(PING, ACK, 0, payload)
            elif kind == WINDOW_UPDATE:
                (more,) = NUMBER.unpack(payload)
                if stream == 0:
                    self._connection_window += more
                elif stream == self._stream:
                    self._stream_window += more
            elif kind == GOAWAY:
                self.closing = True
            elif kind == RST_STREAM and stream == self._stream:
                (code,) = NUMBER.unpack(payload)
                self.closing = True
                return self._fail_call(f"the server reset the call (HTTP/2 error {code})")
            elif kind == CONTINUATION:
                raise ResponseError("a header block in parts, which is not read here")
        except struct.error as error:
            raise ResponseError(f"an HTTP/2 frame of type {kind} with a wrong length") from error
        return False

    def _set(self, payload: bytes) -> None:
        for setting, value in SETTING.iter_unpack(payload):
            if setting == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif setting == MAX_FRAME_SIZE:
                if not SMALLEST_MAX_FRAME <= value <= LARGEST_FRAME:
                    raise ResponseError(f"HTTP/2 frames of {value} bytes, which cannot be")
                self._largest_frame = value
        self._settled = True
        self._replies += frame(SETTINGS, ACK, 0, b"")


class GrpcConnections(Connections):
    """Request slots over HTTP/2 connections to a server's gRPC port; requests are messages."""

    def _refuse(self, error: OSError) -> NoReturn:
        raise MeasurementError(
            f"cannot connect to {self.server}: {error}; if the server has its gRPC port elsewhere, "
            "give it with --triton-grpc-port"
        ) from error

    def _attach(self, slot: Slot, connection: socket.socket) -> None:
        wire = GrpcWire(connection, call_headers(self.server))
        slot.send, slot.reader = wire.send, wire

    def _wants_room(self, slot: Slot) -> bool:
        return slot.unsent is not None and not cast("GrpcWire", slot.reader).window_closed


def _explanation(fields: Mapping[str, str]) -> str:
    """Return a failed call's status and message, as the server gave them in its last headers."""
    from grpc import StatusCode  # noqa: PLC0415 - 0.4 s, and rare

    status = fields.get("grpc-status", "")
    if not status:
        return "it ended without a gRPC status"
    name = next((code.name for code in StatusCode if str(code.value[0]) == status), status)
    return f"gRPC {name}: {' '.join(unquote(fields.get('grpc-message', '')).split())}"
