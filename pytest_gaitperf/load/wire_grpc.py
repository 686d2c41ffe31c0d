"""gRPC over plain sockets: each slot has an HTTP/2 connection with one call at a time.

A unary call is two frames there and three back. Put together and taken apart here, around the
bytes of tritonclient's messages, they go through the same loops as HTTP/1.1. Numbers are those of
RFC 9113.

Header fields are encoded without state in both directions (the server is told to keep no table),
so that a header block that was decoded once is from then on compared.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from pytest_gaitperf.load.wire_http1 import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
CONTINUATION = 9
ACK = END_STREAM = 1
END_HEADERS = 4
_PADDED_OR_PRIORITY = 0x28
_WINDOW, _MAX_FRAME = 4, 5
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_SMALLEST_MAX_FRAME, _LARGEST_FRAME = 16_384, 2**24 - 1
_LAST_STREAM = 2**31 - 3

_OK, _FAILED = 200, -1
_COPIED_BYTES = 16_384
"""Up to here a message is copied behind its heads: one buffer costs the kernel less than two."""
_LONGEST_CONTROL = 1 << 20
"""No frame but of data may be longer: it is kept until it is whole."""
_NOT_HTTP2 = "the server does not speak HTTP/2: is this its gRPC port?"
_NO_STATUS = "it ended without a gRPC status"
_STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""The names of gRPC's status codes, which are numbered from 0."""

FRAME = struct.Struct(">HBBBI")
FRAME_HEAD = struct.Struct(">HBBB")
"""A frame's head without the number of the call."""
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    length = len(payload)
    return FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


# No table for header fields, no pushes, and the largest windows and frames that there are.
_SETTINGS = ((1, 0), (2, 0), (_WINDOW, _LARGEST_WINDOW), (_MAX_FRAME, _LARGEST_FRAME))
OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in _SETTINGS))
    + frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW))
)


@lru_cache(maxsize=256)
def header_fields(block: bytes) -> Mapping[str, str]:
    """Decode a header block of a server that keeps no table."""
    decoder = Decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return {str(name): str(value) for name, value in decoder.decode(block)}
    except (HPACKError, UnicodeDecodeError) as error:
        raise ResponseError(f"a header block that cannot be decoded: {error}") from error


class Usual(NamedTuple):
    """The parts of a good answer that do not change from one call to the next: three frames.

    The head of the first; its fields with the head of the second, of ``data`` bytes; the head of
    the last, at ``last_at``, and its fields. Heads are without the number of the call.
    """

    size: int
    first: bytes = b""
    middle: bytes = b""
    data: int = 0
    last_at: int = 0
    last: bytes = b""
    trailers: bytes = b""


NO_USUAL, _GOOD = Usual(size=1 << 62), [HEADERS, DATA, HEADERS]


def usual_parts(buffer: bytearray, count: int) -> Usual:
    """Find the parts of a good answer at the beginning of what came."""
    at, frames = 0, list[tuple[int, int, int]]()
    while len(frames) < len(_GOOD) and count - at >= FRAME.size:
        high, low, kind, _flags, _stream = FRAME.unpack_from(buffer, at)
        frames.append((kind, at, high << 8 | low))
        at += FRAME.size + frames[-1][2]
    if at > count or [kind for kind, _, _ in frames] != _GOOD:
        return NO_USUAL
    _, (_, data_at, data), (_, last_at, _) = frames
    head = FRAME_HEAD.size
    return Usual(
        size=at,
        first=bytes(buffer[:head]),
        middle=bytes(buffer[FRAME.size : data_at + head]),
        data=data,
        last_at=last_at,
        last=bytes(buffer[last_at : last_at + head]),
        trailers=bytes(buffer[last_at + FRAME.size : at]),
    )


def call_headers(authority: str) -> bytes:
    """Return the header block of an inference call to ``authority`` (``host:port``)."""
    fields = (
        *((":method", "POST"), (":scheme", "http"), (":authority", authority)),
        (":path", "/inference.GRPCInferenceService/ModelInfer"),
        *(("te", "trailers"), ("content-type", "application/grpc")),
    )
    headers = [NeverIndexedHeaderTuple(name, value) for name, value in fields]
    return bytes(Encoder().encode(headers, huffman=False))


