"""Find the end of an HTTP response without keeping its body."""

from __future__ import annotations

_MAXIMUM_HEAD_BYTES = 1 << 16
_ERROR_TEXT_BYTES = 300


class ResponseError(ValueError):
    """What came is not the response of a KServe server; the connection must be given up."""


class ResponseReader:
    """Reads one response at a time from the bytes of one connection.

    All good responses of one model usually have the same head, to the byte: it is parsed once and
    from then on compared, which is what keeps a response under a microsecond of client CPU.
    """

    __slots__ = ("_body", "_error", "_head", "_missing", "_template", "_template_length", "status")

    def __init__(self) -> None:
        self.status = 0
        self._head = bytearray()
        self._error = bytearray()
        self._body = False
        self._missing = 0
        self._template = b"\0"
        self._template_length = 0

    @property
    def error_text(self) -> str:
        """Return the beginning of the body of a response whose status is not 200."""
        text = self._error[:_ERROR_TEXT_BYTES].decode("utf-8", "replace")
        return f"HTTP {self.status}: {' '.join(text.split())}"

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take the first ``count`` bytes of ``buffer``; return True when the response is complete.

        Raises
        ------
        ResponseError
            Not HTTP, no Content-Length, an endless head, or bytes after the end.
        """
        if self._body:
            self._missing -= count
            if self.status != 200:  # noqa: PLR2004
                self._keep_error(buffer[:count])
        elif not self._head and count > len(self._template) and buffer.startswith(self._template):
            self.status = 200
            self._missing = len(self._template) + self._template_length - count
        else:
            self._head += memoryview(buffer)[:count]
            if not self._parse_head():
                return False
        if self._missing < 0:
            raise ResponseError("the response is longer than its Content-Length")
        self._body = self._missing > 0
        return not self._body

    def _keep_error(self, data: bytearray) -> None:
        if len(self._error) < _ERROR_TEXT_BYTES:
            self._error += data[:_ERROR_TEXT_BYTES]

    def _parse_head(self) -> bool:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _MAXIMUM_HEAD_BYTES:
                raise ResponseError("the response's head is longer than 64 KiB")
            return False
        end += 4
        head, after = bytes(self._head[:end]), self._head[end:]
        lines = head.split(b"\r\n")
        status = lines[0].split(None, 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():  # noqa: PLR2004
            raise ResponseError(f"not an HTTP response: {lines[0][:80]!r}")
        fields = (line.partition(b":") for line in lines[1:])
        lengths = [value.strip() for name, _, value in fields if name.lower() == b"content-length"]
        if not lengths or not lengths[0].isdigit():
            raise ResponseError(f"a response without Content-Length: {lines[0][:80]!r}")
        self.status, length = int(status[1]), int(lengths[0])
        self._error.clear()
        if self.status == 200:  # noqa: PLR2004
            self._template, self._template_length = head, length
        else:
            self._keep_error(after)
        self._head.clear()
        self._missing = length - len(after)
        return True
