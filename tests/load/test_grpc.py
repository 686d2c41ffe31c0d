from __future__ import annotations

import contextlib
import socket
import struct
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load import wire_grpc
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.loops import ClosedLoop, OpenLoop, send_offsets_ns
from pytest_gaitperf.load.shared_memory import SharedTensors
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, until
from tests.load.driving import grpc_load as load
from tests.load.fake_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    GOOD,
    HEAD,
    HEADERS,
    PING,
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

    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.triton.server import TritonServer


def test_a_call_is_what_grpc_says_it_is() -> None:
    seen: list[tuple[dict[str, str], bytes, int]] = []

    def good(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            stream = http2.call()
            seen.append((http2.fields, http2.message, stream))
            peer.send(answer(stream))

    with FakeServer(good) as server:
        record = load(server, concurrency=1, message=b"question" * 100)
        authority = f"127.0.0.1:{server.port}"
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])
    assert len(seen) == record.requests
    assert all(
        fields
        == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/inference.GRPCInferenceService/ModelInfer",
            ":authority": authority,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        for fields, _, _ in seen
    )
    assert {message for _, message, _ in seen} == {b"question" * 100}
    assert [stream for _, _, stream in seen] == list(range(1, 2 * len(seen), 2))


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("window", [100, 65_535, 1_000_000])
def test_a_large_message_is_sent_as_the_server_makes_room(window: int, concurrency: int) -> None:
    message = bytes(range(256)) * (4 if window == 100 else 4000)
    bodies, largest = [], []

    def grudging(peer: Peer) -> None:
        settings = struct.pack(">HIHI", 4, window, 5, 20_000)
        http2 = Http2(peer, settings)

        def grant(stream: int, size: int) -> None:
            # Each window is opened by its own frame, and not at the same time.
            peer.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", size)))
            time.sleep(0.0002)
            peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size)))

        while True:
            stream = http2.call(grant)
            bodies.append(http2.message)
            largest.append(http2.largest)
            peer.send(answer(stream))

    with FakeServer(grudging) as server:
        record = load(server, message=message, answered=4 * concurrency, concurrency=concurrency)
    assert (record.requests >= 4, record.failures, record.failure_reasons) == (True, 0, [])
    assert set(bodies) == {message}
    assert max(largest) <= 20_000


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_answers_come_whole_and_in_drips(size: int, concurrency: int) -> None:
    def dripping(peer: Peer) -> None:
        http2 = Http2(peer)
        pieces = chain([1, 2, 3, 5, 9, 11, 40], repeat(50_000))
        while True:
            data = answer(http2.call(), bytes(size))
            while data:
                piece = next(pieces)
                peer.send(data[:piece])
                data = data[piece:]
                if piece < 50:
                    time.sleep(0.001)

    with FakeServer(dripping) as server:
        record = load(server, answered=20, concurrency=concurrency)
    assert (record.requests >= 20, record.failures, record.failure_reasons) == (True, 0, [])
    assert record.receive_ns >= 0


def test_control_frames_are_obeyed_between_answers_and_within() -> None:
    controls: list[tuple[int, int, bytes]] = []

    def chatty(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            stream = http2.call()
            controls.extend(http2.controls)
            http2.controls.clear()
            whole = answer(stream)
            first = 9 + len(HEAD)
            peer.send(frame(PING, 0, 0, b"ping%04d" % (stream % 10_000)))
            peer.send(whole[:first] + frame(PING, 0, 0, b"within.."))
            peer.send(frame(0x42, 0, 0, b"unknown") + whole[first:])
            peer.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100)))

    with FakeServer(chatty) as server:
        record = load(server, answered=50, concurrency=1)
    assert (record.requests >= 50, record.failures, record.failure_reasons) == (True, 0, [])
    kinds = {kind for kind, _, _ in controls}
    assert kinds == {SETTINGS, WINDOW_UPDATE, PING}
    pongs = [payload for kind, flags, payload in controls if kind == PING and flags & ACK]
    assert pongs.count(b"within..") >= 49
    assert b"ping0001" in pongs
    assert (SETTINGS, ACK, b"") in controls