@dataclass(slots=True, eq=False)
class GrpcWire:
    """One connection: what is sent on it and, as ``ResponseReader``, what comes.

    A message is sent with ``send`` until all of it is taken; then ``feed`` gets what comes until
    the call is complete. ``status`` is 200 for a call that succeeded, ``error_text`` what the
    server said of one that failed. ``window_closed``: the last ``send`` ended because the server
    takes no more for now, and not because the kernel did not.
    """

    _connection: socket.socket
    _headers: bytes
    status: int = field(default=0, init=False)
    closing: bool = field(default=False, init=False)
    error_text: str = field(default="", init=False)
    window_closed: bool = field(default=False, init=False)
    # Two answers are never the same bytes: their frames carry the number of the call.
    usual_head: bytes = field(default=b"", init=False)
    usual_bytes: int = field(default=-1, init=False)
    _call_head: bytes = field(init=False)
    _stream: int = field(default=-1, init=False)
    _number: bytes = field(default=b"", init=False)
    _initial_window: int = field(default=_DEFAULT_WINDOW, init=False)
    _connection_window: int = field(default=_DEFAULT_WINDOW, init=False)
    _stream_window: int = field(default=0, init=False)
    _largest_frame: int = field(default=_SMALLEST_MAX_FRAME, init=False)
    # To be sent before anything else; what of the frame begun there is still in the message; and
    # answers to control frames, for which the place is between two frames.
    _pending: bytearray = field(init=False)
    _chunk: int = field(default=0, init=False)
    _replies: bytearray = field(default_factory=bytearray, init=False)
    _sending: bool = field(default=False, init=False)
    _prefix: bytes = field(default=b"", init=False)
    # What came: a frame not yet whole, the rest of a tensor, bytes since the window was opened.
    _partial: bytearray = field(default_factory=bytearray, init=False)
    _skip: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _usual: Usual = field(default=NO_USUAL, init=False)
    _began: bool = field(default=False, init=False)
    _settled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._call_head = frame(HEADERS, END_HEADERS, 0, self._headers)[: FRAME_HEAD.size]
        self._pending = bytearray(OPENING)

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
        self.closing |= self._stream >= _LAST_STREAM
        self.error_text = ""
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

        Raises ResponseError for what is not HTTP/2, or a part of it that no gRPC server uses.
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
            self._replies += frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._received))
            self._received = 0
        if self._replies and not self._chunk:
            self._pending += self._replies
            self._replies.clear()
            # What is not taken goes before the next frame; what is broken shows when it is read.
            with suppress(OSError):
                del self._pending[: self._connection.send(self._pending, socket.MSG_DONTWAIT)]
        return complete

    def _usual_answer(self, buffer: bytearray, count: int) -> int:
        """Return the length of an answer that differs in number and tensors only, else 0."""
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
            self._partial += memoryview(buffer)[at:count]
            kind_byte = self._partial[3:4]
            if not self._settled and kind_byte and kind_byte[0] != SETTINGS:
                raise ResponseError(_NOT_HTTP2)
        if complete and self.status == _OK and not began:
            self._usual = usual_parts(buffer, count)
        return complete

    def _data(self, flags: int, stream: int) -> bool:
        """Pass over a part of an answer; return whether it ends the call, which none should."""
        if not self._settled:
            raise ResponseError(_NOT_HTTP2)
        self._began = True
        ended = bool(flags & END_STREAM and stream == self._stream)
        return ended and self._fail_call(_NO_STATUS)

    def _header(self, flags: int, stream: int, block: bytes) -> bool:
        """Take the fields before or after an answer; return whether they end the call."""
        if not flags & END_HEADERS or flags & _PADDED_OR_PRIORITY:
            raise ResponseError("a header block in parts or with padding, which is not read here")
        if stream != self._stream:
            return False
        self._began = True
        fields = header_fields(block)
        if fields.get(":status", "200") != "200":
            self.error_text = f"HTTP {fields[':status']}"
        if not flags & END_STREAM:
            return False
        if fields.get("grpc-status") != "0" or self.error_text:
            return self._fail_call(_explanation(fields))
        self.status = _OK
        self._began = False
        return True

    def _fail_call(self, reason: str) -> bool:
        self.status = _FAILED
        self.error_text = self.error_text or reason
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
            if setting == _WINDOW:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif setting == _MAX_FRAME:
                if not _SMALLEST_MAX_FRAME <= value <= _LARGEST_FRAME:
                    raise ResponseError(f"HTTP/2 frames of {value} bytes, which cannot be")
                self._largest_frame = value
        self._settled = True
        self._replies += frame(SETTINGS, ACK, 0, b"")


def _explanation(fields: Mapping[str, str]) -> str:
    """Return a failed call's status and message, as the server gave them in its last headers."""
    if not (status := fields.get("grpc-status", "")):
        return _NO_STATUS
    name = next((name for number, name in enumerate(_STATUSES) if status == f"{number}"), status)
    return f"gRPC {name}: {' '.join(unquote(fields.get('grpc-message', '')).split())}"
