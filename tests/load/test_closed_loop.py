from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.encode import encode_http
from pytest_gaitperf.load.http import ClosedLoop
from pytest_gaitperf.workload import Workload
from tests.load.fake_server import OK, FakeServer, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.load.record import LoadRecord, Observer
    from pytest_gaitperf.triton.server import TritonServer

GUARD_S = 20.0


def post(body: bytes = b"12345678") -> bytes:
    return b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def until(answered: int) -> Observer:
    """Go on until so many requests were answered or failed; a stuck load ends all the same."""
    end = time.monotonic() + GUARD_S
    return lambda record, _now_ns: (
        record.requests + record.failures < answered and time.monotonic() < end
    )


def load(
    server: FakeServer,
    *,
    concurrency: int = 2,
    answered: int = 40,
    request: bytes = b"",
    silence_s: float = 5.0,
) -> LoadRecord:
    with ClosedLoop(
        "127.0.0.1", server.port, [[request or post()]], concurrency, silence_s=silence_s
    ) as closed_loop:
        return closed_loop.run(until(answered), 0.001)


def good(peer: Peer) -> None:
    while True:
        peer.request()
        peer.send(OK)


# Load as it should be


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_exactly_n_requests_are_in_flight(concurrency: int) -> None:
    # Nobody is answered until as many requests are there as were asked for.
    together = threading.Barrier(concurrency, timeout=GUARD_S)
    waiting, most, reached, lock = 0, 0, False, threading.Lock()

    def in_step(peer: Peer) -> None:
        nonlocal waiting, most
        while True:
            peer.request()
            with lock:
                waiting += 1
                most = max(most, waiting)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait()
            with lock:
                waiting -= 1
            peer.send(OK)

    def observer(record: LoadRecord, _now_ns: int) -> bool:
        if record.requests < 5 * concurrency and not together.broken:
            return True
        nonlocal reached
        reached = not together.broken
        together.abort()  # the drain answers fewer at a time
        return False

    with (
        FakeServer(in_step) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], concurrency) as closed_loop,
    ):
        record = closed_loop.run(observer, 0.01)
    assert reached
    assert most == concurrency
    assert server.connections == concurrency
    assert record.failures == 0


def test_the_bytes_arrive_as_they_were_given() -> None:
    bodies = []

    def keep(peer: Peer) -> None:
        while True:
            bodies.append(peer.request())
            peer.send(OK)

    body = bytes(range(256)) * 10
    with FakeServer(keep) as server:
        record = load(server, request=post(body))
    assert len(bodies) == record.requests + record.failures >= 40
    assert set(bodies) == {body}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_large_bodies_are_sent_and_read_in_parts(concurrency: int) -> None:
    answer = b"x" * 3_000_000
    sizes = set()

    def slowly(peer: Peer) -> None:
        while True:
            peer.head()
            time.sleep(0.02)  # the client's send buffer fills up
            rest = 5_000_000 - len(peer._data)
            peer._data = b""
            while rest > 0:
                rest -= len(peer.connection.recv(min(rest, 1 << 20)))
            sizes.add(rest)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    with FakeServer(slowly) as server:
        record = load(server, request=post(b"y" * 5_000_000), answered=10, concurrency=concurrency)
    assert sizes == {0}
    assert (record.requests >= 10, record.failures, record.failure_reasons) == (True, 0, [])


def test_the_record_is_in_order_and_covers_the_load() -> None:
    with FakeServer(good) as server:
        record = load(server, concurrency=4, answered=200)
    starts, ends = record.times()
    assert (ends[1:] >= ends[:-1]).all()
    assert (ends > starts).all()
    assert record.first_send_ns <= starts.min()
    assert starts.max() <= record.stopped_ns <= record.drained_ns
    assert ends.max() <= record.drained_ns
    assert 0 < record.client_cpu_ns < record.drained_ns - record.first_send_ns


def test_one_loop_can_load_several_times_over_the_same_connections() -> None:
    with FakeServer(good) as server:
        with ClosedLoop("127.0.0.1", server.port, [[post()]], 3) as closed_loop:
            records = [closed_loop.run(until(20), 0.01) for _ in range(3)]
        assert server.connections == 3
        assert server.wait_until_all_closed()
    assert all(record.requests >= 20 and record.failures == 0 for record in records)


def test_a_connection_closed_between_two_loads_is_made_again() -> None:
    close_now = threading.Event()

    def patient(peer: Peer) -> None:
        peer.connection.settimeout(0.01)
        while not close_now.is_set() or peer.number >= 2:
            with contextlib.suppress(TimeoutError):
                peer.request()
                peer.send(OK)

    with FakeServer(patient) as server:
        with ClosedLoop("127.0.0.1", server.port, [[post()]], 2) as closed_loop:
            closed_loop.run(until(10), 0.01)
            close_now.set()
            assert server.wait_until_all_closed()
            again = closed_loop.run(until(10), 0.01)
        assert server.connections == 4
    assert (again.requests >= 10, again.failures) == (True, 0)


# Servers that close


def test_a_server_that_announces_to_close_costs_a_connection_not_a_failure() -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    with FakeServer(once) as server:
        record = load(server, answered=40)
        assert server.connections >= 40
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])


