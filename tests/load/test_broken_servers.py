from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import MeasurementError
from tests.load.driving import load, post
from tests.load.fake_server import OK, FakeServer, Peer, good

if TYPE_CHECKING:
    from collections.abc import Callable


def answer_then(data: bytes, *, reset: bool = False) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.request()
        time.sleep(0.002)  # so that a load of 40 is not yet one of 100
        if data:
            peer.send(data)
        if reset:
            peer.reset()

    return behave


BROKEN = {
    "reset": (answer_then(b"", reset=True), "Connection reset by peer"),
    "closed": (answer_then(b""), "closed the connection before it answered"),
    "truncated": (
        answer_then(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        "closed the connection in the middle of a response",
    ),
    "truncated head": (
        answer_then(b"HTTP/1.1 200 OK\r\nContent-Le"),
        "closed the connection in the middle of a response",
    ),
    "too long": (answer_then(OK + b"more"), "longer than its Content-Length"),
    "garbage": (answer_then(b"\x00\xff" * 500), "head is|closed the connection|not an HTTP"),
    "another protocol": (answer_then(b"SSH-2.0-x\r\n\r\n"), "not an HTTP response"),
    "in chunks": (
        answer_then(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "Transfer-Encoding",
    ),
}


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_response_is_a_counted_failure(fault: str, concurrency: int) -> None:
    behave, message = BROKEN[fault]
    with FakeServer(behave) as server:
        record = load(server, answered=40, concurrency=concurrency)
        assert server.wait_until_all_closed()
    assert record.requests == 0
    assert record.failures >= 40
    reasons = "; ".join(record.failure_reasons)
    assert any(part in reasons for part in message.split("|")), reasons


@pytest.mark.parametrize("fault", BROKEN)
def test_a_server_that_only_breaks_is_given_up(fault: str) -> None:
    behave, _ = BROKEN[fault]
    with (
        FakeServer(behave) as server,
        pytest.raises(MeasurementError, match=r"100 of 100 requests failed: \w+"),
    ):
        load(server, answered=1000)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_an_error_status_is_a_failure_on_a_good_connection(status: int) -> None:
    def refuse(peer: Peer) -> None:
        while True:
            peer.request()
            time.sleep(0.002)  # so that a load of 40 is not yet one of 100
            peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 5\r\n\r\n busy" % status)

    with FakeServer(refuse) as server:
        record = load(server, answered=40)
        assert server.connections == 2
    assert (record.requests, record.failures >= 40) == (0, True)
    assert record.failure_reasons == [f"HTTP {status}: busy"]


def test_a_response_that_broke_off_is_in_no_later_one() -> None:
    def once(peer: Peer) -> None:
        peer.request()
        if peer.number == 0:
            peer.send(OK[:-2])
            time.sleep(0.1)  # longer than the good answers take together
        else:
            peer.send(OK)
            good(peer)

    with FakeServer(once) as server:
        record = load(server, answered=4, concurrency=1)
    starts, ends = record.times()
    assert record.failures == 1
    assert 0 <= record.receive_ns <= int((ends - starts).sum())


def test_a_few_failures_are_counted_and_the_load_goes_on() -> None:
    def sometimes(peer: Peer) -> None:
        for _ in range(50):
            peer.request()
            peer.send(OK)
        peer.request()
        peer.reset()

    with FakeServer(sometimes) as server:
        record = load(server, answered=1020)
    assert record.requests >= 1000
    # Each connection ends with one failure, but the last two may not have come to that.
    assert 18 <= server.connections - 2 <= record.failures <= server.connections


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_server_that_answers_before_it_has_read_shows_its_reason(concurrency: int) -> None:
    def refuse(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo long")
        with contextlib.suppress(TimeoutError):
            peer.connection.settimeout(0.2)  # leaves the rest unread
            threading.Event().wait(0.05)

    with FakeServer(refuse) as server:
        record = load(server, request=post(b"x" * 20_000_000), answered=4, concurrency=concurrency)
    assert record.requests == 0
    assert any(
        "answered before the request was sent (HTTP 413: too long)" in reason
        for reason in record.failure_reasons
    ), record.failure_reasons


def test_after_an_answer_that_came_too_early_large_bodies_still_get_through() -> None:
    body = b"x" * 20_000_000

    def refuse_once(peer: Peer) -> None:
        if peer.number:
            good(peer)
        peer.head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo long")
        threading.Event().wait(0.05)  # leaves the rest unread

    with FakeServer(refuse_once) as server:
        record = load(server, request=post(body), answered=3)
    assert (record.requests >= 2, record.failures) == (True, 1)


def test_unasked_bytes_do_not_pass_for_an_answer() -> None:
    def flood(peer: Peer) -> None:
        peer.request()
        while True:
            peer.send(OK * 100)

    with FakeServer(flood) as server:
        record = load(server, answered=20)
    assert record.requests == 0
    assert "longer than its Content-Length" in record.failure_reasons[0]
