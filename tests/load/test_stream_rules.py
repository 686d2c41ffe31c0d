"""What a server may send in a stream, frame by frame."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tritonclient.grpc import service_pb2

from pytest_gaitperf.load import http2, wire_grpc, wire_stream
from pytest_gaitperf.load.grpc_answer import FAILED, OK
from pytest_gaitperf.load.wire_grpc import GrpcWire, call_fields
from pytest_gaitperf.load.wire_http1 import ResponseError
from pytest_gaitperf.load.wire_stream import StreamWire
from tests.load.fake_http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    PADDED,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Sent:
    """A connection that takes everything."""

    content: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes | bytearray | memoryview, _flags: int, /) -> int:
        self.content += data
        return len(data)

    def sendmsg(
        self, buffers: Iterable[bytes | bytearray | memoryview], _: tuple[()], _flags: int, /
    ) -> int:
        return sum(self.send(one, 0) for one in buffers)

    def frames(self) -> list[tuple[int, int, int]]:
        """Kind, flags and stream of each frame sent since the last look, without the preface."""
        content = bytes(self.content).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.content.clear()
        found = []
        while content:
            length = int.from_bytes(content[:3], "big")
            found.append((content[3], content[4], struct.unpack(">I", content[5:9])[0]))
            content = content[9 + length :]
        return found


def message(*, final: bool | None = None, outputs: int = 1, error: str = "") -> bytes:
    answer = service_pb2.ModelStreamInferResponse(error_message=error)
    for _ in range(outputs):
        answer.infer_response.outputs.add(name="OUT", datatype="FP32", shape=[1])
        answer.infer_response.raw_output_contents.append(b"1234")
    if final is not None:
        answer.infer_response.parameters["triton_final_response"].bool_param = final
    content = bytes(answer.SerializeToString())
    return b"\0" + struct.pack(">I", len(content)) + content


def opened() -> tuple[StreamWire, Sent]:
    """A wire on which a request was sent, and the head of its answer has come."""
    sent = Sent()
    wire = StreamWire(sent, call_fields("h", 1))
    assert wire.send(b"question", 0) == 0, "the server's settings are waited for"
    assert not fed(wire, frame(SETTINGS, 0, 0))
    assert wire.send(b"question", 0) == 8
    assert not fed(wire, frame(HEADERS, END_HEADERS, 1, HEAD))
    sent.frames()
    return wire, sent


def fed(wire: GrpcWire, content: bytes) -> bool:
    return wire.feed(bytearray(content), len(content))


def flood(wire: GrpcWire, content: bytes) -> None:
    for _ in range(2000):
        fed(wire, content)


def test_the_call_stays_open_and_each_message_is_a_request() -> None:
    wire, sent = opened()
    for count in (1, 3):
        answers = [message(final=False)] * (count - 1) + [message(final=True)]
        assert fed(wire, frame(DATA, 0, 1, b"".join(answers)))
        assert (wire.status, wire.answers(), wire.answers()) == (OK, count, 0)
        assert wire.send(b"question", 0) == 8
        assert sent.frames() == [(DATA, 0, 1)], "no headers, and the end of nothing"


def test_answers_that_come_in_drips_are_put_together() -> None:
    wire, _ = opened()
    content = b"".join(
        (
            frame(DATA, 0, 1, message(final=False)[:7]),
            frame(DATA, 0, 1, message(final=False)[7:] + message(final=False)[:3]),
            frame(DATA, PADDED, 1, b"\2" + message(final=False)[3:] + b"\0\0"),
            frame(DATA, 0, 1),
            frame(DATA, 0, 1, message(final=True, outputs=0)),
        )
    )
    ended = [fed(wire, content[i : i + 1]) for i in range(len(content))]
    assert ended == [False] * (len(content) - 1) + [True]
    assert (wire.status, wire.answers()) == (OK, 2)


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [
        ([message(error="no such model", outputs=0)], FAILED, "gRPC: no such model"),
        ([message(error="late", outputs=0, final=True)], FAILED, "gRPC: late"),
        (
            [message(error="first", outputs=0, final=False), message(final=True)],
            FAILED,
            "gRPC: first",
        ),
        ([message(final=True)], OK, ""),
    ],
)
def test_an_error_is_of_one_request_and_the_next_goes_on(
    answers: list[bytes], status: int, text: str
) -> None:
    wire, sent = opened()
    assert fed(wire, frame(DATA, 0, 1, b"".join(answers)))
    assert (wire.status, wire.error_text) == (status, text)
    wire.send(b"question", 0)
    assert sent.frames() == [(DATA, 0, 1)]
    assert fed(wire, frame(DATA, 0, 1, message(final=True)))
    assert (wire.status, wire.error_text) == (OK, "")


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (
            frame(HEADERS, END_HEADERS | END_STREAM, 1, block(grpc_status="0")),
            "the stream ended before the last answer",
        ),
        (
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                block(grpc_status="14", grpc_message="going"),
            ),
            "gRPC UNAVAILABLE: going",
        ),
        (frame(RST_STREAM, 0, 1, struct.pack(">I", 8)), "the server reset the call"),
        (frame(DATA, END_STREAM, 1), "the stream ended without a gRPC status"),
    ],
)
def test_a_stream_that_ends_fails_its_request_and_the_next_begins_another(
    end: bytes, text: str
) -> None:
    wire, sent = opened()
    assert fed(wire, frame(DATA, 0, 1, message(final=False)[:9]) + end)
    assert wire.status == FAILED
    assert wire.error_text.startswith(text)
    wire.send(b"question", 0)
    assert sent.frames() == [(HEADERS, END_HEADERS, 3), (DATA, 0, 3)]
    assert fed(wire, frame(HEADERS, END_HEADERS, 3, HEAD) + frame(DATA, 0, 3, message(final=True)))
    assert wire.status == OK


def test_what_is_no_answer_of_a_stream_is_refused() -> None:
    wire, _ = opened()
    with pytest.raises(ResponseError, match="compressed"):
        fed(wire, frame(DATA, 0, 1, b"\1" + struct.pack(">I", 2) + b"ab"))
    wire, _ = opened()
    with pytest.raises(ResponseError, match="none of a stream"):
        fed(wire, frame(DATA, 0, 1, b"\0" + struct.pack(">I", 2) + b"\xff\xff"))


def test_the_windows_of_call_and_connection_are_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (wire_grpc, wire_stream):
        monkeypatch.setattr(module, "LARGEST_UNGIVEN", 40)
    wire, sent = opened()
    fed(wire, frame(DATA, 0, 1, message(final=False)))
    assert [(kind, stream) for kind, _, stream in sent.frames()] == [
        (WINDOW_UPDATE, 1),
        (WINDOW_UPDATE, 0),
    ]


class Full(Sent):
    """A connection whose other end reads nothing."""

    def send(self, _data: bytes | bytearray | memoryview, _flags: int, /) -> int:
        raise BlockingIOError


@pytest.mark.parametrize("control", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0)])
def test_a_server_that_reads_no_answer_to_its_control_frames_is_given_up(
    monkeypatch: pytest.MonkeyPatch, control: bytes
) -> None:
    monkeypatch.setattr(http2, "LONGEST_CONTROL", 10_000)
    wires = [GrpcWire(connection, call_fields("h", 1)) for connection in (Sent(), Full())]
    for wire in wires:
        fed(wire, frame(SETTINGS, 0, 0))
    flood(wires[0], control)
    with pytest.raises(ResponseError, match="control frames without an end"):
        flood(wires[1], control)
