"""What of HTTP/2 a gRPC call needs: frames and header blocks. Numbers are those of RFC 9113.

Requests use HPACK's dynamic table (RFC 7541) where the server has room in it: the second call of a
connection and all after it have the same few bytes of headers. The server is told to keep no table
for its answers, so that a block that was decoded once is from then on compared.
"""

from __future__ import annotations

import logging
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from pytest_gaitperf.load.wire_http1 import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = 0, 1, 3, 4, 5, 6, 7
WINDOW_UPDATE, CONTINUATION = 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
TABLE_SIZE, PUSH, INITIAL_WINDOW, MAX_FRAME = 1, 2, 4, 5
REFUSED_STREAM = 7
"""The error of a call that the server has done nothing of."""
DEFAULT_TABLE, DEFAULT_WINDOW, DEFAULT_FRAME = 4096, 65_535, 16_384
LARGEST_NUMBER = 2**31 - 1
"""Of a call or a window; the bit before it has no meaning."""
LARGEST_FRAME = 2**24 - 1

LONGEST_CONTROL = 1 << 20
"""No frame but of data, and no header block, may be longer: it is kept until it is whole."""

_PRIORITY_BYTES = 5
_ENTRY_BYTES = 32
"""What an entry of the table takes beside its name and its value."""
_EMPTIED = b"\x20"
"""The update of the table's size to 0."""

# hpack logs each field at DEBUG, secret headers too. Levels are the project's to set, and pytest's
# log_level sets them: a filter holds whatever they are.
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(lambda record: record.levelno > logging.DEBUG)

FRAME = struct.Struct(">HBBBI")
FRAME_HEAD = struct.Struct(">HBBB")
"""A frame's head without the number of the call."""
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return frame_head(kind, flags, len(payload)) + NUMBER.pack(stream) + payload


def frame_head(kind: int, flags: int, length: int) -> bytes:
    """Return a frame's head without the number of the call."""
    return FRAME_HEAD.pack(length >> 8, length & 0xFF, kind, flags)


# No table for header fields, no pushes, and the largest windows and frames that there are.
_SETTINGS = ((TABLE_SIZE, 0), (PUSH, 0), (INITIAL_WINDOW, LARGEST_NUMBER))
OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(
        SETTINGS,
        0,
        0,
        b"".join(SETTING.pack(*each) for each in (*_SETTINGS, (MAX_FRAME, LARGEST_FRAME))),
    )
    + frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(LARGEST_NUMBER - DEFAULT_WINDOW))
)


class CallHeaders(NamedTuple):
    """The header block of a connection's first call, and of all later ones."""

    first: bytes
    later: bytes


@lru_cache(maxsize=16)
def call_headers(fields: tuple[tuple[str, str], ...], table: int) -> CallHeaders:
    """Encode the headers of a call for a server that keeps a table of so many bytes."""
    if sum(len(name) + len(value) + _ENTRY_BYTES for name, value in fields) > table:
        literal = [NeverIndexedHeaderTuple(*each) for each in fields]
        block = _EMPTIED + bytes(Encoder().encode(literal))
        return CallHeaders(block, block)
    encoder = Encoder()
    encoder.header_table_size = min(table, DEFAULT_TABLE)
    return CallHeaders(bytes(encoder.encode(fields)), bytes(encoder.encode(fields)))


@lru_cache(maxsize=256)
def header_fields(block: bytes) -> Mapping[str, str]:
    """Decode a header block of a server that keeps no table."""
    decoder = Decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return {str(name): str(value) for name, value in decoder.decode(block)}
    except (HPACKError, UnicodeDecodeError) as error:
        raise ResponseError(f"a header block that cannot be decoded: {error}") from error


def header_fragment(flags: int, payload: bytes) -> bytes:
    """Return what a frame of headers has of the block, without padding and priority."""
    start = padding = 0
    if flags & PADDED:
        start, padding = 1, payload[0] if payload else 1
    if flags & PRIORITY:
        start += _PRIORITY_BYTES
    if start + padding > len(payload):
        raise ResponseError("an HTTP/2 frame whose padding is longer than it is")
    return payload[start : len(payload) - padding]


class Usual(NamedTuple):
    """The parts of a good answer that do not change from one call to the next: three frames.

    Their ``size`` in bytes; the head of the first; its fields with the head of the second, of
    ``data`` bytes; the message's ``prefix`` in it; the head of the last, at ``last_at``, and its
    fields. Heads are without the number of the call.
    """

    size: int
    first: bytes = b""
    middle: bytes = b""
    data: int = 0
    prefix: bytes = b""
    last_at: int = 0
    last: bytes = b""
    trailers: bytes = b""


NO_USUAL = Usual(size=-FRAME.size * 2)
"""No piece is as short, with what may be behind it either."""
_GOOD = [(HEADERS, END_HEADERS), (DATA, 0), (HEADERS, END_HEADERS | END_STREAM)]


def usual_parts(buffer: bytearray, count: int, prefix: int) -> Usual:
    """Find the parts of a good answer at the beginning of what came.

    ``prefix`` is how many bytes are in front of a message.
    """
    at, frames = 0, list[tuple[int, int, int, int]]()
    while len(frames) < len(_GOOD) and count - at >= FRAME.size:
        high, low, kind, flags, _stream = FRAME.unpack_from(buffer, at)
        frames.append((kind, flags, at, high << 8 | low))
        at += FRAME.size + frames[-1][3]
    if at > count or [(kind, flags) for kind, flags, _, _ in frames] != _GOOD:
        return NO_USUAL
    _, (_, _, data_at, data), (_, _, last_at, _) = frames
    head, body = FRAME_HEAD.size, data_at + FRAME.size
    return Usual(
        size=at,
        first=bytes(buffer[:head]),
        middle=bytes(buffer[FRAME.size : data_at + head]),
        data=data,
        prefix=bytes(buffer[body : body + prefix]),
        last_at=last_at,
        last=bytes(buffer[last_at : last_at + head]),
        trailers=bytes(buffer[last_at + FRAME.size : at]),
    )
