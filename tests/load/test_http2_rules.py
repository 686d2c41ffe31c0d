"""What RFC 9113 lets a server do, and what it asks of a client, played by a raw server."""

from __future__ import annotations

import logging
import struct
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.load.http2 import call_headers
from pytest_gaitperf.load.loops import OpenLoop, send_offsets_ns
from tests.load.driving import grpc_load as load
from tests.load.driving import until
from tests.load.fake_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    GOOD,
    HEAD,
    HEADERS,
    PADDED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    answer,
    block,
    frame,
)
from tests.load.fake_server import FakeServer, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

RESERVED = 1 << 31
NO_ERROR, REFUSED = struct.pack(">I", 0), struct.pack(">I", 7)
MESSAGE = b"\0\0\0\0\6answer"


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + b"debug data")


def answering(reply: Callable[[int], bytes], settings: bytes = b"") -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        http2 = Http2(peer, settings)
        while True:
            peer.send(reply(http2.call()))

    return behave


def in_parts(stream: int) -> bytes:
    """Header blocks in several frames, one of them empty."""
    cut = [HEAD[:5], b"", HEAD[5:]]
    return (
        frame(HEADERS, 0, stream, cut[0])
        + frame(CONTINUATION, 0, stream, cut[1])
        + frame(CONTINUATION, END_HEADERS, stream, cut[2])
        + frame(DATA, 0, stream, MESSAGE)
        + frame(HEADERS, END_STREAM, stream, GOOD[:3])
        + frame(CONTINUATION, END_HEADERS, stream, GOOD[3:])
    )


def padded(stream: int) -> bytes:
    flags = END_HEADERS | PADDED
    return (
        frame(HEADERS, flags | PRIORITY, stream, b"\3" + b"prior" + HEAD + bytes(3))
        + frame(DATA, PADDED, stream, b"\x20" + MESSAGE[:2] + bytes(32))
        + frame(DATA, PADDED, stream, b"\0" + MESSAGE[2:])
        + frame(DATA, PADDED, stream, b"\0")
        + frame(DATA, 0, stream)
        + frame(HEADERS, flags | END_STREAM, stream, b"\0" + GOOD)
    )


def reserved(stream: int) -> bytes:
    return (
        answer(stream | RESERVED)
        + frame(WINDOW_UPDATE, 0, RESERVED, struct.pack(">I", RESERVED | 100))
        + frame(WINDOW_UPDATE, 0, RESERVED | stream, struct.pack(">I", RESERVED | 100))
    )


LAWFUL: dict[str, Callable[[int], bytes]] = {
    "header blocks in parts": in_parts,
    "padding, and a priority": padded,
    "the reserved bit": reserved,
    "a reset without an error behind the answer": lambda stream: (
        answer(stream) + frame(RST_STREAM, 0, stream, NO_ERROR)
    ),
    "a reset of the call before": lambda stream: (
        answer(stream) + frame(RST_STREAM, 0, max(stream - 2, 1), struct.pack(">I", 8))
    ),
    "an informational answer before the real one": lambda stream: (
        frame(HEADERS, END_HEADERS, stream, block(status_="103")) + answer(stream)
    ),
    "frames of unknown types and calls": lambda stream: (
        frame(0x42, 0xFF, stream, b"what")
        + frame(DATA, END_STREAM, stream + 100, b"0123456789")
        + answer(stream)
    ),
}


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("law", LAWFUL)
def test_what_a_server_may_send_is_read(law: str, concurrency: int) -> None:
    with FakeServer(answering(LAWFUL[law])) as server:
        record = load(server, concurrency=concurrency)
        connections = server.connections
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])
    assert (record.refused, connections) == (0, concurrency)


@pytest.mark.parametrize("law", LAWFUL)
def test_and_in_drips(law: str) -> None:
    def behave(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            for byte in LAWFUL[law](http2.call()):
                peer.send(bytes([byte]))

    with FakeServer(behave) as server:
        record = load(server, answered=4)
    assert (record.requests >= 4, record.failures, record.failure_reasons) == (True, 0, [])


def test_nothing_but_the_opening_comes_before_the_servers_settings() -> None:
    order: list[tuple[int, int]] = []

    def late(peer: Peer) -> None:
        http2 = Http2(peer, None)
        order.extend(http2.frame()[:2] for _ in range(2))
        peer.connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            http2.frame()
        peer.connection.settimeout(None)
        order.append((-1, 0))
        http2.begin()
        while True:
            kind, flags, stream, _payload = http2.frame()
            order.append((kind, flags))
            if kind == DATA:
                peer.send(answer(stream))

    with FakeServer(late) as server:
        record = load(server, concurrency=1, answered=3)
    assert (record.requests >= 3, record.failure_reasons) == (True, [])
    assert order[:3] == [(SETTINGS, 0), (WINDOW_UPDATE, 0), (-1, 0)]
    assert order[3:6] == [(SETTINGS, ACK), (HEADERS, END_HEADERS), (DATA, END_STREAM)]


@pytest.mark.parametrize("message", [b"question", b"question" * 10_000])
def test_headers_do_not_wait_for_room_for_the_message(message: bytes) -> None:
    def thrifty(peer: Peer) -> None:
        """Give room for a call's message only when its headers have come."""
        http2 = Http2(peer, struct.pack(">HI", 4, 0))
        peer.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        while True:
            kind, _, stream, _ = http2.frame()
            if kind == HEADERS:
                peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", len(message) + 5)))
                received = 0
                while received < len(message) + 5:
                    kind, _, _, payload = http2.frame()
                    received += len(payload) if kind == DATA else 0
                peer.send(answer(stream))

    with FakeServer(thrifty) as server:
        record = load(server, message=message, answered=10)
    assert (record.requests >= 10, record.failures, record.failure_reasons) == (True, 0, [])


@pytest.mark.parametrize(
    ("table", "dynamic"), [(4096, True), (1 << 20, True), (100, False), (0, False)]
)
def test_headers_are_repeated_in_as_few_bytes_as_the_servers_table_allows(
    table: int, dynamic: bool
) -> None:
    blocks: list[bytes] = []
    fields: list[dict[str, str]] = []

    def behave(peer: Peer) -> None:
        http2 = Http2(peer, struct.pack(">HI", 1, table))
        http2.limit_table(table)
        while True:
            peer.send(answer(http2.call()))
            blocks.append(http2.block)
            fields.append(http2.fields)

    with FakeServer(behave) as server:
        record = load(server, concurrency=1)
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])
    assert all(each == fields[0] for each in fields)
    assert fields[0][":path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert len(set(blocks[1:])) == 1
    assert (len(blocks[1]) < 10) == dynamic


def test_a_table_that_is_made_smaller_later_is_used_no_more() -> None:
    def behave(peer: Peer) -> None:
        http2 = Http2(peer)
        for number in range(100):
            stream = http2.call()
            assert http2.fields["te"] == "trailers"
            if number == 3:
                peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 50)))
            peer.send(answer(stream))
            if number == 3:
                http2.limit_table(50)

    with FakeServer(behave) as server:
        record = load(server, concurrency=1)
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])