def test_the_window_for_answers_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_grpc, "LARGEST_UNGIVEN", 100_000)
    granted: list[int] = []

    def counting(peer: Peer) -> None:
        http2 = Http2(peer)
        for _ in range(40):
            peer.send(answer(http2.call(), bytes(10_000)))
        granted.extend(
            int.from_bytes(payload, "big")
            for kind, _, payload in http2.controls
            if kind == WINDOW_UPDATE
        )
        while True:
            peer.send(answer(http2.call(), bytes(10_000)))

    with FakeServer(counting) as server:
        record = load(server, answered=60, concurrency=1)
    assert record.failures == 0
    # The first opens the whole window; the others give back what 40 answers of 10 kB took.
    assert 300_000 <= sum(granted[1:]) <= 40 * 10_005


def behave(reply: Callable[[int], bytes], *, close: bool = False) -> Callable[[Peer], None]:
    def run(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            stream = http2.call()
            time.sleep(0.002)  # so that a load of 40 is not yet one of 100
            peer.send(reply(stream))
            if close:
                peer.connection.shutdown(socket.SHUT_WR)  # what still comes must not reset it
                while peer.connection.recv(1 << 16):
                    pass
                return

    return run


def trailers_only(**fields: str) -> Callable[[int], bytes]:
    return lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block(**fields))


BROKEN = {
    "error": (
        trailers_only(status_="200", grpc_status="13", grpc_message="no%20luck%0A today"),
        "gRPC INTERNAL: no luck today",
    ),
    "error after an answer": (
        lambda stream: answer(stream, trailers=block(grpc_status="2")),
        "gRPC UNKNOWN: ",
    ),
    "unknown code": (trailers_only(status_="200", grpc_status="99"), "gRPC 99: "),
    "no status": (trailers_only(status_="200"), "without a gRPC status"),
    "HTTP error": (trailers_only(status_="502"), "HTTP 502"),
    "ended by data": (
        lambda stream: (
            frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, END_STREAM, stream, b"text")
        ),
        "without a gRPC status",
    ),
    "reset": (
        lambda stream: frame(RST_STREAM, 0, stream, struct.pack(">I", 8)),
        r"reset the call (HTTP/2 error 8)",
    ),
    "headers that something interrupts": (
        lambda stream: frame(HEADERS, 0, stream, HEAD) + frame(PING, 0, 0, b"ping0000"),
        "within a header block",
    ),
    "an answer without a message": (
        trailers_only(status_="200", grpc_status="0"),
        "gRPC OK, with 0 of the message's 5 bytes",
    ),
    "a message cut short": (
        lambda stream: (
            frame(HEADERS, END_HEADERS, stream, HEAD)
            + frame(DATA, 0, stream, b"\0\0\0\0\x09half")
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, GOOD)
        ),
        "gRPC OK, with 9 of the message's 14 bytes",
    ),
    "a table that was refused": (
        lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\xbe"),
        "cannot be decoded",
    ),
    "short frame": (lambda stream: frame(RST_STREAM, 0, stream, b"x"), "wrong length"),
}


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_call_that_fails_is_counted_with_the_servers_words(fault: str, concurrency: int) -> None:
    reply, reason = BROKEN[fault]
    with FakeServer(behave(reply)) as server:
        record = load(server, concurrency=concurrency)
    assert (record.requests, record.failures >= 40) == (0, True)
    assert len(record.failure_reasons) == 1
    assert reason in record.failure_reasons[0]


@pytest.mark.parametrize(
    ("cut", "reason"),
    [(0, "before it answered"), (30, "in the middle of a response"), (5, "closed the connection")],
)
def test_a_connection_that_ends_is_a_failure(cut: int, reason: str) -> None:
    with FakeServer(behave(lambda stream: answer(stream)[:cut], close=True)) as server:
        record = load(server)
    assert (record.requests, record.failures >= 40) == (0, True)
    assert reason in record.failure_reasons[0]


def test_another_protocol_is_told_apart() -> None:
    def http1(peer: Peer) -> None:
        peer.connection.recv(1 << 16)
        time.sleep(0.002)
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with FakeServer(http1) as server:
        record = load(server)
    assert "does not speak HTTP/2: is this its gRPC port?" in record.failure_reasons[0]


def test_a_server_that_goes_away_politely_costs_a_connection_not_a_failure() -> None:
    def once(peer: Peer) -> None:
        http2 = Http2(peer)
        stream = http2.call()
        peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", stream, 0)) + answer(stream))
        with contextlib.suppress(EOFError):
            http2.call()

    with FakeServer(once) as server:
        record = load(server)
        assert server.connections >= 40
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])


