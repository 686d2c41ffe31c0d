"""HTTP/2 as far as a gRPC call needs it: frames, and header fields without a table.

The numbers are those of RFC 9113.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hpack import Decoder, HPACKError

from pytest_gaitperf.load.response import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
CONTINUATION = 9
ACK = END_STREAM = 1
END_HEADERS = 4
PADDED_OR_PRIORITY = 0x28
_HEADER_TABLE_SIZE, _ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
SMALLEST_MAX_FRAME, LARGEST_FRAME = 16_384, 2**24 - 1
LAST_STREAM = 2**31 - 3

FRAME = struct.Struct(">HBBBI")
FRAME_HEAD = struct.Struct(">HBBB")
"""A frame's head without the number of the call."""
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    length = len(payload)
    return FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(
        SETTINGS,
        0,
        0,
        SETTING.pack(_HEADER_TABLE_SIZE, 0)
        + SETTING.pack(_ENABLE_PUSH, 0)
        + SETTING.pack(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        + SETTING.pack(MAX_FRAME_SIZE, LARGEST_FRAME),
    )
    + frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(LARGEST_WINDOW - DEFAULT_WINDOW))
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


NO_USUAL = Usual(size=1 << 62)


def usual_parts(buffer: bytearray, count: int) -> Usual:
    """Find the parts of a good answer at the beginning of what came."""
    frames: list[tuple[int, int, int]] = []
    at = 0
    while len(frames) < 3 and count - at >= FRAME.size:  # noqa: PLR2004 - headers, data, trailers
        high, low, kind, _flags, _stream = FRAME.unpack_from(buffer, at)
        frames.append((kind, at, high << 8 | low))
        at += FRAME.size + frames[-1][2]
    if at > count or [kind for kind, _, _ in frames] != [HEADERS, DATA, HEADERS]:
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