def test_no_level_of_a_log_shows_a_secret_header(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "hpack", "hpack.hpack", "hpack.table"):
        caplog.set_level(logging.DEBUG, name)
    # The table has no room for both.
    fields = (("authorization", "Bearer s3cret"), ("x-key", "s3cret" + "x" * 4010))
    call_headers(fields, 1 << 20)
    assert [record for record in caplog.records if record.name.startswith("hpack")] == []


# What the server did nothing of


def test_a_refused_call_is_sent_again_and_its_time_runs_on() -> None:
    def every_third(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            stream = http2.call()
            refuse = (stream - 1) % 6 == 0
            if refuse:
                time.sleep(0.02)
            peer.send(frame(RST_STREAM, 0, stream, REFUSED) if refuse else answer(stream))

    with FakeServer(every_third) as server:
        record = load(server, concurrency=1, answered=9)
        assert server.connections == 1
    starts, ends = record.times()
    assert (record.requests >= 9, record.failures, record.failure_reasons) == (True, 0, [])
    assert record.refused >= 4
    assert sorted(ends - starts)[-4] >= 20_000_000


def test_a_call_that_is_always_refused_fails() -> None:
    with FakeServer(answering(lambda s: frame(RST_STREAM, 0, s, REFUSED))) as server:
        record = load(server, answered=4)
    assert (record.requests, record.failures >= 4) == (0, True)
    assert record.failure_reasons == ["the server reset the call (HTTP/2 error 7)"]
    assert 5 * record.failures <= record.refused <= 5 * record.failures + 10


def test_a_refusal_after_the_answer_began_is_a_failure() -> None:
    def reply(stream: int) -> bytes:
        return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RST_STREAM, 0, stream, REFUSED)

    with FakeServer(answering(reply)) as server:
        record = load(server, answered=4)
    assert (record.requests, record.failures >= 4, record.refused) == (0, True, 0)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_came_after_the_last_call_of_a_server_that_goes_is_asked_again(
    concurrency: int,
) -> None:
    def goes(peer: Peer) -> None:
        """Answer two calls, then go away without having looked at the third."""
        http2 = Http2(peer)
        for _ in range(2):
            stream = http2.call()
            peer.send(answer(stream))
        http2.call()
        peer.send(goaway(stream))

    with FakeServer(goes) as server:
        record = load(server, concurrency=concurrency)
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])
    assert record.refused >= 15


def test_a_call_that_a_server_which_goes_will_still_answer_is_waited_for() -> None:
    def goes(peer: Peer) -> None:
        http2 = Http2(peer)
        stream = http2.call()
        peer.send(goaway((1 << 31) - 1))
        time.sleep(0.005)
        peer.send(answer(stream))
        http2.call()  # ends when the client closes

    with FakeServer(goes) as server:
        record = load(server, answered=10)
        assert server.connections >= 10
    assert (record.requests >= 10, record.failures, record.refused) == (True, 0, 0)


def test_a_connection_that_the_server_gave_up_meanwhile_is_not_used_again() -> None:
    def goes(peer: Peer) -> None:
        http2 = Http2(peer)
        stream = http2.call()
        peer.send(answer(stream))
        peer.send(goaway(stream))
        http2.call()
        raise AssertionError("a call after the server went away")

    with (
        FakeServer(goes) as server,
        OpenLoop(
            "127.0.0.1",
            server.port,
            [[b"question"]],
            send_offsets_ns(200.0, "constant"),
            protocol="grpc",
        ) as open_loop,
    ):
        record = open_loop.run(until(10), 0.001)
    assert (record.requests >= 10, record.failures, record.refused) == (True, 0, 0)


def test_an_answer_that_comes_before_the_whole_request_counts_as_what_it_says() -> None:
    """As of a server that needs no more of it: it asks to stop by a reset without an error."""

    def hasty(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            kind, _, stream, _ = http2.frame()
            if kind == HEADERS:
                peer.send(answer(stream) + frame(RST_STREAM, 0, stream, NO_ERROR))

    with FakeServer(hasty) as server:
        record = load(server, message=bytes(10_000_000), answered=4, concurrency=1)
    assert (record.requests >= 4, record.failures, record.failure_reasons) == (True, 0, [])
    assert record.send_ns >= 0
