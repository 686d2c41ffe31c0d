"""Find the end of an HTTP response without keeping its body."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_gaitperf.files import parse_json

_MAXIMUM_HEAD_BYTES = 1 << 16
_MAXIMUM_JSON_BYTES = 1 << 20
_ERROR_TEXT_BYTES = 300
_MOST_LENGTH_DIGITS = 18
_OK = 200  # and the first final status
_NO_PIECE = -1
_TYPES = (b"", b"application/json", b"application/octet-stream")


class ResponseError(ValueError):
    """What came is not the response of a KServe server; the connection must be given up."""


@dataclass(slots=True, eq=False)
class ResponseReader:
    """Reads one response at a time from the bytes of one connection.

    All good responses of one model usually have the same head and length, and come in one piece. A
    piece that is ``usual`` need not be fed, which keeps a response under a microsecond of client
    CPU. ``status`` and ``closing`` are those of the last response fed to its end. After
    a ResponseError the reader is of no more use.
    """

    window_closed: ClassVar[bool] = False  # HTTP/1.1 has none
    status: int = 0
    closing: bool = False
    _usual_head: bytes = b""
    _piece_bytes: int = _NO_PIECE  # _usual_bytes, but in the middle of a response
    _usual_bytes: int = _NO_PIECE
    _head: bytearray = field(default_factory=bytearray)
    _missing: int = 0
    # The beginning of the body, how much of it is still wanted, and what is behind it: the text of
    # an error, or the JSON of an inference and its tensors.
    _kept: bytearray = field(default_factory=bytearray)
    _wanted: int = 0
    _behind: int = 0

    @property
    def error_text(self) -> str:
        """Return the beginning of the body of a response whose status is not 200."""
        text = self._kept.decode("utf-8", "replace")
        return f"HTTP {self.status}: {' '.join(text.split())}"

    @property
    def idle(self) -> bool:
        """Whether nothing of a response has come yet, or it is complete."""
        return not self._missing and not self._head

    def usual(self, buffer: bytearray, count: int) -> bool:
        """Whether what came is a good response, whole, with the head and length of the last one."""
        return count == self._piece_bytes and buffer.startswith(self._usual_head)

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take the first ``count`` bytes of ``buffer``; return True when the response is complete.

        Raises ResponseError for what is not HTTP, no Content-Length, an endless head, bytes after
        the end, and a good response that is no inference's.
        """
        self._piece_bytes = _NO_PIECE
        if self._missing:
            self._missing -= count
            if self._wanted > 0:
                self._keep(buffer, count)
        else:
            self._head += memoryview(buffer)[:count]
            if not self._parse_head(max(len(self._head) - count - 3, 0)):
                return False
        if self._missing < 0:
            raise ResponseError("the response is longer than its Content-Length")
        if self._missing:
            return False
        self._piece_bytes = self._usual_bytes
        return True

    def _keep(self, body: bytearray, count: int) -> None:
        part = body[: min(count, self._wanted)]
        self._kept += part
        self._wanted -= len(part)
        if self.status == _OK and not self._wanted:
            _check_inference(bytes(self._kept), self._behind)

    def _parse_head(self, searched: int) -> bool:
        """Parse the head if it is complete; its end is not in the first ``searched`` bytes."""
        while (end := self._head.find(b"\r\n\r\n", searched)) >= 0:
            end += 4
            head = bytes(self._head[:end])
            status, fields = _parse(head)
            if status >= _OK:
                self._start_body(head, status, fields)
                return True
            del self._head[:end]  # 100 Continue and its like: the real response follows
            searched = 0
        if len(self._head) > _MAXIMUM_HEAD_BYTES:
            raise ResponseError("the response's head is longer than 64 KiB")
        return False

    def _start_body(self, head: bytes, status: int, fields: dict[bytes, bytes]) -> None:
        length = _body_length(head, fields)
        connection = fields.get(b"connection", b"").lower()
        self.status = status
        self.closing = b"close" in connection or (
            head.startswith(b"HTTP/1.0") and b"keep-alive" not in connection
        )
        del self._head[: len(head)]
        self._missing = length - len(self._head)
        self._kept.clear()
        told = _json_bytes(fields, length) if status == _OK else _ERROR_TEXT_BYTES
        self._wanted, self._behind = min(told, length), length - told
        if told >= 0:
            self._keep(self._head, len(self._head))
        if status == _OK and not self.closing:
            self._usual_head, self._usual_bytes = head, len(head) + length
        self._head.clear()


def _parse(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return the status and the fields, by lower-case name, of a complete head."""
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or not re.fullmatch(b"[0-9]{3}", status):
        raise ResponseError(f"not an HTTP response: {first[:80]!r}")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key, text = name.strip().lower(), value.strip()
        if key == b"content-length" and fields.get(key, text) != text:
            raise ResponseError("a response with two different values of Content-Length")
        fields[key] = text
    return int(status), fields


def _json_bytes(fields: dict[bytes, bytes], length: int) -> int:
    """Return how long a good response's JSON is, -1 where that is not told, or too long to keep.

    Refuses a type that no KServe server gives to an inference.
    """
    kind = fields.get(b"content-type", b"").partition(b";")[0].lower()
    if kind not in _TYPES:
        raise ResponseError(
            f"a response of type {kind[:40].decode('ascii', 'replace')}, which Triton never sends: "
            "something between it and the client answers in its place; measure at Triton's own port"
        )
    whole = b"%d" % length if kind == b"application/json" else b""
    text = fields.get(b"inference-header-content-length", whole)
    told = text.isdigit() and len(text) <= _MOST_LENGTH_DIGITS
    return int(text) if told and min(int(text), length) <= _MAXIMUM_JSON_BYTES else -1


def _check_inference(json: bytes, behind: int) -> None:
    """Refuse JSON that is no inference's, and tensors of other sizes than it says."""
    try:
        outputs = parse_json(json)["outputs"]
        sizes = (output.get("parameters", {}).get("binary_data_size", 0) for output in outputs)
        told = sum(map(int, sizes))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResponseError(f"a response whose JSON is not that of an inference: {error}") from None
    if told != behind:
        raise ResponseError(
            f"a response of {len(json) + behind} bytes, and its tensors make {len(json) + told}: "
            "something between Triton and the client changes the responses; measure at Triton's "
            "own port"
        )


def _body_length(head: bytes, fields: dict[bytes, bytes]) -> int:
    if b"transfer-encoding" in fields:
        raise ResponseError(
            "a response with Transfer-Encoding, which Triton never sends: something between it and "
            "the client changes the responses; measure at Triton's own port"
        )
    length = fields.get(b"content-length", b"")
    if not length.isdigit() or len(length) > _MOST_LENGTH_DIGITS:
        first = head.partition(b"\r\n")[0]
        raise ResponseError(f"a response without a valid Content-Length: {first[:80]!r}")
    return int(length)