def test_an_interim_response_is_no_answer() -> None:
    def polite(peer: Peer) -> None:
        while True:
            peer.head()
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer._data = b""
            peer.send(OK)

    with FakeServer(polite) as server:
        record = load(server, answered=40, request=b"POST /x HTTP/1.1\r\n\r\n")
    assert (record.requests >= 40, record.failures) == (True, 0)


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
    # Each connection but the last two ends with one failure.
    assert record.failures == server.connections - 2 >= 18


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


def test_unasked_bytes_do_not_pass_for_an_answer() -> None:
    def flood(peer: Peer) -> None:
        peer.request()
        while True:
            peer.send(OK * 100)

    with FakeServer(flood) as server:
        record = load(server, answered=20)
    assert record.requests == 0
    assert "longer than its Content-Length" in record.failure_reasons[0]


# Servers that are slow or silent


def test_a_response_in_drips_is_a_response() -> None:
    def drip(peer: Peer) -> None:
        while True:
            peer.request()
            for byte in OK:
                peer.send(bytes([byte]))
                time.sleep(0.0002)

    with FakeServer(drip) as server:
        record = load(server, answered=10)
    assert (record.requests >= 10, record.failures) == (True, 0)


def silent(peer: Peer) -> None:
    while True:
        peer.request()


def endless_head(peer: Peer) -> None:
    peer.request()
    while True:
        peer.send(b"X")
        time.sleep(0.01)


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("behave", [silent, endless_head])
def test_silence_ends_the_load(behave: Callable[[Peer], None], concurrency: int) -> None:
    with (
        FakeServer(behave) as server,
        pytest.raises(
            MeasurementError,
            match=rf"no response from .*:\d+ for 0.3 s with {concurrency} requests in flight",
        ),
    ):
        load(server, silence_s=0.3, concurrency=concurrency)


def test_silence_in_the_drain_ends_it_too() -> None:
    def falls_silent(peer: Peer) -> None:
        for _ in range(5):
            peer.request()
            peer.send(OK)
        peer.request()
        peer.request()

    with (
        FakeServer(falls_silent) as server,
        pytest.raises(MeasurementError, match=r"no response .* for 0.2 s"),
    ):
        load(server, silence_s=0.2, answered=10)


def test_nobody_there_says_where() -> None:
    with FakeServer(good) as server:
        port = server.port
    with (
        ClosedLoop("127.0.0.1", port, [[post()]], 1) as closed_loop,
        pytest.raises(MeasurementError, match=f"cannot connect to 127.0.0.1:{port}: .*refused"),
    ):
        closed_loop.run(until(1), 0.01)


def test_a_server_that_goes_away_under_load_ends_it() -> None:
    with (
        FakeServer(good) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], 4) as closed_loop,
    ):

        def observer(record: LoadRecord, _now_ns: int) -> bool:
            if record.requests > 50:
                server.close()
            return True

        with pytest.raises(MeasurementError, match="cannot connect"):
            closed_loop.run(observer, 0.01)


# Interruption


@pytest.mark.parametrize("concurrency", [1, 5])
@pytest.mark.parametrize("behave", [good, silent])
def test_ctrl_c_closes_every_connection(behave: Callable[[Peer], None], concurrency: int) -> None:
    interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with FakeServer(behave) as server:
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            load(server, concurrency=concurrency, answered=10**9)
        interrupt.join()
        assert server.connections == concurrency
        assert server.wait_until_all_closed()


# The real server


def real_load(server: TritonServer, model: str, concurrency: int, answered: int) -> LoadRecord:
    info, workload = server.model(model), Workload(model, 1, concurrency)
    requests = encode_http(info, workload, server.url, [input_tensors(info, 1, {})])
    with ClosedLoop(server.host, server.http_port, requests, concurrency) as closed_loop:
        return closed_loop.run(until(answered), 0.01)


def counted_since(server: TritonServer, model: str, before: int, expected: int) -> int:
    """Return what the server counted; it books after it has answered."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        counted = server.statistics(model).inference_count - before
        if counted >= expected:
            break
        time.sleep(0.01)
    return counted


@pytest.mark.parametrize(
    ("model", "concurrency", "answered"), [("identity", 8, 500), ("large", 2, 20)]
)
def test_triton_counts_what_was_sent(
    loaded: TritonServer, model: str, concurrency: int, answered: int
) -> None:
    before = loaded.statistics(model).inference_count
    record = real_load(loaded, model, concurrency, answered)
    assert (record.requests >= answered, record.failures, record.failure_reasons) == (True, 0, [])
    assert counted_since(loaded, model, before, record.requests) == record.requests


def test_latency_and_rate_of_a_sleeping_model_are_bounded_by_its_sleep(
    loaded: TritonServer,
) -> None:
    record = real_load(loaded, "sleepy", 4, 100)
    starts, ends = record.times()
    assert (ends - starts).min() >= 20_000_000
    span_s = (record.drained_ns - record.first_send_ns) / 1e9
    assert record.requests <= 4 * (span_s / 0.02 + 1)


def test_requests_that_a_model_fails_are_counted_with_its_words(loaded: TritonServer) -> None:
    record = real_load(loaded, "flaky", 2, 100)
    answered = record.requests + record.failures
    assert abs(record.failures - answered / 5) <= 1
    assert all("fails, as it was told to" in reason for reason in record.failure_reasons)


def test_a_model_that_fails_too_often_is_given_up(loaded: TritonServer) -> None:
    with pytest.raises(MeasurementError, match=r"100 of \d+ requests failed: HTTP 500: .*told to"):
        real_load(loaded, "flaky", 2, 10**6)
