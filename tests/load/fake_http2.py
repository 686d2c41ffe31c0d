"""A fake gRPC server: it speaks HTTP/2 frame by frame, and breaks it on demand."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.load.fake_server import Peer

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
CONTINUATION = 9
ACK = END_STREAM = 1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(**fields: str) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(
        [(name.replace("_", "-").replace("status-", ":status"), fields[name]) for name in fields]
    )


HEAD = block(status_="200", content_type="application/grpc")
GOOD = block(grpc_status="0")


def answer(stream: int, message: bytes = b"answer", trailers: bytes = GOOD) -> bytes:
    return (
        frame(HEADERS, END_HEADERS, stream, HEAD)
        + frame(DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
    )


class Http2:
    """The server's end of one connection: it checks that the client keeps to the rules.

    Without ``settings`` it keeps them back.
    """

    def __init__(self, peer: Peer, settings: bytes | None = b"") -> None:
        self.peer = peer
        self.connection = peer.connection
        if self.take(len(OPENING)) != OPENING:
            raise EOFError  # a client of another test: a port is given again when it is free
        if settings is not None:
            self.begin(settings)
        self.fields: dict[str, str] = {}
        self.controls: list[tuple[int, int, bytes]] = []
        self.largest = 0
        self._decoder = Decoder()

    def begin(self, settings: bytes = b"") -> None:
        """Send the settings."""
        self.connection.sendall(frame(SETTINGS, 0, 0, settings))

    def limit_table(self, size: int) -> None:
        """Keep a table of so many bytes for the client's header fields, as was told in settings."""
        self._decoder.max_allowed_table_size = size

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.connection.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def frame(self) -> tuple[int, int, int, bytes]:
        head = self.take(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return kind, flags, stream, self.take(int.from_bytes(head[:3], "big"))

    def call(self, grant: Callable[[int, int], None] = lambda _stream, _size: None) -> int:
        """Wait for a whole call; return its number. ``message`` is what it carried."""
        body = b""
        while True:
            kind, flags, stream, payload = self.frame()
            if kind == HEADERS:
                self.block = payload
                self.fields = {str(n): str(v) for n, v in self._decoder.decode(payload)}
            elif kind == DATA:
                self.largest = max(self.largest, len(payload))
                body += payload
                grant(stream, len(payload))
                if flags & END_STREAM:
                    assert body[:5] == b"\0" + struct.pack(">I", len(body) - 5)
                    self.message = body[5:]
                    return stream
            else:
                self.controls.append((kind, flags, payload))
