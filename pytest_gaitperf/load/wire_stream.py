"""gRPC streams: a slot keeps one call open, and each request in it may have many answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from pytest_gaitperf.load import http2
from pytest_gaitperf.load.grpc_answer import FAILED, OK, PREFIX_BYTES, Answer, explanation
from pytest_gaitperf.load.http2 import NUMBER
from pytest_gaitperf.load.wire_grpc import LARGEST_UNGIVEN, GrpcWire
from pytest_gaitperf.load.wire_http1 import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FINAL_ANSWER = "triton_final_response"
_LARGEST_ANSWER = 2**31 - 1


@dataclass(slots=True, eq=False)
class StreamAnswer(Answer):
    """The answers to one request after the other in a call that goes on.

    ``taken`` counts the answers of a request so far that hold tensors.
    """

    taken: int = 0
    _message: bytearray = field(default_factory=bytearray, init=False)
    _error: str = field(default="", init=False)

    def data(self, flags: int, _length: int, first: bytes, /) -> bool:
        """Take a part of the messages, all of it in ``first``; return whether it ends a request."""
        self.began = True
        if flags & http2.PADDED:
            first = http2.header_fragment(flags & http2.PADDED, first)
        self._message += first
        ended = False
        while len(self._message) >= PREFIX_BYTES:
            compressed, size = self._message[0], NUMBER.unpack_from(self._message, 1)[0]
            if compressed or size > _LARGEST_ANSWER:
                raise ResponseError("an answer that is compressed, which nobody asked for")
            if len(self._message) < PREFIX_BYTES + size:
                break
            ended |= self._take(bytes(self._message[PREFIX_BYTES : PREFIX_BYTES + size]))
            del self._message[: PREFIX_BYTES + size]
        if flags & http2.END_STREAM:
            return self._over(self._http_error or "the stream ended without a gRPC status")
        return ended

    def reset(self, code: int) -> bool:
        """End a call that the server gave up."""
        self._forget()
        return Answer.reset(self, code)

    def _take(self, message: bytes) -> bool:
        try:
            answer = service_pb2.ModelStreamInferResponse.FromString(message)
        except DecodeError as damage:
            raise ResponseError(f"an answer that is none of a stream: {damage}") from damage
        told = answer.infer_response.parameters
        if answer.error_message:
            self._error = self._error or f"gRPC: {' '.join(answer.error_message.split())}"
        elif answer.infer_response.outputs:
            self.taken += 1
        # What the server refuses before a model has seen it has no such parameter.
        if not (told[_FINAL_ANSWER].bool_param if _FINAL_ANSWER in told else self._error):
            return False
        error, self._error = self._error, ""
        return self._end(FAILED if error else OK, error)

    def _fields(self, fields: Mapping[str, str], *, ended: bool) -> bool:
        """Take the fields of the whole call, which end it where a request is still open."""
        status = fields.get(":status", "200")
        if status != "200":
            self._http_error = f"HTTP {status}"
        if not ended:
            return False
        if fields.get("grpc-status") == "0":
            return self._over(self._http_error or "the stream ended before the last answer")
        return self._over(self._http_error or explanation(fields))

    def _over(self, reason: str) -> bool:
        self._forget()
        return self.fail(reason)

    def _forget(self) -> None:
        self.goes_on, self._error = False, ""
        self._message.clear()


@dataclass(slots=True, eq=False)
class StreamWire(GrpcWire):
    """One connection with one call that is kept open; a message in it is a request."""

    _ends_call: ClassVar[int] = 0
    _data_kept: ClassVar[int] = http2.LARGEST_FRAME

    def __post_init__(self) -> None:
        GrpcWire.__post_init__(self)
        self._answer = StreamAnswer()

    def usual(self, _buffer: bytearray, _count: int, /) -> bool:
        """Look at each answer: which is the last only it says."""
        return False

    def answers(self) -> int:
        """Return how many answers came since this was asked."""
        answer = self._answer
        assert isinstance(answer, StreamAnswer)
        taken, answer.taken = answer.taken, 0
        return taken

    def _begin_call(self, size: int, headers: http2.CallHeaders) -> None:
        """Queue the headers of a call, where none is open."""
        answer = self._answer
        assert isinstance(answer, StreamAnswer)
        if not answer.goes_on:
            GrpcWire._begin_call(self, size, headers)  # noqa: SLF001 - the one it is made of
            answer.goes_on, self._usual_size = True, -1  # no message begins a call of its own
            return
        self._sending = True
        self._prefix = b"\0" + NUMBER.pack(size)

    def _open_window(self) -> None:
        """Give back what answers took of both windows, the connection's and the call's."""
        if self._received > LARGEST_UNGIVEN:
            room = NUMBER.pack(self._received)
            self._replies += http2.frame(http2.WINDOW_UPDATE, 0, self._stream, room)
        GrpcWire._open_window(self)  # noqa: SLF001 - as above