def test_silence_ends_the_load() -> None:
    def silent(peer: Peer) -> None:
        http2 = Http2(peer)
        while True:
            http2.call()

    with FakeServer(silent) as server, pytest.raises(MeasurementError, match="no response from"):
        load(server, silence_s=0.2)


def test_nobody_there_says_where_and_how_to_name_the_port() -> None:
    with FakeServer(behave(answer)) as server:
        pass
    with pytest.raises(MeasurementError, match=r"cannot connect to .*refused.*--triton-grpc-port"):
        load(server)


# The real server


def grpc_requests(server: TritonServer, model: str, batch_size: int = 1) -> Requests:
    info = server.model(model)
    samples = [input_tensors(info, batch_size, {})]
    return encode_grpc(info, Workload(model, batch_size, 1), samples)


def closed(server: TritonServer, requests: Requests, concurrency: int) -> ClosedLoop:
    return ClosedLoop(
        server.host, server.grpc_port, requests, concurrency, protocol="grpc", silence_s=20
    )


@pytest.mark.parametrize(
    ("model", "batch_size", "concurrency", "answered"),
    [("identity", 1, 1, 200), ("identity", 8, 8, 500), ("large", 8, 2, 8), ("large", 4, 1, 8)],
)
def test_triton_counts_what_was_sent(
    loaded: TritonServer, model: str, batch_size: int, concurrency: int, answered: int
) -> None:
    before = loaded.statistics(model).inference_count
    with closed(loaded, grpc_requests(loaded, model, batch_size), concurrency) as load:
        record = load.run(until(answered), 0.01)
    assert (record.requests >= answered, record.failures, record.failure_reasons) == (True, 0, [])
    expected = record.requests * batch_size
    assert counted_since(loaded, model, before, expected) == expected


def test_requests_that_a_model_fails_are_counted_with_its_words(loaded: TritonServer) -> None:
    with closed(loaded, grpc_requests(loaded, "flaky"), 2) as load:
        record = load.run(until(100), 0.01)
    answered = record.requests + record.failures
    assert abs(record.failures - answered / 5) <= 1
    assert all("gRPC INTERNAL: request" in reason for reason in record.failure_reasons)


def test_a_wrong_request_is_refused_in_tritons_words(loaded: TritonServer) -> None:
    with (
        closed(loaded, [[b"this is no protobuf message"]], 1) as load,
        pytest.raises(MeasurementError, match=r"100 of 100 requests failed: gRPC \w+: "),
    ):
        load.run(until(1000), 0.01)


def test_an_open_loop_sends_by_its_schedule_over_grpc(loaded: TritonServer) -> None:
    with OpenLoop(
        loaded.host,
        loaded.grpc_port,
        grpc_requests(loaded, "sleepy"),
        send_offsets_ns(100.0, "poisson"),
        protocol="grpc",
    ) as load:
        record = load.run(until(30), 0.01)
    starts, ends = record.times()
    assert (record.failures, len(record.delays_ns)) == (0, record.requests)
    assert (ends - starts).min() >= 20_000_000


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tensors_in_shared_memory_are_served_over_both_protocols(
    loaded: TritonServer, protocol: str
) -> None:
    info, workload = loaded.model("large"), Workload("large", 4, 3)
    samples = [input_tensors(info, 4, {}, seed) for seed in (1, 2)]
    before = loaded.statistics("large").inference_count
    with SharedTensors(
        Api(loaded.host, loaded.http_port), info, workload, samples, workload.concurrency
    ) as shared:
        if protocol == "grpc":
            load = closed(loaded, encode_grpc(info, workload, samples, shared.places), 3)
        else:
            requests = encode_http(info, workload, loaded.url, samples, shared.places)
            load = ClosedLoop(loaded.host, loaded.http_port, requests, 3)
        with load:
            record = load.run(until(24), 0.01)
        outputs = [shared.places.outputs[slot]["OUTPUT0"] for slot in range(3)]
        found = [
            np.frombuffer(shared.memory[area.offset : area.offset + area.size], np.float32)
            for area in outputs
        ]
    assert (record.requests >= 24, record.failures, record.failure_reasons) == (True, 0, [])
    expected = record.requests * 4
    assert counted_since(loaded, "large", before, expected) == expected
    sent = [sample["INPUT0"].ravel() for sample in samples]
    assert all(any(np.array_equal(output, given) for given in sent) for output in found)
