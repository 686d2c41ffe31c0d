"""gRPC over plain sockets: each slot has an HTTP/2 connection with one call at a time.

A unary call is two frames there and three back. Put together and taken apart here, around the
bytes of tritonclient's messages, they go through the same loops as HTTP/1.1.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from pytest_gaitperf.load import http2
from pytest_gaitperf.load.grpc_answer import DATA_HEAD_BYTES, OK, PREFIX_BYTES, Answer
from pytest_gaitperf.load.http2 import END_HEADERS, END_STREAM, FRAME, NUMBER, frame, frame_head
from pytest_gaitperf.load.wire_http1 import ResponseError
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST_STREAM = http2.LARGEST_NUMBER - 2
_COPIED_BYTES = 16_384
"""Up to here a message is copied behind its heads: one buffer costs the kernel less than two."""
_NOT_HTTP2 = "the server does not speak HTTP/2: is this its gRPC port?"
_MORE_ROOM = struct.Struct(">9sI")
_MORE_ROOM_HEAD = frame_head(http2.WINDOW_UPDATE, 0, NUMBER.size) + NUMBER.pack(0)
LARGEST_UNGIVEN = http2.LARGEST_NUMBER // 2
"""Bytes of answers after which the window for them is opened again."""


class Wire(Protocol):
    """What a connection's bytes go through: a socket, or TLS over one."""

    def send(self, data: bytes | bytearray | memoryview, flags: int, /) -> int:
        """Send what there is room for; return how much that was."""

    def sendmsg(
        self, buffers: Iterable[bytes | bytearray | memoryview], _: tuple[()], flags: int, /
    ) -> int:
        """Send the buffers as one."""


def call_fields(
    host: str, port: int, way: Way = PLAIN, *, streaming: bool = False
) -> tuple[tuple[str, str], ...]:
    """Return the header fields of an inference call, or of a stream of them."""
    call = "ModelStreamInfer" if streaming else "ModelInfer"
    return (
        *((":method", "POST"), (":scheme", "https" if way.tls else "http")),
        (":authority", way.authority(host, port)),
        (":path", f"/inference.GRPCInferenceService/{call}"),
        *(("te", "trailers"), ("content-type", "application/grpc")),
        *((name.lower(), value) for name, value in way.headers),
    )


