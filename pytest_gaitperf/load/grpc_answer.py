"""What the frames of a call's answer say: whether it succeeded, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pytest_gaitperf.load import http2
from pytest_gaitperf.load.wire_http1 import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

OK, REFUSED, FAILED = 200, -2, -1
PREFIX_BYTES = 5
"""In front of a message: whether it is compressed, and its length."""
DATA_HEAD_BYTES = 1 + PREFIX_BYTES
"""Of a frame of data: how much of it is padding, and the beginning of the message."""
_NO_STATUS = "it ended without a gRPC status"
_STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""The names of gRPC's status codes, which are numbered from 0."""


@dataclass(slots=True, eq=False)
class Answer:
    """The answer to one call at a time, frame by frame; its tensors are passed over.

    ``status`` is 200 for a call that succeeded, ``REFUSED`` for one that the server has done
    nothing of; ``error_text`` is what it said of one that failed. ``began``: some of an answer has
    come, and not all. ``goes_on``: the call is open whatever has been answered in it.
    """

    status: int = 0
    error_text: str = ""
    began: bool = False
    goes_on: bool = False
    # The header block so far, and the call and the flags of the frame that began it.
    _block: bytearray | None = field(default=None, init=False)
    _block_of: tuple[int, int] = field(default=(0, 0), init=False)
    _http_error: str = field(default="", init=False)
    _prefix: bytes = field(default=b"", init=False)
    _bytes: int = field(default=0, init=False)

    def check_order(self, kind: int, stream: int) -> None:
        """Raise ResponseError for a frame that comes between those of a header block."""
        if self._block is not None and (kind, stream) != (http2.CONTINUATION, self._block_of[0]):
            raise ResponseError(f"an HTTP/2 frame of type {kind} within a header block")

    def data(self, flags: int, length: int, first: bytes, /) -> bool:
        """Take a part of the message; return whether it ends the call, which none should."""
        self.began = True
        if flags & http2.PADDED:
            length -= 1 + int.from_bytes(first[:1], "big")
            first = first[1:]
            if length < 0:
                raise ResponseError("an HTTP/2 frame whose padding is longer than it is")
        missing = PREFIX_BYTES - len(self._prefix)
        self._prefix += first[: min(missing, length)]
        self._bytes += length
        return bool(flags & http2.END_STREAM) and self.fail(self._http_error or _NO_STATUS)

    def header(self, kind: int, flags: int, stream: int, payload: bytes, *, ours: bool) -> bool:
        """Take fields, of the call where they are ``ours``; return whether they end it."""
        if kind == http2.HEADERS:
            self._block, self._block_of = bytearray(), (stream, flags)
            payload = http2.header_fragment(flags, payload)
        elif self._block is None:
            raise ResponseError("a header block that goes on without having begun")
        self._block += payload
        if len(self._block) > http2.LONGEST_CONTROL:
            raise ResponseError("a header block without an end")
        if not flags & http2.END_HEADERS:
            return False
        fields, self._block = http2.header_fields(bytes(self._block)), None
        return ours and self._fields(fields, ended=bool(self._block_of[1] & http2.END_STREAM))

    def _fields(self, fields: Mapping[str, str], *, ended: bool) -> bool:
        status = fields.get(":status", "200")
        if status[:1] == "1" and not ended:
            return False  # the real answer follows
        self.began = True
        if status != "200":
            self._http_error = f"HTTP {status}"
        if not ended:
            return False
        if fields.get("grpc-status") != "0" or self._http_error:
            return self.fail(self._http_error or explanation(fields))
        told = int.from_bytes(self._prefix[1:], "big") + PREFIX_BYTES
        if self._bytes != told:
            return self.fail(f"gRPC OK, with {self._bytes} of the message's {told} bytes")
        return self._end(OK, "")

    def reset(self, code: int) -> bool:
        """End a call that the server gave up."""
        reason = f"the server reset the call (HTTP/2 error {code})"
        if code == http2.REFUSED_STREAM and not self.began:
            return self.refuse(reason)
        return self.fail(reason)

    def refuse(self, reason: str) -> bool:
        """End a call that the server has done nothing of."""
        return self._end(REFUSED, reason)

    def fail(self, reason: str) -> bool:
        """End a call that failed."""
        return self._end(FAILED, reason)

    def _end(self, status: int, reason: str) -> bool:
        self.status, self.error_text, self.began = status, reason, False
        self._http_error, self._prefix, self._bytes = "", b"", 0
        return True


def explanation(fields: Mapping[str, str]) -> str:
    """Return a failed call's status and message, as the server gave them in its last headers."""
    if not (status := fields.get("grpc-status", "")):
        return _NO_STATUS
    name = next((name for number, name in enumerate(_STATUSES) if status == f"{number}"), status)
    return f"gRPC {name}: {' '.join(unquote(fields.get('grpc-message', '')).split())}"
