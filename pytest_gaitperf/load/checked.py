"""Answers under load beside those that are known: a wrong one is a failed request.

Readers of a connection's bytes that keep each answer whole. The second answer to a request is
compared byte by byte with the first that was right, and decoded only where it differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from tritonclient.http import InferResult

from pytest_gaitperf.load import http2
from pytest_gaitperf.load.grpc_answer import FAILED, OK, PREFIX_BYTES, Answer
from pytest_gaitperf.load.memory import input_size
from pytest_gaitperf.load.tensors import is_float
from pytest_gaitperf.load.wire_grpc import GrpcWire
from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.load.slot import Slot
    from pytest_gaitperf.load.wire_grpc import Wire

    Output = Callable[[str], npt.NDArray[Any] | None]

CLOSE = {"float64": 1e-3, "float32": 1e-3, "float16": 1e-2, "bfloat16": 1e-2}
"""How far a value may be from what is known, as a share of the output's largest value: of floats,
since networks compute them in another order or precision. Everything else must be equal."""

_LARGEST_KEPT = 1 << 20
"""The largest answer that is kept, to compare the next with it."""

_BESIDE, _LARGEST = 1 << 20, 1 << 31
"""What an answer has beside its outputs at most, and an answer with outputs that are not known."""
_AS_TEXT = 16
"""How much longer numbers are as text, at most."""

_HEADER_LENGTH = re.compile(rb"\r\ninference-header-content-length: *(\d{1,18})", re.IGNORECASE)


class Known:
    """The answers that are known to requests: ``expected[i]`` to the i-th of each slot's.

    ``whole``: with all outputs that the model has.
    """

    def __init__(self, requests: Requests, expected: Sequence[Sample], *, whole: bool) -> None:
        # A request is told by its bytes' identity: those of a sample are made once.
        self._expected = {
            id(request): (index, expected[index])
            for row in requests
            for index, request in enumerate(row)
        }
        self._requests = requests  # which keeps the identities alive
        self._right: dict[int, bytes] = {}
        size = max(sum(map(input_size, answer.values())) for answer in expected)
        self._most = _AS_TEXT * size + _BESIDE if whole else _LARGEST

    def reader(self, slot: Slot) -> CheckedReader:
        """Return what reads a slot's responses over HTTP/1.1."""
        return CheckedReader(slot=slot, known=self)

    def wire(
        self, slot: Slot, connection: Wire, fields: tuple[tuple[str, str], ...]
    ) -> CheckedWire:
        """Return what a slot's connection goes through over gRPC."""
        return CheckedWire(connection, fields, slot=slot, known=self)

    def check_size(self, answer: bytearray) -> None:
        """Raise ResponseError for a part of an answer that is longer than any can be."""
        if len(answer) > self._most:
            raise ResponseError(f"an answer without an end, of more than {self._most} bytes")

    def wrong(
        self, request: bytes, answer: bytes | bytearray, decode: Callable[[bytes], Output]
    ) -> str:
        """Say what is wrong with the answer to a request, "" where it is right."""
        key = id(request)
        if answer == self._right.get(key):
            return ""
        index, expected = self._expected[key]
        whole = bytes(answer)
        try:
            why = difference(decode(whole), expected)
        except Exception as error:  # noqa: BLE001 - tritonclient's errors for damaged bytes are any
            why = f"it cannot be read ({error})"
        if not why and len(whole) <= _LARGEST_KEPT:
            self._right[key] = whole
        return why and f"wrong answer to request {index}: {why}"


def difference(output: Output, expected: Mapping[str, npt.NDArray[Any]]) -> str:
    """Say how an answer's outputs differ from those expected, "" where they do not."""
    for name, wanted in expected.items():
        found = output(name)
        if found is None:
            return f"it has no output {name!r}"
        if found.shape != wanted.shape:
            return (
                f"{name} has the shape {list(found.shape)}, and validation_data "
                f"{list(wanted.shape)}"
            )
        if floats := is_float(wanted.dtype):
            numbers, known = found.astype(np.float64), wanted.astype(np.float64)
            largest = np.abs(known[np.isfinite(known)]).max(initial=0.0)
            close = CLOSE.get(wanted.dtype.name, 0.0) * largest
            same = np.isclose(numbers, known, rtol=0.0, atol=close, equal_nan=True)
        else:
            same = found == wanted
        if not np.all(same):
            at = tuple(map(int, np.argwhere(~np.asarray(same))[0]))
            one, other = (
                f"{float(array[at]):.6g}" if floats else f"{array[at]}" for array in (found, wanted)
            )
            return f"{name} is {one} at {list(at)}, and {other} in validation_data"
    return ""


