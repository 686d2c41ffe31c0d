"""gRPC over plain sockets: each slot has an HTTP/2 connection with one call at a time.

A unary call is three frames there and three back. Put together and taken apart here, around the
bytes of tritonclient's messages, they go through the same loops as HTTP/1.1.

Header fields are encoded without state in both directions (the server is told to keep no table),
so that a header block that was decoded once is from then on compared.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.connections import Connections
from pytest_gaitperf.load.response import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.load.connections import Slot

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_OK = 200
_FAILED = -1

# RFC 9113: frame types, flags, settings.
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_CONTINUATION = 9
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_PADDED_OR_PRIORITY = 0x28
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 4, 5
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_LARGEST_FRAME = 2**24 - 1
_LAST_STREAM = 2**31 - 3
_NOT_HTTP2 = "the server does not speak HTTP/2: is this its gRPC port?"

_FRAME = struct.Struct(">HBBBI")
_FRAME_HEAD = struct.Struct(">HBBB")
"""A frame's head without the number of the call."""
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload)
    return _FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


_OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(
        _SETTINGS,
        0,
        0,
        _SETTING.pack(_HEADER_TABLE_SIZE, 0)
        + _SETTING.pack(_ENABLE_PUSH, 0)
        + _SETTING.pack(_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        + _SETTING.pack(_MAX_FRAME_SIZE, _LARGEST_FRAME),
    )
    + _frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW))
)


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


@lru_cache(maxsize=256)
def _fields(block: bytes) -> Mapping[str, str]:
    """Decode a header block of a server that keeps no table."""
    decoder = Decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return {str(name): str(value) for name, value in decoder.decode(block)}
    except (HPACKError, UnicodeDecodeError) as error:
        raise ResponseError(f"a header block that cannot be decoded: {error}") from error


class _Usual(NamedTuple):
    """The parts of a good answer that do not change from one call to the next.

    Three frames: the head of the first; its fields with the head of the second; the head of the
    last, at ``last_at``, and its fields. Heads are without the number of the call. ``data`` are the
    bytes of the second.
    """

    size: int
    first: bytes = b""
    middle: bytes = b""
    data: int = 0
    last_at: int = 0
    last: bytes = b""
    trailers: bytes = b""


_NO_USUAL = _Usual(size=1 << 62)