@dataclass(slots=True, eq=False)
class GrpcWire:
    """One connection: what is sent on it and, as ``ResponseReader``, what comes.

    A message is sent with ``send`` until all of it is taken; then ``feed`` gets what comes until
    the call is complete. ``window_closed``: the last ``send`` ended because the server takes no
    more for now, and not because the kernel did not.

    Nothing but the opening is sent before the server's settings have come: a server may refuse what
    comes before it knows that they are obeyed, as nginx does with ``http2_body_preread_size 0``.
    """

    _ends_call: ClassVar[int] = END_STREAM
    _data_kept: ClassVar[int] = DATA_HEAD_BYTES

    _connection: Wire
    _fields: tuple[tuple[str, str], ...] = field(repr=False)
    closing: bool = field(default=False, init=False)
    window_closed: bool = field(default=False, init=False)
    # The call: its number, whether it goes on, and its headers, which the first call lays down.
    _stream: int = field(default=-1, init=False)
    _number: bytes = field(default=b"", init=False)
    _open: bool = field(default=False, init=False)
    _headers: http2.CallHeaders | None = field(default=None, init=False)
    # What the server has room for.
    _initial_window: int = field(default=http2.DEFAULT_WINDOW, init=False)
    _connection_window: int = field(default=http2.DEFAULT_WINDOW, init=False)
    _stream_window: int = field(default=0, init=False)
    _largest_frame: int = field(default=http2.DEFAULT_FRAME, init=False)
    # To be sent before anything else; what of the frame begun there is still in the message; and
    # answers to control frames, for which the place is between two frames.
    _pending: bytearray = field(init=False)
    _chunk: int = field(default=0, init=False)
    _replies: bytearray = field(default_factory=bytearray, init=False)
    _sending: bool = field(default=False, init=False)
    _prefix: bytes = field(default=b"", init=False)
    # A message of this size goes out in one frame, whose heads are these.
    _usual_size: int = field(default=-1, init=False)
    _usual_heads: tuple[bytes, bytes, bytes] = field(default=(b"", b"", b""), init=False)
    # What came: a frame not yet whole, the rest of a tensor, bytes since the window was opened.
    _partial: bytearray = field(default_factory=bytearray, init=False)
    _skip: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _usual: http2.Usual = field(default=http2.NO_USUAL, init=False)
    _answer: Answer = field(default_factory=Answer, init=False)

    def __post_init__(self) -> None:
        self._pending = bytearray(http2.OPENING)

    @property
    def idle(self) -> bool:
        """Whether nothing of an answer has come yet, or it is complete."""
        return not self._answer.began

    @property
    def status(self) -> int:
        """200 for a call that succeeded, ``REFUSED`` for one that nothing was done of."""
        return self._answer.status

    @property
    def error_text(self) -> str:
        """Return what the server said of a call that failed."""
        return self._answer.error_text

    def send(self, message: bytes | memoryview, flags: int) -> int:
        """Send a message, or the rest of the one begun; return how many of its bytes were taken."""
        size = len(message)
        window = self._connection_window - size - PREFIX_BYTES
        if size != self._usual_size or window < 0 or self._sending or self._pending:
            return self._send_frames(message, flags)
        self._stream = stream = self._stream + 2
        self._number = number = NUMBER.pack(stream)
        self._open, self._connection_window = True, window
        if stream >= _LAST_STREAM:
            self.closing = True
        first, middle, last = self._usual_heads
        call = b"".join((first, number, middle, number, last, message))
        try:
            sent = self._connection.send(call, flags)
        except BlockingIOError:
            sent = 0
        if sent == len(call):
            return size
        heads = call[: len(call) - size]
        sent -= len(heads)
        self._sending, self.window_closed = True, False
        self._stream_window = self._initial_window - size - PREFIX_BYTES
        taken = max(sent, 0)
        self._pending += heads[len(heads) + sent :] if sent < 0 else b""
        self._chunk = size - taken
        return taken

    def _send_frames(self, message: bytes | memoryview, flags: int) -> int:
        size, taken = len(message), 0
        if self._headers is None:
            self.window_closed = self._flush()
            return 0
        if not self._sending:
            self._begin_call(size, self._headers)
        pending, connection = self._pending, self._connection
        while taken < size:
            if not self._chunk and not self._begin_frame(size - taken):
                self.window_closed = self._flush()  # the headers do not wait for room
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

    def _flush(self) -> bool:
        """Send what is pending; return whether all of it went."""
        pending = self._pending
        with suppress(BlockingIOError):
            while pending:
                del pending[: self._connection.send(pending, socket.MSG_DONTWAIT)]
        return not pending

    def _begin_call(self, size: int, headers: http2.CallHeaders) -> None:
        """Queue the headers of the next call."""
        self._sending = self._open = True
        self._stream += 2
        self.closing |= self._stream >= _LAST_STREAM
        self._number = NUMBER.pack(self._stream)
        self._pending += frame_head(http2.HEADERS, END_HEADERS, len(headers.first))
        self._pending += self._number + headers.first
        self._headers = headers._replace(first=headers.later)
        self._prefix = b"\0" + NUMBER.pack(size)
        self._stream_window = self._initial_window
        length, later = size + PREFIX_BYTES, headers.later
        fits = length <= min(self._initial_window, self._largest_frame, _COPIED_BYTES)
        self._usual_size = size if fits else -1
        self._usual_heads = (
            frame_head(http2.HEADERS, END_HEADERS, len(later)),
            later + frame_head(http2.DATA, END_STREAM, length if fits else 0),
            self._prefix,
        )

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
        end = self._ends_call if chunk == rest else 0
        self._pending += frame_head(http2.DATA, end, length) + self._number + self._prefix
        self._prefix = b""
        return True

    def usual(self, buffer: bytearray, count: int, /) -> bool:
        """Whether what came is a good answer, all of it, as the one before but for its tensors.

        What Triton sends behind it, room for more in the connection's window, is taken too.
        """
        usual, number, more = self._usual, self._number, 0
        if count != usual.size:
            if count != usual.size + _MORE_ROOM.size:
                return False
            head, more = _MORE_ROOM.unpack_from(buffer, usual.size)
            if head != _MORE_ROOM_HEAD:
                return False
        if (
            self.closing
            or self._partial
            or self._skip
            or not buffer.startswith(
                b"".join((usual.first, number, usual.middle, number, usual.prefix))
            )
            or not buffer.startswith(usual.last + number + usual.trailers, usual.last_at)
        ):
            return False
        self._open = False
        self._connection_window += more & http2.LARGEST_NUMBER
        self._received += usual.data
        if self._received > LARGEST_UNGIVEN:
            self._open_window()
        return True

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take the first ``count`` bytes of ``buffer``; return True when the call is complete.

        Raises ResponseError for what is not HTTP/2, or a part of it that no gRPC server uses.
        """
        at = 0
        if self._skip:
            at = min(self._skip, count)
            self._skip -= at
        elif self._partial:
            self._partial += memoryview(buffer)[:count]
            buffer, count, self._partial = self._partial, len(self._partial), bytearray()
        complete = self._frames(buffer, at, count)
        self._open_window()
        return complete

    def _open_window(self) -> None:
        """Give back what answers took of the window; send it, and what else the server is owed."""
        if self._received > LARGEST_UNGIVEN:
            self._replies += frame(http2.WINDOW_UPDATE, 0, 0, NUMBER.pack(self._received))
            self._received = 0
        if self._replies and not self._chunk:
            self._pending += self._replies
            self._replies.clear()
            # What is not taken goes before the next frame; what is broken shows when it is read.
            with suppress(OSError):
                self._flush()

    def _frames(self, buffer: bytearray, at: int, count: int) -> bool:
        """Take the frames from ``at`` on; return whether one of them ends the call."""
        began, complete = at, False
        while count - at >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(buffer, at)
            start, length = at + FRAME.size, high << 8 | low
            stream &= http2.LARGEST_NUMBER
            if kind != http2.SETTINGS and self._headers is None:
                raise ResponseError(_NOT_HTTP2)
            if kind != http2.DATA and length > http2.LONGEST_CONTROL:
                raise ResponseError(f"an HTTP/2 frame of type {kind} and {length} bytes")
            needed = min(length, self._data_kept) if kind == http2.DATA else length
            if count - start < needed:
                break
            at = start + length
            payload = bytes(buffer[start : start + needed])
            if self._frame(kind, flags, stream, payload, length):
                complete, self._open = True, self._answer.goes_on
        if at > count:
            self._skip = at - count
        elif at < count:
            self._partial += memoryview(buffer)[at:count]
            if self._headers is None and bytes(self._partial[3:4]) not in (b"", b"\4"):
                raise ResponseError(_NOT_HTTP2)
        if complete and self.status == OK and not began:
            self._usual = http2.usual_parts(buffer, count, PREFIX_BYTES)
        return complete

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes, length: int) -> bool:
        """Obey a frame, of whose data only the head is here; return whether it ends the call."""
        answer, ours = self._answer, stream == self._stream and self._open
        answer.check_order(kind, stream)
        if kind == http2.DATA:
            self._received += length
            return ours and answer.data(flags, length, payload)
        if kind in (http2.HEADERS, http2.CONTINUATION):
            return answer.header(kind, flags, stream, payload, ours=ours)
        try:
            if kind == http2.GOAWAY:
                self.closing = True
                last, code = struct.unpack_from(">II", payload)
                gone = self._open and self._stream > last & http2.LARGEST_NUMBER
                return gone and answer.refuse(f"the server went away (HTTP/2 error {code})")
            if kind == http2.RST_STREAM:
                (code,) = NUMBER.unpack(payload)
                # Behind a complete answer it only says that no more of the request is wanted.
                return ours and answer.reset(code)
            self._control(kind, flags, stream, payload)
        except struct.error as error:
            raise ResponseError(f"an HTTP/2 frame of type {kind} with a wrong length") from error
        return False

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Obey a frame that is of the connection."""
        if kind == http2.SETTINGS and not flags & http2.ACK:
            self._set(payload)
        elif kind == http2.PING and not flags & http2.ACK:
            self._reply(http2.PING, payload)
        elif kind == http2.WINDOW_UPDATE:
            more = NUMBER.unpack(payload)[0] & http2.LARGEST_NUMBER
            if stream == 0:
                self._connection_window += more
            elif stream == self._stream:
                self._stream_window += more
        elif kind == http2.PUSH_PROMISE:
            raise ResponseError("an answer that was not asked for, which HTTP/2 calls a push")

    def _set(self, payload: bytes) -> None:
        table = http2.DEFAULT_TABLE if self._headers is None else None
        for setting, value in http2.SETTING.iter_unpack(payload):
            if setting == http2.TABLE_SIZE:
                # The table that is in use is not kept up through a change: it is used no more.
                table = value if self._headers is None else 0
            elif setting == http2.INITIAL_WINDOW:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif setting == http2.MAX_FRAME:
                if not http2.DEFAULT_FRAME <= value <= http2.LARGEST_FRAME:
                    raise ResponseError(f"HTTP/2 frames of {value} bytes, which cannot be")
                self._largest_frame = value
        if table is not None:
            self._headers = http2.call_headers(self._fields, table)
        self._usual_size = -1
        self._reply(http2.SETTINGS, b"")

    def _reply(self, kind: int, payload: bytes) -> None:
        """Queue the answer to a control frame; a server that reads none of them is given up."""
        self._replies += frame(kind, http2.ACK, 0, payload)
        if len(self._replies) + len(self._pending) > http2.LONGEST_CONTROL:
            raise ResponseError("control frames without an end, whose answers are not read")