@dataclass(slots=True, eq=False)
class CheckedReader(ResponseReader):
    """Reads responses over HTTP/1.1, whole."""

    slot: Slot = field(kw_only=True)
    known: Known = field(kw_only=True)
    _whole: bytearray = field(default_factory=bytearray)
    _wrong: str = ""

    @property
    def error_text(self) -> str:
        """Return what is wrong with an answer, or what the server said of an error."""
        return self._wrong or ResponseReader.error_text.fget(self)  # type: ignore[attr-defined]

    def usual(self, _buffer: bytearray, _count: int) -> bool:
        """Look at each answer."""
        return False

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take bytes as ``ResponseReader``; a good response with a wrong answer fails."""
        self._whole += memoryview(buffer)[:count]
        self.known.check_size(self._whole)
        if not ResponseReader.feed(self, buffer, count):
            return False
        whole, self._whole, self._wrong = self._whole, bytearray(), ""
        if self.status == OK:
            self._wrong = self.known.wrong(self.slot.request, whole, _from_http)
            self.status = FAILED if self._wrong else OK
        return True


def _from_http(response: bytes) -> Output:
    """Return what gives the outputs of a whole response, its interim ones left out."""
    head, body = b"HTTP/1.1 100", response
    while head.partition(b" ")[2][:1] == b"1":
        head, _, body = body.partition(b"\r\n\r\n")
    length = _HEADER_LENGTH.search(head)
    result = InferResult.from_response_body(body, header_length=int(length[1]) if length else None)
    return result.as_numpy  # type: ignore[no-any-return] # untyped


@dataclass(slots=True, eq=False)
class _KeptAnswer(Answer):
    """The answer to one call at a time, with its message."""

    message: bytearray = field(default_factory=bytearray)

    def data(self, flags: int, length: int, first: bytes, /) -> bool:
        """Take a part of the message, all of it in ``first``."""
        self.message += http2.header_fragment(flags & http2.PADDED, first)
        return Answer.data(self, flags, length, first)


@dataclass(slots=True, eq=False)
class CheckedWire(GrpcWire):
    """Reads answers over gRPC, whole."""

    _data_kept: ClassVar[int] = http2.LARGEST_FRAME

    slot: Slot = field(kw_only=True)
    known: Known = field(kw_only=True)

    def __post_init__(self) -> None:
        GrpcWire.__post_init__(self)
        self._answer = _KeptAnswer()

    def usual(self, _buffer: bytearray, _count: int, /) -> bool:
        """Look at each answer."""
        return False

    def feed(self, buffer: bytearray, count: int) -> bool:
        """Take bytes as ``GrpcWire``; a call that succeeded with a wrong answer fails."""
        complete, answer = GrpcWire.feed(self, buffer, count), self._answer
        assert isinstance(answer, _KeptAnswer)
        self.known.check_size(answer.message)
        if not complete:
            return False
        message, answer.message = answer.message, bytearray()
        if answer.status == OK:
            wrong = self.known.wrong(self.slot.request, message[PREFIX_BYTES:], _from_grpc)
            if wrong:
                answer.fail(wrong)
        return True


def _from_grpc(message: bytes) -> Output:
    """Return what gives the outputs of a message."""
    # Not at the top: they import grpc, 0.4 s that a load over HTTP need not pay.
    from tritonclient import grpc  # noqa: PLC0415
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    result = grpc.InferResult(service_pb2.ModelInferResponse.FromString(message))
    return result.as_numpy  # type: ignore[no-any-return] # untyped