def _usual(buffer: bytearray, count: int) -> _Usual:
    """Find the parts of a good answer at the beginning of what came."""
    frames: list[tuple[int, int, int]] = []
    at = 0
    while len(frames) < 3 and count - at >= _FRAME.size:  # noqa: PLR2004 - headers, data, trailers
        high, low, kind, _flags, _stream = _FRAME.unpack_from(buffer, at)
        frames.append((kind, at, high << 8 | low))
        at += _FRAME.size + frames[-1][2]
    if at > count or [kind for kind, _, _ in frames] != [_HEADERS, _DATA, _HEADERS]:
        return _NO_USUAL
    _, (_, data_at, data), (_, last_at, _) = frames
    head = _FRAME_HEAD.size
    return _Usual(
        size=at,
        first=bytes(buffer[:head]),
        middle=bytes(buffer[_FRAME.size : data_at + head]),
        data=data,
        last_at=last_at,
        last=bytes(buffer[last_at : last_at + head]),
        trailers=bytes(buffer[last_at + _FRAME.size : at]),
    )


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
        self._call_head = _frame(_HEADERS, _END_HEADERS, 0, headers)[: _FRAME_HEAD.size]
        self._stream = -1
        self._number = b""
        self._initial_window = self._connection_window = _DEFAULT_WINDOW
        self._stream_window = 0
        self._largest_frame = 16_384
        # To be sent before anything else; what of the frame begun there is still in the message;
        # and answers to control frames, for which the place is between two frames.
        self._pending = bytearray(_OPENING)
        self._chunk = 0
        self._replies = bytearray()
        self._sending = False
        self._prefix = b""
        # What came: a frame not yet whole, the rest of a tensor, bytes since the window was opened.
        self._partial = bytearray()
        self._skip = 0
        self._received = 0
        self._usual = _NO_USUAL
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
        pending, sendmsg = self._pending, self._connection.sendmsg
        while taken < size:
            if not self._chunk and not self._begin_frame(size - taken):
                self.window_closed = True
                return taken
            chunk, head = self._chunk, len(pending)
            part = message if chunk == size else memoryview(message)[taken : taken + chunk]
            try:
                sent = sendmsg((pending, part), (), flags)
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
        self.closing |= self._stream >= _LAST_STREAM
        self._reason = ""
        self._number = _NUMBER.pack(self._stream)
        self._pending += self._call_head + self._number + self._headers
        self._prefix = b"\0" + _NUMBER.pack(size)
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
        end = _END_STREAM if chunk == rest else 0
        self._pending += (
            _FRAME_HEAD.pack(length >> 8, length & 0xFF, _DATA, end) + self._number + self._prefix
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
        if self._received > _LARGEST_WINDOW // 2:
            self._replies += _frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._received))
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
        while count - at >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(buffer, at)
            start = at + _FRAME.size
            end = start + (high << 8 | low)
            if kind == _DATA:
                self._received += end - start
                complete |= self._data(flags, stream)
            elif end > count:
                break
            elif kind == _HEADERS:
                complete |= self._header(flags, stream, bytes(buffer[start:end]))
            else:
                complete |= self._control(kind, flags, stream, bytes(buffer[start:end]))
            at = end
        if at > count:
            self._skip = at - count
        elif at < count:
            self._keep(buffer, at, count)
        if complete and self.status == _OK and not began:
            self._usual = _usual(buffer, count)
        return complete

    def _keep(self, buffer: bytearray, at: int, count: int) -> None:
        """Keep the beginning of a frame until the rest comes."""
        self._partial += memoryview(buffer)[at:count]
        kind = self._partial[3:4]
        if not self._settled and kind and kind[0] != _SETTINGS:
            raise ResponseError(_NOT_HTTP2)

    def _data(self, flags: int, stream: int) -> bool:
        """Pass over a part of an answer; return whether it ends the call, which none should."""
        if not self._settled:
            raise ResponseError(_NOT_HTTP2)
        self._began = True
        ended = bool(flags & _END_STREAM and stream == self._stream)
        return ended and self._fail_call("it ended without a gRPC status")

    def _reply(self) -> None:
        self._pending += self._replies
        self._replies.clear()
        # What is not taken goes before the next frame; a broken connection shows when it is read.
        with suppress(OSError):
            del self._pending[: self._connection.send(self._pending, socket.MSG_DONTWAIT)]

    def _header(self, flags: int, stream: int, block: bytes) -> bool:
        """Take the fields before or after an answer; return whether they end the call."""
        if not flags & _END_HEADERS or flags & _PADDED_OR_PRIORITY:
            raise ResponseError("a header block in parts or with padding, which is not read here")
        if stream != self._stream:
            return False
        self._began = True
        fields = _fields(block)
        http_status = fields.get(":status", str(_OK))
        if http_status != str(_OK):
            self._reason = f"HTTP {http_status}"
        if not flags & _END_STREAM:
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
            if kind == _SETTINGS and not flags & _ACK:
                self._set(payload)
            elif kind == _PING and not flags & _ACK:
                self._replies += _frame(_PING, _ACK, 0, payload)
            elif kind == _WINDOW_UPDATE:
                (more,) = _NUMBER.unpack(payload)
                if stream == 0:
                    self._connection_window += more
                elif stream == self._stream:
                    self._stream_window += more
            elif kind == _GOAWAY:
                self.closing = True
            elif kind == _RST_STREAM and stream == self._stream:
                (code,) = _NUMBER.unpack(payload)
                self.closing = True
                return self._fail_call(f"the server reset the call (HTTP/2 error {code})")
            elif kind == _CONTINUATION:
                raise ResponseError("a header block in parts, which is not read here")
        except struct.error as error:
            raise ResponseError(f"an HTTP/2 frame of type {kind} with a wrong length") from error
        return False

    def _set(self, payload: bytes) -> None:
        for setting, value in _SETTING.iter_unpack(payload):
            if setting == _INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif setting == _MAX_FRAME_SIZE:
                self._largest_frame = value
        self._settled = True
        self._replies += _frame(_SETTINGS, _ACK, 0, b"")


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
